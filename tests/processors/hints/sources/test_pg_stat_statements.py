"""What a real PostgreSQL has counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url

from dbvitals_processors.hints.model import AdvisorError
from dbvitals_processors.hints.sources.pg_stat_statements import _castable, read
from dbvitals_processors.hints.sources.sql import fingerprint

DATABASE = "dbvitals_counted"
ROLE = "dbvitals_stranger"

pytestmark = pytest.mark.postgresql


def engine_of(url: str, **parts: str) -> Engine:
    return sa.create_engine(
        make_url(url).set(drivername="postgresql+psycopg", **parts), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )


@pytest.fixture
def connection(postgresql_url: str) -> Iterator[Connection]:
    """A connection to a database of this test's own."""
    with engine_of(postgresql_url).connect() as outside:
        outside.exec_driver_sql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        outside.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
        with engine_of(postgresql_url, database=DATABASE).connect() as inside:
            yield inside
        outside.exec_driver_sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        outside.exec_driver_sql(f"DROP ROLE IF EXISTS {ROLE}")


@pytest.fixture
def counted(connection: Connection) -> Connection:
    """The same with the extension, in a schema of its own, and some calls."""
    for sql in (
        "CREATE SCHEMA stats",
        "CREATE EXTENSION pg_stat_statements SCHEMA stats",
        "CREATE TABLE t (a int, b date)",
    ):
        connection.exec_driver_sql(sql)
    connection.exec_driver_sql("SELECT stats.pg_stat_statements_reset()").all()
    for number in range(3):
        connection.execute(sa.text("SELECT a FROM t WHERE a = :a"), {"a": number}).all()
        connection.exec_driver_sql(f"SELECT a FROM t WHERE a IN ({', '.join('7' * (number + 1))})").all()
    connection.exec_driver_sql("DELETE FROM t WHERE b > now() - interval '1 day'")
    connection.exec_driver_sql("SELECT relname FROM pg_class").all()
    return connection


def test_calls_and_time_an_hour_are_merged_by_fingerprint(counted: Connection) -> None:
    queries = {query.id: query for query in read(counted)}
    by_key = queries[fingerprint("SELECT a FROM t WHERE a = %(a)s")]
    assert by_key.calls == pytest.approx(180)  # counting began less than a minute ago
    assert by_key.seconds is not None
    assert 0 < by_key.seconds < 60
    assert queries[fingerprint("SELECT a FROM t WHERE a IN (1)")].calls == pytest.approx(180)
    assert len(queries) == 3


def test_texts_are_such_as_postgresql_can_plan(counted: Connection) -> None:
    [delete] = [query for query in read(counted) if query.sql.startswith("DELETE")]
    assert delete.sql == "DELETE FROM t WHERE b > now() - $1::interval"
    assert delete.id == fingerprint("DELETE FROM t WHERE b > now() - interval '1 day'")
    counted.exec_driver_sql(f"PREPARE p AS {delete.sql}")


@pytest.mark.parametrize(
    "sql, castable",
    [
        ("a > timestamp with time zone $12", "a > $12::timestamp with time zone"),
        ("a > Date $1 AND b = $2", "a > $1::Date AND b = $2"),
        ("a AT TIME ZONE $1", "a AT TIME ZONE $1"),
        ("update_date = $1 AND candidate $2", "update_date = $1 AND candidate $2"),
    ],
)
def test_typed_constants_become_casts(sql: str, castable: str) -> None:
    assert _castable(sql) == castable


def test_the_most_expensive_come_first_and_reading_counts_nothing(counted: Connection) -> None:
    first = read(counted)
    assert [query.seconds for query in first] == sorted((query.seconds for query in first), reverse=True)
    assert [query.id for query in read(counted)] == [query.id for query in first]


def test_other_databases_are_left_out(counted: Connection, postgresql_url: str) -> None:
    with engine_of(postgresql_url).connect() as other:
        other.exec_driver_sql("SELECT 'from another database' AS dbvitals_elsewhere").all()
    assert not any("dbvitals_elsewhere" in query.sql for query in read(counted))


def test_without_the_extension_one_line_says_what_to_run(connection: Connection) -> None:
    with pytest.raises(AdvisorError, match=r"installed in this database: run CREATE EXTENSION pg_stat_statements$"):
        read(connection)


def test_where_nothing_was_counted_one_line_says_so(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE EXTENSION pg_stat_statements")
    connection.exec_driver_sql("SELECT pg_stat_statements_reset()").all()
    with pytest.raises(AdvisorError, match="has counted no statement of this database yet"):
        read(connection)


def test_a_user_who_may_not_see_others_statements_is_told_so(counted: Connection, postgresql_url: str) -> None:
    counted.exec_driver_sql(f"CREATE ROLE {ROLE} LOGIN")
    counted.exec_driver_sql(f"GRANT USAGE ON SCHEMA stats TO {ROLE}")
    with engine_of(postgresql_url, database=DATABASE, username=ROLE).connect() as stranger:
        with pytest.raises(AdvisorError) as error:
            read(stranger)
        assert "% of their time): run GRANT pg_read_all_stats TO dbvitals_stranger" in str(error.value)
        counted.exec_driver_sql(f"GRANT pg_read_all_stats TO {ROLE}")
        assert read(stranger)
        counted.exec_driver_sql(f"REVOKE USAGE ON SCHEMA stats FROM {ROLE}")
        with pytest.raises(AdvisorError, match=r"cannot be read \(permission denied for schema stats\)"):
            read(stranger)
    counted.exec_driver_sql(f"DROP OWNED BY {ROLE}")


def test_where_the_library_is_not_loaded_one_line_says_what_to_set(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.exec_driver_sql("CREATE SCHEMA empty")  # a view in the extension's place fails as the real one does
    connection.exec_driver_sql("CREATE EXTENSION pg_stat_statements")
    connection.exec_driver_sql("ALTER EXTENSION pg_stat_statements DROP VIEW pg_stat_statements")
    connection.exec_driver_sql(
        "CREATE FUNCTION unloaded() RETURNS double precision LANGUAGE plpgsql AS $$ BEGIN RAISE "
        "'pg_stat_statements must be loaded via shared_preload_libraries'; END $$"
    )
    connection.exec_driver_sql(
        "CREATE OR REPLACE VIEW public.pg_stat_statements_info AS SELECT 0::bigint AS dealloc, "
        "to_timestamp(unloaded()) AS stats_reset"
    )
    with pytest.raises(AdvisorError) as error:
        read(connection)
    assert str(error.value) == (
        "pg_stat_statements is not loaded: add it to shared_preload_libraries "
        "(ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements') and restart PostgreSQL"
    )


def test_another_database_system_is_refused() -> None:
    with sa.create_engine("sqlite://").connect() as sqlite, pytest.raises(AdvisorError, match="this is sqlite"):
        read(sqlite)
