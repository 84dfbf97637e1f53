"""PostgreSQL without HypoPG, asked by a user who may only read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from dbvitals_processors.hints.advise import advise
from dbvitals_processors.hints.explain import pg_conditions, planner_for
from dbvitals_processors.hints.explain.postgres import PostgresPlanner
from dbvitals_processors.hints.model import Advice, Candidate, Key, TableName, WorkloadQuery

pytestmark = pytest.mark.postgresql

DATABASE, READER = "heur_pg", "heur_pg_reader"
SCHEMA = """
CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL, name text, created_at timestamptz NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, user_id bigint NOT NULL, status text NOT NULL, is_paid boolean NOT NULL,
                     total numeric(10, 2), note text, created_at timestamptz NOT NULL, deleted_at timestamptz);
CREATE TABLE countries (code text PRIMARY KEY, name text);
INSERT INTO users (email, name, created_at)
  SELECT 'User' || n || '@Example.com', 'name ' || n % 700, '2024-01-01'::timestamptz + n * interval '1 hour'
  FROM generate_series(1, 8000) n;
INSERT INTO orders (user_id, status, is_paid, total, note, created_at)
  SELECT 1 + n * 7919 % 301, CASE WHEN n % 100 = 7 THEN 'pending' ELSE 'done' END, n % 50 <> 0, n % 90, repeat('x', 60),
         '2024-01-01'::timestamptz + n * 13 % 400000 * interval '1 minute'
  FROM generate_series(1, 30000) n;
INSERT INTO countries SELECT 'c' || n, 'country ' || n FROM generate_series(1, 200) n;
"""


def engine_of(url: URL) -> Any:
    return create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, isolation_level="AUTOCOMMIT")


@pytest.fixture(scope="module")
def owner(postgresql_url: str) -> Iterator[Connection]:
    """A connection that may do anything in the shop's database."""
    url = make_url(postgresql_url)
    with engine_of(url).connect() as control:
        control.exec_driver_sql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        control.exec_driver_sql(f"DROP ROLE IF EXISTS {READER}")
        control.exec_driver_sql(f"CREATE ROLE {READER} LOGIN PASSWORD 'secret'")
        control.exec_driver_sql(f"CREATE DATABASE {DATABASE} TEMPLATE template0 LOCALE 'C.UTF-8'")
        with engine_of(url.set(database=DATABASE)).connect() as connection:
            plain = connection.execution_options(no_parameters=True)
            plain.exec_driver_sql(SCHEMA)
            plain.exec_driver_sql(f"GRANT SELECT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {READER}")
            plain.exec_driver_sql("VACUUM (ANALYZE)")
            yield plain
        control.exec_driver_sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        control.exec_driver_sql(f"DROP ROLE {READER}")


@pytest.fixture
def planner(owner: Connection, postgresql_url: str) -> Iterator[PostgresPlanner]:
    url = make_url(postgresql_url).set(database=DATABASE, username=READER, password="secret")
    with planner_for(url) as found:
        assert not found.hypothetical
        yield found


def query(sql: str, *parameters: Any, calls: float = 1000.0) -> WorkloadQuery:
    return WorkloadQuery(sql, sql, calls, None, parameters)


def index(*columns: str, table: str = "orders", include: tuple[str, ...] = (), where: str = "") -> Candidate:
    return Candidate(TableName("public", table), tuple(Key(one, one) for one in columns), include, where)


def asked(planner: PostgresPlanner, *queries: WorkloadQuery) -> Advice:
    return advise(planner, list(queries))


def cost_of(connection: Connection, sql: str) -> float:
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}").scalar_one()
    return float(plan[0]["Plan"]["Total Cost"])


BY_USER = query("SELECT * FROM orders WHERE user_id = $1 ORDER BY created_at DESC LIMIT 10", [17], [40], [299])
WORKLOAD = (
    BY_USER,
    query("SELECT id, name FROM users WHERE lower(email) = $1", ["user77@example.com"]),
    query("SELECT id, total FROM orders WHERE status = $1", ["pending"], ["pending"], ["pending"]),
    query("SELECT name, total FROM orders o, users u WHERE u.id = user_id AND email = $1", ["User5@Example.com"]),
    query("UPDATE countries SET name = $1 WHERE name = $2", ["a", "country 7"]),
)  # fmt: skip


# --- the advice ----------------------------------------------------------------------------------------------------


def test_the_advice_finds_what_is_missing_and_nothing_else(planner: PostgresPlanner) -> None:
    advice = asked(planner, *WORKLOAD)
    found = {(hint.candidate.table.name, *hint.candidate.columns, hint.candidate.where) for hint in advice.hints}
    assert ("orders", "user_id", "created_at", "") in found
    assert ("users", "lower(email)", "") in found
    assert any(one[:2] == ("users", "email") for one in found)
    assert any(one[0] == "orders" and ("status" in one or one[-1]) for one in found)
    assert not any(one[0] == "countries" for one in found)
    assert {hint.verification for hint in advice.hints} == {"heuristic"}
    assert advice.cost_after < advice.cost_before / 5


def test_the_advice_has_nothing_for_a_common_value(planner: PostgresPlanner) -> None:
    assert not asked(planner, query("SELECT * FROM orders WHERE status = $1", ["done"], ["done"], ["done"])).hints


def test_the_advice_is_true_once_it_is_built(planner: PostgresPlanner, owner: Connection) -> None:
    asks = [
        (BY_USER, "SELECT * FROM orders WHERE user_id = 17 ORDER BY created_at DESC LIMIT 10"),
        (WORKLOAD[1], "SELECT id, name FROM users WHERE lower(email) = 'user77@example.com'"),
        (WORKLOAD[2], "SELECT id, total FROM orders WHERE status = 'pending'"),
        (WORKLOAD[3], "SELECT name, total FROM orders o, users u WHERE u.id = user_id AND email = 'User5@Example.com'"),
    ]  # fmt: skip
    hints = asked(planner, *WORKLOAD).hints
    chosen = frozenset(hint.candidate for hint in hints)
    promised = {sql: planner.estimate(one, chosen).cost for one, sql in asks}
    for hint in hints:
        owner.exec_driver_sql(hint.ddl)
    try:
        owner.exec_driver_sql("VACUUM (ANALYZE)")
        for sql, cost in promised.items():
            assert cost == pytest.approx(cost_of(owner, sql), rel=0.7), sql
    finally:
        for hint in hints:
            owner.exec_driver_sql(f"DROP INDEX {hint.candidate.name}")


# --- a candidate ---------------------------------------------------------------------------------------------------

USERS_NAME = index("name", table="users")
CHECKED = [
    ("SELECT * FROM orders WHERE user_id = 17", index("user_id")),
    ("SELECT * FROM orders WHERE user_id = 17 AND status = 'pending'", index("user_id", "status")),
    ("SELECT * FROM orders WHERE user_id IN (17, 18, 19) AND total > 80", index("user_id")),
    ("SELECT * FROM orders WHERE created_at >= '2024-09-30'", index("created_at")),
    ("SELECT created_at FROM orders WHERE created_at >= '2024-08-01'", index("created_at")),
    ("SELECT user_id FROM orders WHERE status = 'pending'", index("status", include=("user_id",))),
    ("SELECT * FROM orders ORDER BY created_at DESC, id DESC LIMIT 10", index("created_at", "id")),
    ("SELECT * FROM orders WHERE NOT is_paid ORDER BY created_at LIMIT 5", index("is_paid", "created_at")),
    ("SELECT id FROM orders WHERE status = 'pending' AND created_at > '2024-06-01'",
     index("created_at", where="status = 'pending'")),
    ("SELECT max(created_at) FROM orders WHERE user_id = 7", index("user_id", "created_at")),
    ("SELECT count(*) FROM orders o JOIN users u ON u.id = o.user_id WHERE u.name = 'name 5'", USERS_NAME),
    ("SELECT o.* FROM users u JOIN orders o ON o.user_id = u.id WHERE u.id = 5", index("user_id")),
    ("SELECT * FROM users u WHERE EXISTS (SELECT FROM orders WHERE user_id = u.id AND total = 3)", index("total")),
    ("SELECT o.id, u.name FROM orders o LEFT JOIN users u ON u.id = o.user_id ORDER BY o.created_at LIMIT 10",
     index("created_at")),
    ("SELECT * FROM users WHERE name LIKE 'name 69%'",
     Candidate(TableName("public", "users"), (Key("name", "name", opclass="text_pattern_ops"),))),
    ("DELETE FROM orders WHERE user_id = 5", index("user_id")),
]  # fmt: skip


@pytest.mark.parametrize("sql, wanted", CHECKED, ids=[sql for sql, _ in CHECKED])
def test_a_candidate_costs_about_what_it_does_once_built(
    planner: PostgresPlanner, owner: Connection, sql: str, wanted: Candidate
) -> None:
    before, found = cost_of(owner, sql), planner.estimate(query(sql), frozenset({wanted}))
    owner.exec_driver_sql(wanted.ddl())
    try:
        owner.exec_driver_sql("VACUUM (ANALYZE) orders, users")
        real = cost_of(owner, sql)
    finally:
        owner.exec_driver_sql(f"DROP INDEX {wanted.name}")
    assert found.used == {wanted}
    assert found.verification == "heuristic"
    assert real < before
    assert 0.5 < found.cost / real < 2


def test_candidates_for_each_branch_of_an_or_are_used_together(planner: PostgresPlanner) -> None:
    asks = query("SELECT * FROM orders WHERE user_id = 5 OR total = 89")
    both = frozenset({index("user_id"), index("total")})
    assert planner.estimate(asks, frozenset({index("user_id")})).used == frozenset()
    assert planner.estimate(asks, both).used == both


@pytest.mark.parametrize(
    "sql, useless",
    [
        ("SELECT * FROM orders WHERE total = 5", index("user_id")),
        ("SELECT * FROM orders WHERE status <> 'done'", index("status")),
        ("SELECT * FROM orders WHERE user_id + 1 = 5", index("user_id")),
        ("SELECT * FROM orders WHERE created_at > '2024-06-01'", index("created_at", where="status = 'pending'")),
        ("SELECT * FROM orders WHERE total = 5", index("user_id", "total")),
        ("SELECT * FROM orders ORDER BY created_at, total DESC LIMIT 5", index("created_at", "total")),
    ],
)
def test_a_candidate_that_serves_nothing_changes_nothing(
    planner: PostgresPlanner, sql: str, useless: Candidate
) -> None:
    found = planner.estimate(query(sql), frozenset({useless}))
    assert (found.used, found.cost) == (frozenset(), planner.estimate(query(sql)).cost)


# --- plans and conditions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders WHERE note = 'secret' AND status IN ('secret', 'b') ORDER BY total",
        "SELECT * FROM orders WHERE user_id IN (SELECT id FROM users WHERE name = 'secret') OR note = 'secret'",
    ],
)
def test_no_plan_holds_a_value(planner: PostgresPlanner, sql: str) -> None:
    estimate = planner.estimate(query(sql), frozenset({index("note"), index("status"), index("name", table="users")}))
    assert "secret" not in estimate.plan


def test_the_database_is_never_written_to(planner: PostgresPlanner) -> None:
    with pytest.raises(DBAPIError, match="read-only"):
        planner.connection.exec_driver_sql("DELETE FROM users")


@pytest.mark.parametrize(
    "text, kind, left, others",
    [
        ("(user_id = '3'::bigint)", "eq", "user_id", set()),
        ("((status)::text = ANY ('{a,b}'::text[]))", "in", "status", set()),
        ("(lower((email)::text) = 'x = y'::text)", "eq", "loweremail", set()),
        ("(created_at >= '2024-01-01 00:00:00+00'::timestamp with time zone)", "range", "created_at", set()),
        ("(name ~~ 'ab%'::text)", "prefix", "name", set()),
        ("(name ~~ '%ab'::text)", "", "name", set()),
        ("(deleted_at IS NULL)", "eq", "deleted_at", set()),
        ("(NOT is_paid)", "eq", "is_paid", set()),
        ("(is_paid IS TRUE)", "eq", "is_paid", set()),
        ("((a = 1) OR (b = 'x OR y'::text))", "or", "", set()),
        ("(o.user_id = u.id)", "eq", "user_id", {"u"}),
        ("(ROW(created_at, id) < ROW('2024-01-01'::date, 5))", "range", "created_at", set()),
    ],
)
def test_conditions_of_plans_are_read(text: str, kind: str, left: str, others: set[str]) -> None:
    found = pg_conditions.read(text, "o")
    assert (found.kind, found.left, set(found.others)) == (kind, left, others)


def test_conditions_are_split_where_postgresql_joins_them() -> None:
    node = {"Filter": "(is_paid AND (a = 'x AND y'::text) AND ((b = 1) OR (c = 2)))"}
    assert pg_conditions.conjuncts(node, "Filter") == ["(is_paid)", "(a = 'x AND y'::text)", "((b = 1) OR (c = 2))"]


@pytest.mark.parametrize(
    "text, where, implied",
    [
        ("((status)::text = 'paid'::text)", "status = 'paid'", True),
        ("((status)::text = ANY ('{b,a}'::text[]))", "status IN ('a', 'b')", True),
        ("((status)::text = ANY ('{b,c}'::text[]))", "status IN ('a', 'b')", False),
        ("(is_paid)", "is_paid", True),
        ("(NOT is_paid)", "is_paid", False),
        ("(deleted_at IS NULL)", "deleted_at IS NULL", True),
    ],
)
def test_a_partial_index_serves_what_its_predicate_says(text: str, where: str, implied: bool) -> None:
    assert pg_conditions.implies(text, where) is implied
