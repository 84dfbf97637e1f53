from __future__ import annotations

import importlib.util
import io
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from rich.console import Console
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import Engine

from dbvitals import report
from dbvitals.cli import demo as command
from dbvitals.cli.demo import demo
from dbvitals.shop import indexes
from dbvitals.shop.backends import connect_database, connect_redis, take_down
from dbvitals.shop.indexes import Measured, Proof, prove
from dbvitals.shop.load import REQUESTS, requests
from dbvitals.shop.models import Base
from dbvitals.shop.proof import render
from dbvitals.shop.seed import Size, seed
from dbvitals_instrumentation import guard
from dbvitals_processors.hints.model import AdvisorError
from dbvitals_processors.hints.sources.parameters import ParameterSamples

SMALL = 0.1
ENOUGH = 0.4
"""From this size on the shop is missing indexes on three tables."""
TINY = 0.02


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    return folder


def shown(data: Any, kind: str, key: str) -> dict[str, Any]:
    return {one[key]: one for one in data[kind]}


def test_the_demo_shows_the_mistakes_of_the_shop(
    scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guard.reset()
    assert demo(None, None, tmp_path / "report.json", scale=SMALL) == 0
    output, errors = capsys.readouterr()
    assert errors == ""  # no bar where there is no terminal
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["faults"] == {}
    assert data["processes"] == 1
    queries = shown(data, "queries", "summary")
    pages = [request.page for request in requests(Size.scaled(SMALL), SMALL)].count("list_orders")
    assert queries["SELECT shop_order_items"]["calls"] == 20 * pages  # N+1
    lookups = [q["text"].upper() for q in data["queries"] if q["summary"] == "SELECT shop_orders"]
    assert any("CUSTOMER_ID = ?" in text for text in lookups)
    assert any("LIKE" in query["text"].upper() for query in data["queries"])
    assert max(query["rows"] for query in data["queries"] if query["summary"] == "SELECT shop_events") > 500
    (pool,) = data["pools"]
    assert (pool["name"], pool["max"], pool["peak"]) == ("shop", 4, 4)
    assert pool["wait_seconds"]["max"] > 0.01
    caches = shown(data, "caches", "name")
    assert caches["recommendations"]["hit_ratio"] < 0.2
    assert caches["products"]["hit_ratio"] > caches["recommendations"]["hit_ratio"] + 0.2
    assert {error["type"] for error in data["errors"]} <= {"SQLITE_CONSTRAINT_UNIQUE", "sqlite3.IntegrityError"}
    assert data["totals"]["errors"] > 0
    loops = {one["advice"] for one in data["findings"] if one["rule"] == "join_or_selectinload"}
    assert loops == {
        "Add selectinload(Order.items) to the query for Order: 1 query, not 20",
        *(one for one in loops if one.startswith("Add selectinload(Order.customer) to the query for Order: ")),
    }
    assert len(loops) == 2
    (items,) = [one for one in data["findings"] if one["rule"] == "n_plus_one" and one["summary"].endswith("items")]
    assert (items["occurrences"], items["queries"]) == (pages, 20 * pages)
    assert items["caller"]["function"].startswith("Pages.list_orders")
    assert {"too_many_rows", "idle_in_transaction"} < {one["rule"] for one in data["findings"]}
    assert "Add selectinload(Order.items) to the query for Order: 1 query, not 20" in output
    assert output.splitlines()[0].startswith("dbvitals · ")
    assert max(len(line) for line in output.splitlines() if not line.startswith("CREATE INDEX")) <= 80
    assert list(scratch.iterdir()) == []


def test_every_query_of_the_demo_says_where_it_comes_from(scratch: Path, tmp_path: Path) -> None:
    assert demo(None, None, tmp_path / "report.json", scale=SMALL) == 0
    data = json.loads((tmp_path / "report.json").read_text())
    callers = {query["caller"] and Path(query["caller"]["file"]).name for query in data["queries"]}
    assert callers == {"pages.py"}


@pytest.mark.postgresql
@pytest.mark.redis
def test_the_demo_runs_on_postgresql_and_redis_and_leaves_nothing_behind(
    scratch: Path, tmp_path: Path, postgresql_url: str, redis_url: str
) -> None:
    assert demo(postgresql_url, redis_url, tmp_path / "report.json", scale=SMALL) == 0
    data = json.loads((tmp_path / "report.json").read_text())
    assert {query["system"] for query in data["queries"]} == {"postgresql"}
    assert [error["type"] for error in data["errors"]] == ["23505"]
    engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:", 1))
    assert not set(inspect(engine).get_table_names()) & set(Base.metadata.tables)
    engine.dispose()
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter(match="dbvitals-demo:*")) == []


Run = tuple[Engine, report.Report, Proof, str]


@pytest.fixture
def shop(scratch: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Run]:
    """The shop after a day, with what was seen, what was advised, and that as text; its tables are still there."""
    scale, kind = request.param
    engine = connect_database(request.getfixturevalue(f"{kind}_url") if kind else None, tmp_path)
    recording = tmp_path / "recording"
    recording.mkdir()
    try:
        seen, samples = command._watch(engine, connect_redis(None), recording, scale)
        proof = prove(engine, recording, samples)
        yield engine, seen, proof, shown_as_text(proof, seen)
    finally:
        take_down(engine)


def shown_as_text(proof: Proof, seen: report.Report) -> str:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    with console.capture() as captured:
        render(proof, seen, console)
    return captured.get()


def created(engine: Engine) -> dict[str, set[str]]:
    """The shop's indexes by table, those of constraints left out."""
    inspector = inspect(engine)
    found = {
        table: {
            str(one["name"])
            for one in inspector.get_indexes(table)
            if not one["unique"] and not one.get("duplicates_constraint")
        }
        for table in Base.metadata.tables
    }
    return {table: names for table, names in found.items() if names}


@pytest.mark.parametrize("shop", [(ENOUGH, None)], indirect=True)
def test_missing_indexes_are_found_created_and_confirmed(shop: Run) -> None:
    engine, seen, proof, text = shop
    assert proof.trouble == ""
    assert proof.advice is not None
    hints = {hint.candidate.table.name: hint for hint in proof.advice.hints}
    assert {"shop_events", "shop_order_items", "shop_orders"} <= hints.keys()
    assert created(engine) == {table: {hint.candidate.name} for table, hint in hints.items()}
    (events,) = [query for query in seen.queries if ".session = ?" in query.text]
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {events.text}", ("s000001", 5, 0)).all()
    assert hints["shop_events"].candidate.name in plan[0].detail  # the real planner, with the real index
    served = {one.query.id for hint in proof.advice.hints for one in hint.served}
    assert set(proof.measured) == served
    measured = proof.measured[events.fingerprint]
    assert measured.after < measured.before  # of thousands of rows a handful, in the median of many calls
    assert "confirmed: SELECT shop_events, pages.py:" in text
    for hint in hints.values():
        assert f"{hint.ddl};" in text.splitlines()


@pytest.mark.parametrize("shop", [(TINY, None)], indirect=True)
def test_where_nothing_is_missing_nothing_is_created(shop: Run) -> None:
    engine, _, proof, text = shop
    assert proof.advice is not None
    assert (proof.advice.hints, proof.created, dict(proof.measured)) == ((), frozenset(), {})
    assert created(engine) == {}
    assert text == "\nMissing indexes: none; of 13 queries, none would be much cheaper by one\n"


@pytest.mark.parametrize("shop", [(ENOUGH, None)], indirect=True)
def test_a_query_that_is_no_faster_is_not_called_confirmed(shop: Run) -> None:
    _, seen, proof, _ = shop
    same = replace(proof, measured={id_: Measured(0.001, 0.00095) for id_ in proof.measured})
    text = shown_as_text(same, seen)
    assert "confirmed" not in text
    assert text.count("no faster: SELECT shop_") == len(proof.measured)


@pytest.mark.postgresql
@pytest.mark.parametrize("shop", [(ENOUGH, "postgresql")], indirect=True)
def test_on_postgresql_the_plans_have_the_new_indexes(shop: Run) -> None:
    engine, _, proof, text = shop
    assert proof.advice is not None
    items = next(hint for hint in proof.advice.hints if hint.candidate.table.name == "shop_order_items")
    assert items.ddl.startswith("CREATE INDEX CONCURRENTLY ")
    assert created(engine)["shop_order_items"] == {items.candidate.name}
    (served,) = items.served
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN {served.query.sql}", dict(served.query.parameters[0])).scalars()
        assert items.candidate.name in "\n".join(plan)
    assert set(proof.measured) >= {served.query.id}
    assert ": SELECT shop_order_items, pages.py:" in text


@pytest.mark.postgresql
def test_nothing_but_the_shops_tables_is_touched(scratch: Path, postgresql_url: str) -> None:
    engine = create_engine(postgresql_url.replace("postgresql:", "postgresql+psycopg:", 1))

    def everything() -> list[Any]:
        with engine.connect() as connection:
            return list(connection.execute(sa.text("SELECT relname, relkind::text FROM pg_class ORDER BY 1, 2")))

    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE users_own AS SELECT i AS id FROM generate_series(1, 5000) AS i"))
    try:
        before = everything()
        assert demo(postgresql_url, None, None, scale=SMALL) == 0
        assert everything() == before
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE users_own"))
        engine.dispose()


def test_an_advisor_that_cannot_work_is_a_line_below_the_report(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise AdvisorError("shop.db: locked")

    monkeypatch.setattr(indexes, "planner_for", refuse)
    assert demo(None, None, None, scale=SMALL) == 0
    assert capsys.readouterr().out.endswith("\nMissing indexes could not be looked for:\nshop.db: locked\n")


def test_an_index_that_cannot_be_created_is_a_line_too(tmp_path: Path) -> None:
    engine = connect_database(None, tmp_path)
    seed(engine, Size.scaled(ENOUGH), lambda rows: None)
    workload = tmp_path / "workload.jsonl"
    workload.write_text('{"sql": "SELECT id FROM shop_events WHERE session = \'s000001\'", "calls": 900}')

    @sa.event.listens_for(engine, "before_cursor_execute")
    def be_full(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("CREATE INDEX"):
            raise sa.exc.OperationalError(statement, None, sqlite3.OperationalError("disk is full"))

    try:
        proof = prove(engine, workload, ParameterSamples())
        assert proof.advice is not None
        assert len(proof.advice.hints) == 1
        assert proof.trouble == "disk is full"
        assert (proof.created, dict(proof.measured)) == (frozenset(), {})
    finally:
        take_down(engine)


@pytest.mark.mariadb
def test_the_demo_runs_on_mariadb(scratch: Path, tmp_path: Path, mariadb_url: str) -> None:
    assert demo(mariadb_url, None, tmp_path / "report.json", scale=SMALL) == 0
    data = json.loads((tmp_path / "report.json").read_text())
    assert {query["system"] for query in data["queries"]} <= {"mariadb", "mysql"}
    assert [error["type"] for error in data["errors"]] == ["1062"]


def test_without_fakeredis_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert demo(None, None, None) == 2
    assert capsys.readouterr().err == (
        "dbvitals: the demo's in-process Redis is missing: pip install 'dbvitals[demo]'\n"
    )


@pytest.mark.parametrize(
    "database, cache, expected",
    [
        ("nonsense", None, "--database cannot be read"),
        ("postgresql://user:hunter2@127.0.0.1:port/x", None, "--database cannot be read"),
        ("postgresql://user:hunter2@127.0.0.1:1/x", None, "cannot reach the database 127.0.0.1:1/x: "),
        ("mysql://user:hunter2@127.0.0.1:1/x", None, "cannot reach the database 127.0.0.1:1/x: "),
        ("postgresql://127.0.0.1:1/x?password=hunter2", None, "cannot reach the database 127.0.0.1:1/x: "),
        ("postgresql+asyncpg://user:hunter2@127.0.0.1/x", None, "a driver that is not asynchronous"),
        ("nosuch://user:hunter2@127.0.0.1/x", None, "SQLAlchemy knows no such database"),
        ("oracle://user:hunter2@127.0.0.1/x", None, "is missing: pip install "),
        ("sqlite:////nowhere/at/all.db", None, "unable to open database file"),
        (None, "http://hunter2@127.0.0.1", "--redis cannot be read"),
        (None, "redis://:hunter2@127.0.0.1:1/0", "cannot reach the Redis 127.0.0.1:1: "),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_without_the_password(
    database: str | None, cache: str | None, expected: str, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo(database, cache, None) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dbvitals: ")
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert "hunter2" not in captured.err
    assert list(scratch.iterdir()) == []


def test_tables_of_somebody_else_are_left_alone(
    scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'mine.db'}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE shop_orders (mine)")
    assert demo(url, None, None, scale=SMALL) == 2
    assert "already has shop_orders" in capsys.readouterr().err
    assert inspect(engine).get_table_names() == ["shop_orders"]
    engine.dispose()


def test_the_shop_is_always_the_same(tmp_path: Path) -> None:
    size = Size.scaled(0.05)
    assert requests(size, 0.05) == requests(size, 0.05)
    contents = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        engine = connect_database(None, folder)
        added: list[int] = []
        seed(engine, size, added.append)
        with engine.connect() as connection:
            rows = [connection.execute(table.select()).all() for table in Base.metadata.sorted_tables]
        contents.append(rows)
        assert sum(added) == sum(map(len, rows)) == size.rows
        take_down(engine)
    assert contents[0] == contents[1]


def test_the_load_has_as_many_requests_as_its_size_says() -> None:
    planned = requests(Size.scaled(1), 1)
    assert sum(request.page not in ("export_events",) and not request.outage for request in planned) == REQUESTS
