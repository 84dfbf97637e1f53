"""PostgreSQL with HypoPG: what is estimated is true once it is built, and nothing is left behind."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from dbvitals_processors.hints.advise import advise
from dbvitals_processors.hints.explain.postgres import PostgresPlanner, connect
from dbvitals_processors.hints.explain.size import index_bytes
from dbvitals_processors.hints.model import (
    Advice,
    AdvisorError,
    Candidate,
    Key,
    TableName,
    Unplannable,
    WorkloadQuery,
)

pytestmark = pytest.mark.postgresql

DATABASE = "core_pg"
SCHEMA = """
CREATE EXTENSION pg_trgm;
CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL, name varchar(60), created_at timestamptz NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, status text NOT NULL,
                     kind smallint NOT NULL, is_paid boolean NOT NULL, total numeric(10, 2),
                     note text COLLATE "en-x-icu",
                     data jsonb, tags text[], token uuid NOT NULL, made_on date NOT NULL,
                     created_at timestamptz NOT NULL, deleted_at timestamptz);
CREATE TABLE states (code text PRIMARY KEY, name text);
CREATE TABLE log (id bigserial PRIMARY KEY, at timestamptz NOT NULL, text text);
CREATE TABLE jobs (id bigserial PRIMARY KEY, state text NOT NULL, run_at timestamptz NOT NULL, payload text);
INSERT INTO users (email, name, created_at)
  SELECT 'User' || n || '@Example.com', 'name ' || n % 700, '2024-01-01'::timestamptz + n * interval '1 hour'
  FROM generate_series(1, 8000) n;
INSERT INTO orders (user_id, status, kind, is_paid, total, note, data, tags, token, made_on, created_at, deleted_at)
  SELECT 1 + n * 7919 % 3001, CASE WHEN n % 100 = 7 THEN 'pending' WHEN n % 100 = 8 THEN 'failed' ELSE 'done' END,
         n % 40, n % 50 <> 0, n % 900, md5(n::text) || ' ' || md5((n * 3)::text), jsonb_build_object('c', n % 5000),
         ARRAY['t' || n % 3000], md5(n::text)::uuid, '2024-01-01'::date + n * 13 % 700,
         '2024-01-01'::timestamptz + n * 13 % 400000 * interval '1 minute', CASE WHEN n % 80 = 0 THEN now() END
  FROM generate_series(1, 40000) n;
INSERT INTO states SELECT 'c' || n, 'state ' || n FROM generate_series(1, 200) n;
INSERT INTO log (at, text) SELECT '2024-01-01'::timestamptz + n * interval '1 minute', repeat('x', 900)
  FROM generate_series(1, 20000) n;
INSERT INTO jobs (state, run_at, payload) SELECT CASE WHEN n % 2 = 0 THEN 'waiting' ELSE 'running' END, now(), 'x'
  FROM generate_series(1, 5000) n;
"""


@pytest.fixture(scope="module")
def url(postgresql_url: str) -> Iterator[str]:
    server = make_url(postgresql_url).set(drivername="postgresql+psycopg")
    settings: dict[str, Any] = {"poolclass": NullPool, "isolation_level": "AUTOCOMMIT"}
    with create_engine(server, **settings).connect() as control:
        control.exec_driver_sql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        control.exec_driver_sql(f"CREATE DATABASE {DATABASE} TEMPLATE template0 LOCALE 'C.UTF-8'")
        found = server.set(database=DATABASE)
        with create_engine(found, **settings).connect() as connection:
            plain = connection.execution_options(no_parameters=True)
            plain.exec_driver_sql(SCHEMA)
            plain.exec_driver_sql("VACUUM (ANALYZE)")
        yield found.render_as_string(hide_password=False)
        control.exec_driver_sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture(scope="module")
def owner(url: str) -> Iterator[Connection]:
    with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
        yield connection.execution_options(no_parameters=True)


@pytest.fixture
def planner(url: str) -> Iterator[PostgresPlanner]:
    """With HypoPG as it lies on the server, not in the database."""
    with connect(url) as connection:
        yield PostgresPlanner(connection)


@pytest.fixture
def extended(owner: Connection, url: str) -> Iterator[PostgresPlanner]:
    """With HypoPG in a schema of the database."""
    owner.exec_driver_sql('CREATE SCHEMA "Ext"')
    owner.exec_driver_sql('CREATE EXTENSION hypopg SCHEMA "Ext"')
    try:
        with connect(url) as connection:
            yield PostgresPlanner(connection)
    finally:
        owner.exec_driver_sql('DROP SCHEMA "Ext" CASCADE')


def query(sql: str, *parameters: Any, calls: float = 1000.0) -> WorkloadQuery:
    return WorkloadQuery(sql, sql, calls, None, parameters)


def index(*keys: str | Key, table: str = "orders", **rest: Any) -> Candidate:
    found = tuple(key if isinstance(key, Key) else Key(key, key if key.isidentifier() else None) for key in keys)
    return Candidate(TableName("public", table), found, **rest)


def cost_of(connection: Connection, sql: str) -> float:
    connection.exec_driver_sql("SET jit = off")
    connection.exec_driver_sql("SET max_parallel_workers_per_gather = 0")
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}").scalar_one()
    return float(plan[0]["Plan"]["Total Cost"])


def built(owner: Connection, sql: str, *indexes: Candidate) -> float:
    """The cost with real indexes."""
    owner.exec_driver_sql("BEGIN")
    try:
        for one in indexes:
            owner.exec_driver_sql(one.ddl())
        owner.exec_driver_sql(f"ANALYZE {', '.join(dict.fromkeys(one.table.name for one in indexes))}")
        return cost_of(owner, sql)
    finally:
        owner.exec_driver_sql("ROLLBACK")


# --- estimates -----------------------------------------------------------------------------------------------------

STATUS = (Key("status", "status"),)
CHECKED = [
    ("SELECT * FROM orders WHERE user_id = 17", index("user_id")),
    ("SELECT * FROM orders WHERE user_id = 17 AND total = 5", index("user_id", "total")),
    ("SELECT * FROM orders WHERE user_id = 17 ORDER BY created_at DESC LIMIT 3", index("user_id", "created_at")),
    ("SELECT * FROM orders WHERE user_id = 17 ORDER BY kind, total DESC LIMIT 3",
     index("user_id", "kind", Key("total", "total", True))),
    ("SELECT * FROM orders ORDER BY deleted_at DESC NULLS LAST, id LIMIT 5",
     index(Key("deleted_at", "deleted_at", True, False), "id")),
    ("SELECT * FROM orders WHERE created_at >= '2024-09-30'", index("created_at")),
    ("SELECT * FROM orders WHERE (created_at, id) < ('2024-03-01', 500) ORDER BY created_at DESC, id DESC LIMIT 10",
     index("created_at", "id")),
    ("SELECT max(created_at) FROM orders WHERE user_id = 7", index("user_id", "created_at")),
    ("SELECT min(total) FROM orders", index("total")),
    ("SELECT total FROM orders WHERE user_id = 3", index("user_id", include=("total",))),
    ("SELECT * FROM orders WHERE status = 'pending' AND user_id = 17",
     index("user_id", where="status = 'pending'", stands_for=STATUS)),
    ("SELECT * FROM orders WHERE status IN ('pending', 'failed') ORDER BY created_at LIMIT 10",
     index("created_at", where="status IN ('failed', 'pending')", stands_for=STATUS)),
    ("SELECT * FROM orders WHERE deleted_at IS NOT NULL AND kind = 0", index("kind", where="deleted_at IS NOT NULL")),
    ("SELECT * FROM orders WHERE NOT is_paid ORDER BY created_at LIMIT 5", index("created_at", where="NOT is_paid")),
    ("SELECT * FROM orders WHERE note LIKE 'abcd%'", index(Key("note", "note", opclass="text_pattern_ops"))),
    ("SELECT * FROM users WHERE lower(email) = 'user77@example.com'", index("lower(email)", table="users")),
    ("UPDATE orders SET note = 'x' WHERE user_id = 5 AND total = 3", index("user_id", "total")),
    ("DELETE FROM orders WHERE user_id = 5", index("user_id")),
    ("SELECT 1 FROM orders WHERE user_id = 5", index("user_id")),
    ("SELECT * FROM log WHERE at >= '2024-01-14'", index("at", table="log", method="brin")),
]  # fmt: skip


@pytest.mark.parametrize("sql, wanted", CHECKED, ids=[f"{sql[:60]} {one}" for sql, one in CHECKED])
def test_a_hypothetical_index_costs_about_what_the_real_one_does(
    planner: PostgresPlanner, owner: Connection, sql: str, wanted: Candidate
) -> None:
    found = planner.estimate(query(sql), frozenset({wanted}))
    assert planner.why_impossible(wanted) is None
    assert found.used == {wanted}
    real = built(owner, sql, wanted)
    assert real < cost_of(owner, sql)
    assert 1 / 1.6 < (found.cost + 5) / (real + 5) < 1.6


INVERTED = [
    ("SELECT * FROM orders WHERE data @> '{\"c\": 77}'",
     index(Key("data", "data", opclass="jsonb_path_ops"), method="gin")),
    ("SELECT * FROM orders WHERE tags && ARRAY['t77']", index("tags", method="gin")),
    ("SELECT * FROM orders WHERE note ILIKE '%abcdef%'",
     index(Key("note", "note", opclass="gin_trgm_ops"), method="gin")),
]  # fmt: skip


@pytest.mark.parametrize("sql, wanted", INVERTED, ids=["jsonb", "array", "trigrams"])
def test_an_inverted_index_is_known_to_serve_though_hypopg_has_none(
    planner: PostgresPlanner, owner: Connection, sql: str, wanted: Candidate
) -> None:
    found = planner.estimate(query(sql), frozenset({wanted}))
    assert (found.used, found.verification) == ({wanted}, "heuristic")
    assert 1 / 4 < found.cost / built(owner, sql, wanted) < 4


def test_each_branch_of_an_or_has_its_bitmap(planner: PostgresPlanner, owner: Connection) -> None:
    sql = "SELECT * FROM orders WHERE user_id = 5 OR total = 899"
    both = index("user_id"), index("total")
    assert planner.estimate(query(sql), frozenset(both[:1])).used == frozenset()
    found = planner.estimate(query(sql), frozenset(both))
    assert found.used == set(both)
    assert found.cost == pytest.approx(built(owner, sql, *both), rel=0.3)


def test_an_index_that_cannot_be_built_has_its_reason(planner: PostgresPlanner) -> None:
    odd = index(Key("data", "data", opclass="text_pattern_ops"))
    found = planner.estimate(query("SELECT * FROM orders WHERE data = '{}'"), frozenset({odd}))
    assert found.used == frozenset()
    assert "text_pattern_ops" in (planner.why_impossible(odd) or "")


def test_the_share_of_a_partial_index_is_the_planners(planner: PostgresPlanner) -> None:
    assert planner.selectivity(index("id", where="status = 'pending'")) == pytest.approx(0.01, rel=0.5)
    assert planner.selectivity(index("id")) == 1.0


# --- binds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql, parameters",
    [
        ("SELECT * FROM orders WHERE user_id = %(u)s AND status = :s", ({"u": 5, "s": "done"},)),
        ("SELECT * FROM orders WHERE user_id = $1 AND created_at > $2", ([5, "2024-01-01"], ["6", None])),
        ("SELECT * FROM orders WHERE user_id = ?", ()),
        ("SELECT * FROM orders WHERE user_id = ANY(:ids) AND data ? :k", ({"ids": [1, 2], "k": "c"},)),
        ("SELECT * FROM orders WHERE note LIKE %s LIMIT %s", (["it's 100%\\", 3],)),
        ("SELECT * FROM orders WHERE data = :d OR tags = :t OR is_paid = :p",
         ({"d": {"a": 1}, "t": ['a"b'], "p": True},)),
        ("SELECT :x AS y FROM orders WHERE id = 1", ()),
    ],
)  # fmt: skip
def test_a_query_with_binds_is_planned_with_samples_or_statistics(
    planner: PostgresPlanner, sql: str, parameters: Sequence[Any]
) -> None:
    assert planner.estimate(query(sql, *parameters)).cost > 0


def test_different_values_are_all_asked_for(planner: PostgresPlanner) -> None:
    sql = "SELECT * FROM orders WHERE status = :s AND kind > :k"
    one, other = {"s": "pending", "k": 3}, {"s": "done", "k": 3}
    wanted = frozenset({index("status")})
    rare, common, both = (
        planner.estimate(WorkloadQuery(str(n), sql, 1, None, some), wanted).cost
        for n, some in enumerate([(one,), (other,), (one, other)])
    )
    assert rare < both < common
    assert both == pytest.approx((rare + common) / 2, rel=0.01)


@pytest.mark.parametrize(
    "sql, parameters, reason",
    [
        ("SELECT * FROM nowhere WHERE a = 'hush'", (), "nowhere"),
        ("SELECT * FROM orders WHERE user_id = 'hush'", (), "invalid input syntax for type bigint"),
        ("SELECT * FROM orders WHERE user_id = :u", ({"u": "hush"},), "invalid input syntax for type bigint"),
        ("SELECT * FROM orders WHERE user_id = :u", ({"u": "99999999999999999999"},), "out of range for type bigint"),
        ("SELECT * FROM orders WHERE created_at = '2024-13-99'", (), "out of range"),
        ("SELECT * FROM orders WHERE tags = '{hush'", (), "malformed array literal"),
        ("SELECT * FROM orders WHERE data @> '{hush'", (), "invalid input syntax for type json"),
        ("SELECT * FROM orders WHERE status = 'a' 'hush' 'b'", (), "syntax error"),
    ],
)
def test_what_the_database_refuses_has_a_reason_that_repeats_no_value(
    planner: PostgresPlanner, sql: str, parameters: Sequence[Any], reason: str
) -> None:
    with pytest.raises(Unplannable) as refused:
        planner.estimate(query(sql, *parameters))
    assert reason in str(refused.value)
    assert not re.search("hush|2024|99999|SELECT", str(refused.value))


# --- nothing is left behind ----------------------------------------------------------------------------------------

EVERYTHING = """
SELECT array_agg(x ORDER BY x) FROM (
  SELECT 'c ' || c.oid || c.relname || c.relfilenode x FROM pg_class c WHERE relkind <> 't'
  UNION ALL SELECT 'p ' || p.oid || proname FROM pg_proc p UNION ALL SELECT 'n ' || nspname FROM pg_namespace
    WHERE nspname !~ '^pg_(toast_)?temp'
  UNION ALL SELECT 'e ' || extname FROM pg_extension UNION ALL SELECT 's ' || datname || coalesce(setconfig::text, '')
    FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase) all_"""


def all_of(owner: Connection) -> Any:
    """What is in the database, once our own sessions have ended, and what was theirs with them."""
    deadline = time.monotonic() + 10
    while owner.exec_driver_sql(OURS).scalar_one():
        assert time.monotonic() < deadline, "a session of ours, or what was temporary in it, stays"
    return owner.exec_driver_sql(EVERYTHING).scalar_one()


OURS = """
SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^dbvitals')
     + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname ~ '^pg_temp')"""


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    with connect(url) as found:
        yield found


def test_the_session_reads_only_and_gives_up_soon(connection: Connection) -> None:
    shown = {
        name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
        for name in ("default_transaction_read_only", "statement_timeout", "lock_timeout", "application_name")
    }
    assert shown == {
        "default_transaction_read_only": "on",
        "statement_timeout": "5s",
        "lock_timeout": "500ms",
        "application_name": "dbvitals advise",
    }
    for sql in ("DELETE FROM states", "CREATE TABLE x ()", "CREATE INDEX ON orders (total)"):
        with pytest.raises(DBAPIError, match="read-only"):
            connection.exec_driver_sql(sql)


def test_a_slow_statement_is_cut_off(connection: Connection) -> None:
    connection.exec_driver_sql("SET statement_timeout = 20")
    with pytest.raises(DBAPIError, match="statement timeout"):
        connection.exec_driver_sql("SELECT count(*) FROM orders a, orders b")


def test_the_database_is_the_same_afterwards(owner: Connection, url: str) -> None:
    before = all_of(owner)
    with connect(url) as connection:
        planner = PostgresPlanner(connection)
        assert planner.hypothetical
        assert advise(planner, [query(sql) for sql, _ in CHECKED]).hints
    assert all_of(owner) == before


def test_hypothetical_indexes_are_seen_by_nobody_else(planner: PostgresPlanner, owner: Connection) -> None:
    sql = "SELECT * FROM orders WHERE user_id = 17"
    before = cost_of(owner, sql)
    assert planner.estimate(query(sql), frozenset({index("user_id")})).cost < before
    assert cost_of(owner, sql) == before


def test_hypopg_is_taken_from_whatever_schema_it_is_in(extended: PostgresPlanner) -> None:
    assert extended.hypothetical
    wanted = index("user_id")
    sql = "SELECT * FROM orders WHERE user_id = 17"
    assert extended.estimate(query(sql), frozenset({wanted})).used == {wanted}


def test_a_server_that_is_not_there_is_told_without_its_password(url: str) -> None:
    nowhere = make_url(url).set(port=1, password="secret")
    with pytest.raises(AdvisorError) as refused, connect(nowhere):
        pass
    assert "secret" not in str(refused.value)


# --- the whole way -------------------------------------------------------------------------------------------------

_ASKED = (
    query("SELECT * FROM orders WHERE user_id = :u ORDER BY created_at DESC LIMIT 10", {"u": 17}, {"u": 40}),
    query("SELECT id, name FROM users WHERE lower(email) = :e", {"e": "user77@example.com"}, {"e": "x@example.com"}),
    query("SELECT * FROM orders WHERE status = :s ORDER BY created_at LIMIT 20", *[{"s": "pending"}] * 3),
    query("SELECT * FROM orders WHERE token = :t", {"t": "00000000-0000-4000-8000-000000000000"}),
    query("SELECT * FROM states WHERE name = :n", {"n": "state 7"}),
    query("SELECT count(*) FROM orders WHERE status = 'done'"),
    query("SELECT * FROM users WHERE id = :i", {"i": 5}),
    query("DELETE FROM users WHERE id = :i", {"i": 5}, calls=20),
    query("INSERT INTO log (at, text) VALUES (now(), :t)", {"t": "hush"}, calls=500_000),
    query("SELECT * FROM log WHERE at > :a", {"a": "2024-01-01"}, calls=1),
    query("UPDATE jobs SET state = 'running', run_at = now() WHERE id = :i", {"i": 3}, calls=900_000),
    query("SELECT id FROM jobs WHERE state = :s ORDER BY run_at LIMIT 5", {"s": "waiting"}, {"s": "running"}, calls=10),
    query("SELECT 'hush' FROM nowhere WHERE 'hush"),
)  # fmt: skip
SHOP = tuple(replace(one, id=f"q{number}") for number, one in enumerate(_ASKED))


@pytest.fixture(scope="module")
def advice(url: str) -> Advice:
    with connect(url) as connection:
        return advise(PostgresPlanner(connection), SHOP, clock=lambda: 0.0)


def test_the_advice_is_what_is_missing(advice: Advice) -> None:
    found = {(one.candidate.table.name, one.candidate.columns[0], one.candidate.where) for one in advice.hints}
    assert {("orders", "user_id", ""), ("users", "lower(email)", ""), ("orders", "token", "")} <= found
    assert any(table == "orders" and (where == "status = 'pending'" or key == "status") for table, key, where in found)


def test_the_traps_are_walked_round(advice: Advice) -> None:
    found = [(one.candidate.table.name, one.candidate.columns, one.candidate.where) for one in advice.hints]
    assert not [one for one in found if one[0] in ("states", "log", "jobs")]
    assert ("users", ("id",), "") not in found
    assert not [one for one in found if "done" in one[2]]
    assert [one.query for one in advice.refusals if one.query] == ["q12"]


def test_the_advice_holds_once_it_is_built(advice: Advice, owner: Connection) -> None:
    sql = "SELECT * FROM orders WHERE user_id = 17 ORDER BY created_at DESC LIMIT 10"
    served = next(one for hint in advice.hints for one in hint.served if one.query == SHOP[0])
    assert served.after == pytest.approx(built(owner, sql, *(hint.candidate for hint in advice.hints)), rel=0.6)
    assert advice.cost_after < 0.8 * advice.cost_before


def test_the_advice_is_the_same_from_run_to_run(advice: Advice, url: str) -> None:
    with connect(url) as connection:
        again = advise(PostgresPlanner(connection), SHOP, clock=lambda: 0.0)
    assert again == advice


def test_the_advice_holds_no_value_but_a_partial_indexs_own(advice: Advice) -> None:
    text = repr(replace(advice, hints=tuple(replace(hint, served=()) for hint in advice.hints)))
    plans = "".join(one.plan_before + one.plan_after for hint in advice.hints for one in hint.served)
    for value in ("hush", "user77", "x@example.com", "state 7", "00000000-0000"):
        assert value not in text + plans
    assert "pending" not in plans


# --- sizes ---------------------------------------------------------------------------------------------------------

SIZED = [
    index("id"), index("user_id"), index("kind"), index("is_paid"), index("created_at"), index("made_on"),
    index("token"), index("status"), index("total"), index("note"), index("user_id", "created_at"),
    index("status", "created_at"),
    index("user_id", include=("total",)), index("created_at", where="status = 'pending'"),
    index("email", table="users"), index("name", table="users"), index("at", table="log"),
]  # fmt: skip


@pytest.mark.parametrize("one", SIZED, ids=map(str, SIZED))
def test_a_size_is_near_the_real_one(planner: PostgresPlanner, owner: Connection, one: Candidate) -> None:
    table = planner.catalogue().tables[one.table]
    owner.exec_driver_sql("BEGIN")
    try:
        owner.exec_driver_sql(one.ddl())
        real = owner.exec_driver_sql(f"SELECT pg_relation_size('{one.name}')").scalar_one()
    finally:
        owner.exec_driver_sql("ROLLBACK")
    assert index_bytes(one, table, planner.selectivity(one)) == pytest.approx(real, rel=0.1, abs=3 * 8192)
