from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine, inspect

from dbvitals.cli.demo import demo
from dbvitals.shop.backends import connect_database, take_down
from dbvitals.shop.load import REQUESTS, requests
from dbvitals.shop.models import Base
from dbvitals.shop.seed import Size, seed
from dbvitals_instrumentation import guard

SMALL = 0.1


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
    assert max(map(len, output.splitlines())) <= 80
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
