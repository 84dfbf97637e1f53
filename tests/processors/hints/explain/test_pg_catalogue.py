"""PostgreSQL's catalogues as they are."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from dbvitals_processors.hints.explain.pg_catalogue import read_catalogue
from dbvitals_processors.hints.model import Catalogue, ForeignKey, Key, Table, TableName

pytestmark = pytest.mark.postgresql

DATABASE, READER = "catalogue_pg", "catalogue_pg_reader"
SCHEMA = """
CREATE SCHEMA "Sales";
CREATE TABLE users (id bigserial PRIMARY KEY, email text NOT NULL UNIQUE, name varchar(40) COLLATE "C", flag boolean);
CREATE TABLE "Sales"."Order Lines" (a int, b int, "Group" text, user_id bigint CONSTRAINT by_user REFERENCES users,
                                   note text COLLATE "en-x-icu", gone int, PRIMARY KEY (b, a));
ALTER TABLE "Sales"."Order Lines" DROP COLUMN gone;
CREATE TABLE parts (at date NOT NULL, n int) PARTITION BY RANGE (at);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE VIEW v AS SELECT * FROM users;
CREATE MATERIALIZED VIEW m AS SELECT 1 AS one;
CREATE STATISTICS together ON a, b FROM "Sales"."Order Lines";
CREATE INDEX one ON users (lower(email) DESC, name varchar_pattern_ops NULLS FIRST) INCLUDE (flag)
  WHERE flag IS NOT NULL;
CREATE INDEX two ON users USING hash (name);
INSERT INTO users (email, name, flag) SELECT 'u' || n, 'n' || n % 10, n % 4 = 0 FROM generate_series(1, 1000) n;
INSERT INTO parts SELECT '2024-01-01'::date + n % 300, n FROM generate_series(1, 1000) n;
"""


@pytest.fixture(scope="module")
def owner(postgresql_url: str) -> Iterator[Connection]:
    server = make_url(postgresql_url).set(drivername="postgresql+psycopg")
    with create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as control:
        control.exec_driver_sql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        control.exec_driver_sql(f"DROP ROLE IF EXISTS {READER}")
        control.exec_driver_sql(f"CREATE DATABASE {DATABASE} TEMPLATE template0 LOCALE 'C.UTF-8'")
        control.exec_driver_sql(f"CREATE ROLE {READER}")
        url = server.set(database=DATABASE)
        with create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
            plain = connection.execution_options(no_parameters=True)
            plain.exec_driver_sql(SCHEMA)
            plain.exec_driver_sql("VACUUM (ANALYZE)")
            yield plain
        control.exec_driver_sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        control.exec_driver_sql(f"DROP ROLE {READER}")


@pytest.fixture(scope="module")
def known(owner: Connection) -> Catalogue:
    return read_catalogue(owner)


@pytest.fixture(scope="module")
def users(known: Catalogue) -> Table:
    return known.tables[TableName("public", "users")]


def test_tables_of_all_kinds_are_there_and_nothing_of_the_systems(known: Catalogue) -> None:
    kinds = {str(name): table.kind for name, table in known.tables.items()}
    assert kinds == {
        "Sales.Order Lines": "table",
        "public.m": "table",
        "public.parts": "partitioned",
        "public.parts_1": "table",
        "public.users": "table",
        "public.v": "view",
    }


def test_tables_are_found_along_the_search_path(known: Catalogue, users: Table) -> None:
    assert known.find("users") is known.find("users", "public") is users
    assert known.find("Order Lines") is None
    assert known.find("Order Lines", "Sales") is not None


def test_columns_have_their_statistics(users: Table) -> None:
    name, flag, email = users.columns["name"], users.columns["flag"], users.columns["email"]
    assert (name.type, name.distinct, len(name.common)) == ("character varying(40)", 10.0, 10)
    assert dict(flag.common) == {"f": 0.75, "t": 0.25}
    assert (email.distinct, email.not_null, len(email.bounds) > 50) == (1000.0, True, True)
    assert (users.rows, users.analyzed) == (1000.0, True)
    assert users.columns["id"].alignment == 8


def test_order_of_a_language_is_told_from_that_of_bytes(known: Catalogue, users: Table) -> None:
    assert not users.columns["name"].collated
    assert known.tables[TableName("Sales", "Order Lines")].columns["note"].collated
    assert "gone" not in known.tables[TableName("Sales", "Order Lines")].columns


def test_indexes_have_keys_as_they_were_written(users: Table) -> None:
    found = {one.name: one for one in users.indexes}
    assert set(found) == {"one", "two", "users_pkey", "users_email_key"}
    assert found["one"].keys == (
        Key("lower(email)", None, True, True, ""),
        Key("name", "name", False, True, "varchar_pattern_ops"),
    )
    assert (found["one"].include, found["one"].where) == (("flag",), "(flag IS NOT NULL)")
    assert found["two"].method == "hash"
    assert (found["users_email_key"].unique, found["users_email_key"].constraint) == (True, True)
    assert found["users_pkey"].bytes > 0


def test_keys_have_the_order_of_their_columns(known: Catalogue) -> None:
    lines = known.tables[TableName("Sales", "Order Lines")]
    assert lines.primary_key == ("b", "a")
    assert lines.foreign_keys == (ForeignKey("by_user", ("user_id",), TableName("public", "users"), ("id",)),)
    assert lines.extended_statistics


def test_partitioned_tables_have_the_statistics_of_all_their_parts(known: Catalogue) -> None:
    parts = known.tables[TableName("public", "parts")]
    assert (parts.rows, parts.columns["at"].distinct) == (1000.0, 300.0)


def test_the_servers_costs_and_extensions_are_known(known: Catalogue) -> None:
    assert known.settings["random_page_cost"] == 4.0
    assert "plpgsql" in known.extensions
    assert known.version >= 120_000


def test_counters_began_when_they_were_reset_or_else_not_before_the_database(owner: Connection) -> None:
    made = read_catalogue(owner).since
    assert made is not None
    assert time.time() - 3_600 < made <= time.time() + 1
    owner.exec_driver_sql("SELECT pg_stat_reset()")
    reset = read_catalogue(owner).since
    assert reset is not None
    assert reset > made


def test_a_reader_without_rights_reads_the_same_but_when_the_database_was_made(
    owner: Connection, known: Catalogue
) -> None:
    owner.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READER}")
    owner.exec_driver_sql(f"SET ROLE {READER}")
    try:
        found = read_catalogue(owner)
    finally:
        owner.exec_driver_sql("RESET ROLE")
    users = TableName("public", "users")
    assert found.tables.keys() == known.tables.keys()
    assert found.tables[users].columns == known.tables[users].columns
    assert found.since is not None
