"""SQLite's planner on real files."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from dbvitals_processors.hints.advise import advise
from dbvitals_processors.hints.explain import planner_for, sqlite
from dbvitals_processors.hints.explain.sqlite import SqlitePlanner
from dbvitals_processors.hints.explain.sqlite_catalogue import key_texts
from dbvitals_processors.hints.model import (
    Advice,
    AdvisorError,
    Candidate,
    Key,
    TableName,
    Unplannable,
    WorkloadQuery,
)

ORDERS = TableName("", "orders")
SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL, name TEXT, created_at TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id), status TEXT NOT NULL,
                     total NUMERIC, note TEXT, created_at TEXT NOT NULL);
CREATE TABLE countries (code TEXT PRIMARY KEY, name TEXT);
CREATE TABLE logs (id INTEGER PRIMARY KEY, text TEXT);
CREATE VIEW recent AS SELECT * FROM orders WHERE created_at > '2024-01-01';
CREATE TRIGGER changed AFTER INSERT ON orders BEGIN INSERT INTO logs (text) VALUES ('order'); END;
CREATE INDEX users_name ON users (name COLLATE nocase);
"""


def moment(number: int) -> str:
    return f"2024-{1 + number // 2500 % 12:02}-{1 + number // 90 % 28:02} {number % 24:02}:{number % 60:02}:00"


def fill(connection: sqlite3.Connection) -> None:
    draw = random.Random(3)
    connection.executescript(SCHEMA)
    connection.execute("DROP TRIGGER changed")
    connection.executemany(
        "INSERT INTO users VALUES (?, ?, ?, ?)",
        [(n, f"User{n}@Example.com", f"name {n % 700}", moment(n)) for n in range(1, 8_001)],
    )
    connection.executemany(
        "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?)",
        [
            (n, draw.randint(1, 300), "pending" if draw.random() < 0.01 else "done", n % 90, "x" * 60, moment(n))
            for n in range(1, 30_001)
        ],
    )
    connection.executemany("INSERT INTO countries VALUES (?, ?)", [(f"c{n}", f"country {n}") for n in range(200)])
    connection.commit()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "shop #1?.db"
    with closing(sqlite3.connect(path)) as connection:
        fill(connection)
        connection.execute("ANALYZE")
        connection.commit()
    return path


def url(path: Path) -> str:
    return f"sqlite:///{str(path).replace('?', '%3F')}"


@pytest.fixture
def planner(shop: Path) -> Iterator[SqlitePlanner]:
    with planner_for(make_url("sqlite://").set(database=str(shop))) as found:
        yield found


def asked(planner: SqlitePlanner, *queries: WorkloadQuery) -> Advice:
    return advise(planner, list(queries))


def query(sql: str, *parameters: object, calls: float = 1000.0) -> WorkloadQuery:
    return WorkloadQuery(sql[:30], sql, calls, None, parameters)  # type: ignore[arg-type]


def index(*columns: str, where: str = "", table: TableName = ORDERS) -> Candidate:
    return Candidate(table, tuple(Key(column, column) for column in columns), (), where)


BY_USER = query("SELECT * FROM orders WHERE user_id = ? ORDER BY created_at DESC LIMIT 10", [17], [40], [299])
WORKLOAD = (
    BY_USER,
    query("SELECT id, name FROM users WHERE lower(email) = ?", ["user77@example.com"]),
    query("SELECT id FROM orders WHERE status = ?", ["pending"], ["pending"], ["pending"]),
    query("SELECT u.name, o.total FROM orders o, users u WHERE u.id = user_id AND u.email = ?", ["User5@Example.com"]),
    query("UPDATE countries SET name = ? WHERE name = ?", ["a", "country 7"]),
)  # fmt: skip


# --- the advice ---
def test_the_advice_finds_what_is_missing_and_nothing_else(planner: SqlitePlanner) -> None:
    advice = asked(planner, *WORKLOAD)
    found = {(hint.candidate.table.name, *hint.candidate.columns, hint.candidate.where) for hint in advice.hints}
    assert ("orders", "user_id", "created_at", "") in found
    assert any(one[:2] == ("users", "lower(email)") for one in found)
    assert any(one[:2] == ("users", "email") for one in found)
    assert any(one[0] == "orders" and ("status" in one or "status = 'pending'" in one) for one in found)
    assert not any(one[0] == "countries" for one in found)
    assert {hint.verification for hint in advice.hints} == {"explain"}
    assert advice.cost_after < advice.cost_before / 10


def test_the_advice_is_the_same_twice(shop: Path) -> None:
    found = []
    for _ in range(2):
        with planner_for(make_url("sqlite://").set(database=str(shop))) as planner:
            found.append([hint.ddl for hint in asked(planner, *WORKLOAD).hints])
    assert found[0] == found[1]


def test_the_advice_has_nothing_for_a_common_value(planner: SqlitePlanner) -> None:
    assert not asked(planner, query("SELECT * FROM orders WHERE status = ?", ["done"], ["done"], ["done"])).hints


def test_the_advice_can_be_built_and_is_used_then(planner: SqlitePlanner, tmp_path: Path, shop: Path) -> None:
    advice = asked(planner, *WORKLOAD)
    copy = tmp_path / "built.db"
    copy.write_bytes(shop.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        for hint in advice.hints:
            connection.execute(hint.ddl)
        connection.execute("ANALYZE")
        plan = str(connection.execute(f"EXPLAIN QUERY PLAN {BY_USER.sql}", [17]).fetchall())
    assert "orders_user_id_created_at_idx" in plan
    with planner_for(make_url("sqlite://").set(database=str(copy))) as after:
        assert after.estimate(BY_USER).cost < planner.estimate(BY_USER).cost / 20
        assert all(hint.share < 0.02 for hint in asked(after, *WORKLOAD).hints)


# --- a candidate ---
def test_a_candidate_is_used_and_named_in_the_plan(planner: SqlitePlanner) -> None:
    wanted = index("user_id", "created_at")
    before, after = planner.estimate(BY_USER), planner.estimate(BY_USER, frozenset({wanted}))
    assert after.used == {wanted}
    assert "SCAN orders" in before.plan
    assert wanted.name in after.plan
    assert after.cost < before.cost / 50


def test_a_candidate_sorts_no_more_where_it_has_the_order(planner: SqlitePlanner) -> None:
    one = planner.estimate(BY_USER, frozenset({index("user_id")}))
    assert "TEMP B-TREE" in one.plan
    assert planner.estimate(BY_USER, frozenset({index("user_id", "created_at")})).cost < one.cost


def test_a_candidate_is_cheaper_when_it_covers(planner: SqlitePlanner) -> None:
    asks = query("SELECT total FROM orders WHERE created_at > '2024-11-20'")
    narrow = planner.estimate(asks, frozenset({index("created_at")}))
    assert planner.estimate(asks, frozenset({index("created_at", "total")})).cost < narrow.cost


def test_a_candidate_gives_the_largest_at_once(planner: SqlitePlanner) -> None:
    asks = query("SELECT max(created_at) FROM orders")
    assert planner.estimate(asks, frozenset({index("created_at")})).cost < planner.estimate(asks).cost / 100


def test_a_candidate_that_cannot_be_built_is_left_out_with_its_reason(planner: SqlitePlanner) -> None:
    wrong = Candidate(ORDERS, (Key("nowhere(note)"),), (), "random() > 1")
    assert planner.estimate(BY_USER, frozenset({wrong})).used == frozenset()
    assert planner.why_impossible(wrong)


def test_a_candidate_of_rare_rows_is_small(planner: SqlitePlanner) -> None:
    part = index("created_at", where="status = 'pending'")
    assert planner.selectivity(part) == pytest.approx(0.01, abs=0.008)
    assert planner.size(part) < planner.size(index("created_at")) / 20


def test_a_candidate_has_about_the_size_that_sqlite_gives_it(
    shop: Path, planner: SqlitePlanner, tmp_path: Path
) -> None:
    copy = tmp_path / "sized.db"
    copy.write_bytes(shop.read_bytes())
    with closing(sqlite3.connect(copy)) as connection:
        before = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute("CREATE INDEX a ON orders (user_id, created_at)")
        pages = connection.execute("PRAGMA page_count").fetchone()[0] - before
    assert planner.size(index("user_id", "created_at")) / 4096 == pytest.approx(pages, rel=0.15)


# --- the database ---
def test_the_database_is_never_written_to(shop: Path) -> None:
    before = shop.read_bytes(), sorted(path.name for path in shop.parent.iterdir())
    with planner_for(make_url("sqlite://").set(database=str(shop))) as planner:
        asked(planner, *WORKLOAD)
        with pytest.raises(Exception, match="readonly"):
            planner.connection.exec_driver_sql("DELETE FROM users")
    assert before == (shop.read_bytes(), sorted(path.name for path in shop.parent.iterdir()))


def test_the_database_with_a_write_ahead_log_is_left_alone_as_well(tmp_path: Path) -> None:
    path = tmp_path / "wal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        fill(connection)
    with planner_for(make_url("sqlite://").set(database=str(path))) as planner:
        assert planner.catalogue().tables[ORDERS].rows == 30_000
    assert [one.name for one in tmp_path.iterdir()] == ["wal.db"]
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("INSERT INTO countries VALUES ('zz', 'new')")
        writer.commit()
        with planner_for(make_url("sqlite://").set(database=str(path))) as planner:
            assert planner.catalogue().tables[TableName("", "countries")].rows == 201


def test_the_database_that_was_never_analysed_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "fresh.db"
    with closing(sqlite3.connect(path)) as connection:
        fill(connection)
    with planner_for(make_url("sqlite://").set(database=str(path))) as planner:
        table = planner.catalogue().tables[ORDERS]
        assert (table.rows, table.analyzed) == (30_000, False)
        found = {(hint.candidate.table.name, *hint.candidate.columns) for hint in asked(planner, *WORKLOAD).hints}
    assert ("orders", "user_id", "created_at") in found


def test_the_database_is_known_with_its_statistics(planner: SqlitePlanner) -> None:
    catalogue = planner.catalogue()
    orders = catalogue.tables[ORDERS]
    assert catalogue.system == "sqlite"
    assert orders.primary_key == ("id",)
    assert orders.columns["user_id"].distinct == pytest.approx(300, rel=0.1)
    assert dict(orders.columns["status"].common)["done"] == pytest.approx(0.99, abs=0.01)
    assert orders.foreign_keys[0].refers_to == TableName("", "users")
    assert catalogue.tables[TableName("", "recent")].kind == "view"
    assert [key.sql for key in catalogue.tables[TableName("", "users")].indexes[-1].keys] == ["name"]


def test_the_database_may_be_searchable_and_hold_documents(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE VIRTUAL TABLE notes USING fts5(body); CREATE TABLE t (a JSON, b BLOB)")
        connection.execute("INSERT INTO t VALUES (?, ?)", ('{"x": 1}', b"\0" * 5_000))
        connection.commit()
    with planner_for(make_url("sqlite://").set(database=str(path))) as planner:
        assert planner.estimate(query("SELECT body FROM notes WHERE notes MATCH ?", ["word"])).plan
        assert planner.estimate(query("SELECT b FROM t WHERE a ->> 'x' = ?", [1])).plan


def test_the_database_that_is_being_changed_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY", 0.0)
    path = tmp_path / "busy.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (a)")
        writer.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(AdvisorError, match="locked; try again"),
            planner_for(make_url("sqlite://").set(database=str(path))),
        ):
            pass


def test_the_database_may_have_functions_and_collations_of_its_application(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.create_collation("mine", lambda one, other: (one > other) - (one < other))
        connection.create_function("slug", 1, str, deterministic=True)
        connection.executescript("CREATE TABLE t (a TEXT COLLATE mine, b TEXT); CREATE INDEX t_b ON t (slug(b), a);")
    with planner_for(make_url("sqlite://").set(database=str(path))) as planner:
        plan = planner.estimate(query("SELECT a FROM t WHERE slug(b) = ?", ["x"])).plan
    assert "t_b" in plan


# --- no plan ---
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders WHERE note = 'secret' AND status IN ('secret', 'b') ORDER BY total",
        "SELECT * FROM orders WHERE user_id IN (SELECT id FROM users WHERE name = 'secret') OR id = 5",
        "DELETE FROM orders WHERE note LIKE 'secret%'",
        "WITH a AS (SELECT 'secret' AS x) SELECT * FROM a, users WHERE name = x UNION SELECT 1, 2, 3, 4, 5",
    ],
)
def test_no_plan_holds_a_value(planner: SqlitePlanner, sql: str) -> None:
    estimate = planner.estimate(query(sql), frozenset({index("note"), index("status")}))
    assert estimate.plan
    assert "secret" not in estimate.plan


def test_no_plan_is_made_for_what_the_database_refuses(planner: SqlitePlanner) -> None:
    with pytest.raises(Unplannable, match="no such table"):
        planner.estimate(query("SELECT * FROM nowhere"))


# --- trouble ---
@pytest.mark.parametrize(
    "database, told",
    [(None, "in memory"), (":memory:", "in memory"), ("/no/where.db", "no such file")],
)
def test_trouble_is_told_in_a_line(database: str | None, told: str) -> None:
    with (
        pytest.raises(AdvisorError, match=told),
        planner_for(make_url("sqlite+aiosqlite://").set(database=database)),
    ):
        pass


def test_trouble_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("this is a text, and has been one for quite a while, at least since it was written")
    with (
        pytest.raises(AdvisorError, match="is it a SQLite database"),
        planner_for(make_url("sqlite://").set(database=str(path))),
    ):
        pass


@pytest.mark.parametrize(
    "ddl, told",
    [
        ("CREATE INDEX a ON t (b)", (["b"], "")),
        ("CREATE INDEX a ON t (lower(b) DESC, f(c, 1)) WHERE d = 'x, y'", (["lower(b)", "f(c, 1)"], "d = 'x, y'")),
        ("", ([], "")),
    ],
)  # fmt: skip
def test_the_keys_of_an_index_are_read_from_its_text(ddl: str, told: object) -> None:
    assert key_texts(ddl) == told
