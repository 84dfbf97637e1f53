"""A service that is instrumented already gains dbvitals by adding the processor alone.

Each of OpenTelemetry's instrumentations of SQL is at work here, unchanged, against real servers, in each mode of
``OTEL_SEMCONV_STABILITY_OPT_IN``. That variable is read once per process, so that this file is also the program that
the tests start: once per mode, all at the same time.

mysqlclient needs a compiler and MariaDB's headers. Its instrumentation is the real one; the driver under it is PyMySQL,
which has a mode in which it stands for ``MySQLdb``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

import dbvitals
from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.statement import parse
from dbvitals_processors.query_span import normalised, read

MODES = ("", "database", "database/dup", "http,database")
POSTGRESQL, MARIADB, SQLITE = "postgresql", "mysql", "sqlite"

TABLE = "foreign_customers"
LITERALS = f"SELECT name FROM {TABLE} WHERE id = 7 AND name <> 'secret'"
PARAMETERS = f"SELECT name FROM {TABLE} WHERE id = {{}} AND name <> {{}}"
INSERT = f"INSERT INTO {TABLE} (id, name) VALUES (8, 'secret')"
FAILING = "SELECT name FROM foreign_missing WHERE name = 'secret'"


class Urls(NamedTuple):
    """Where the databases are; ``sqlite`` is a file."""

    postgresql: str
    mariadb: str
    sqlite: str


# --- the program: what each instrumentation makes of the same queries -------------------------------------------------


def ask(execute: Callable[..., Any], style: str = "%s") -> None:
    """The same four queries through any function that takes a text and parameters."""
    execute(LITERALS)
    execute(PARAMETERS.format(style, style), (7, "secret"))
    execute(INSERT)
    with suppress(Exception):
        execute(FAILING)


async def ask_soon(execute: Callable[..., Any], styles: tuple[str, str] = ("%s", "%s"), *, apart: bool = False) -> None:
    """As :func:`ask`; ``apart`` where each parameter is an argument of its own."""
    parameters: Any = (7, "secret")
    await execute(LITERALS)
    await execute(PARAMETERS.format(*styles), *(parameters if apart else (parameters,)))
    await execute(INSERT)
    with suppress(Exception):
        await execute(FAILING)


def parts(url: str) -> dict[str, Any]:
    split = urlsplit(url)
    user, password = unquote(split.username or ""), unquote(split.password or "")
    return {
        "host": split.hostname, "port": split.port, "user": user, "password": password, "database": split.path[1:],
    }  # fmt: skip


@contextmanager
def instrumented(instrumentor: Any, provider: Any, **options: Any) -> Iterator[None]:
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True, **options)
    try:
        yield
    finally:
        instrumentor.uninstrument()


def through_sqlalchemy(url: str, provider: Any) -> None:
    import sqlalchemy as sa
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    with instrumented(SQLAlchemyInstrumentor(), provider):
        engine = sa.create_engine(url)
        style = "?" if engine.dialect.name == "sqlite" else "%s"

        def execute(text: str, parameters: Any = ()) -> None:
            with engine.begin() as connection:
                connection.exec_driver_sql(text, parameters)

        ask(execute, style)
        engine.dispose()


def sqlalchemy_psycopg(urls: Urls, provider: Any) -> None:
    through_sqlalchemy(urls.postgresql.replace("://", "+psycopg://", 1), provider)


def sqlalchemy_pymysql(urls: Urls, provider: Any) -> None:
    through_sqlalchemy(urls.mariadb.replace("://", "+pymysql://", 1), provider)


def sqlalchemy_sqlite(urls: Urls, provider: Any) -> None:
    through_sqlalchemy(f"sqlite:///{urls.sqlite}", provider)


def psycopg(urls: Urls, provider: Any) -> None:
    import psycopg
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

    with (
        instrumented(PsycopgInstrumentor(), provider),
        closing(psycopg.connect(urls.postgresql, autocommit=True)) as connection,
    ):
        ask(connection.cursor().execute)


def psycopg_async(urls: Urls, provider: Any) -> None:
    import psycopg
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

    async def main() -> None:
        connection = await psycopg.AsyncConnection.connect(urls.postgresql, autocommit=True)
        try:
            await ask_soon(connection.cursor().execute)
        finally:
            await connection.close()

    with instrumented(PsycopgInstrumentor(), provider):
        asyncio.run(main())


def psycopg2(urls: Urls, provider: Any) -> None:
    import psycopg2
    from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor

    with instrumented(Psycopg2Instrumentor(), provider), closing(psycopg2.connect(urls.postgresql)) as connection:
        connection.autocommit = True
        ask(connection.cursor().execute)


def asyncpg(urls: Urls, provider: Any) -> None:
    import asyncpg
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor

    async def main() -> None:
        connection = await asyncpg.connect(urls.postgresql)
        try:
            await ask_soon(connection.fetch, ("$1", "$2"), apart=True)
        finally:
            await connection.close()

    with instrumented(AsyncPGInstrumentor(), provider):
        asyncio.run(main())


def pymysql(urls: Urls, provider: Any) -> None:
    import pymysql
    from opentelemetry.instrumentation.pymysql import PyMySQLInstrumentor

    with (
        instrumented(PyMySQLInstrumentor(), provider),
        closing(pymysql.connect(**parts(urls.mariadb), autocommit=True)) as connection,
    ):
        ask(connection.cursor().execute)


def mysqlclient(urls: Urls, provider: Any) -> None:
    import pymysql

    pymysql.install_as_MySQLdb()
    from opentelemetry.instrumentation.mysqlclient import MySQLClientInstrumentor

    with (
        instrumented(MySQLClientInstrumentor(), provider),
        closing(pymysql.connect(**parts(urls.mariadb), autocommit=True)) as connection,
    ):
        ask(connection.cursor().execute)


def dbapi(urls: Urls, provider: Any) -> None:
    import pymysql
    from opentelemetry.instrumentation import dbapi

    dbapi.trace_integration(pymysql, "connect", "mariadb", tracer_provider=provider)
    with closing(pymysql.connect(**parts(urls.mariadb), autocommit=True)) as connection:
        ask(connection.cursor().execute)
    dbapi.unwrap_connect(pymysql, "connect")


def sqlite(urls: Urls, provider: Any) -> None:
    from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

    with instrumented(SQLite3Instrumentor(), provider), closing(sqlite3.connect(urls.sqlite)) as connection:
        ask(connection.cursor().execute, "?")
        connection.commit()


def through_tortoise(client: Any, provider: Any, styles: tuple[str, str]) -> None:
    from opentelemetry.instrumentation.tortoiseorm import TortoiseORMInstrumentor

    async def main() -> None:
        await client.create_connection(with_db=True)
        try:
            await ask_soon(client.execute_query, styles)
        finally:
            await client.close()

    with instrumented(TortoiseORMInstrumentor(), provider):
        asyncio.run(main())


def tortoise_asyncpg(urls: Urls, provider: Any) -> None:
    from tortoise.backends.asyncpg.client import AsyncpgDBClient

    client = AsyncpgDBClient(**parts(urls.postgresql), connection_name="default")
    through_tortoise(client, provider, ("$1", "$2"))


def tortoise_sqlite(urls: Urls, provider: Any) -> None:
    from tortoise.backends.sqlite.client import SqliteClient

    through_tortoise(SqliteClient(urls.sqlite, connection_name="default"), provider, ("?", "?"))


def django(urls: Urls, provider: Any) -> None:
    """A page whose view asks through the ORM; the request's span is Django's, the queries' are psycopg's."""
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

    given = {name.upper(): value for name, value in parts(urls.postgresql).items()}
    given["NAME"] = given.pop("DATABASE")
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **given}},
        MIDDLEWARE=[],
        ROOT_URLCONF=(path("customers/", lambda request: customers(request)),),
        SECRET_KEY="not one",
    )
    with instrumented(DjangoInstrumentor(), provider), instrumented(PsycopgInstrumentor(), provider):
        django.setup()
        from django.db import connection, models
        from django.test import Client

        class Customer(models.Model):
            name = models.TextField()

            class Meta:
                app_label = "shop"
                db_table = TABLE

        def customers(_request: Any) -> HttpResponse:
            found = Customer.objects.filter(id=7).exclude(name="secret")
            return HttpResponse(",".join(customer.name for customer in found))

        response = Client().get("/customers/")
        assert response.status_code == 200, response
        connection.close()


class Source(NamedTuple):
    """An instrumentation at work, and what can be known of its queries."""

    run: Callable[[Urls, Any], None]
    system: str
    error: str
    names_database: bool = True


SOURCES = {
    source.run.__name__: source
    for source in (
        Source(sqlalchemy_psycopg, POSTGRESQL, "error"),  # whose spans say nothing but that it failed
        Source(sqlalchemy_pymysql, MARIADB, "error"),
        Source(sqlalchemy_sqlite, SQLITE, "error"),
        Source(psycopg, POSTGRESQL, "UndefinedTable"),
        Source(psycopg_async, POSTGRESQL, "UndefinedTable"),
        Source(psycopg2, POSTGRESQL, "UndefinedTable"),
        Source(asyncpg, POSTGRESQL, "UndefinedTableError"),
        Source(tortoise_asyncpg, POSTGRESQL, "OperationalError"),
        Source(pymysql, MARIADB, "ProgrammingError"),
        Source(mysqlclient, MARIADB, "ProgrammingError"),
        Source(dbapi, "mariadb", "ProgrammingError", names_database=False),
        Source(sqlite, SQLITE, "OperationalError", names_database=False),
        Source(tortoise_sqlite, SQLITE, "OperationalError"),
    )
}
ALL = {**{name: source.run for name, source in SOURCES.items()}, django.__name__: django}


def observe(urls: Urls) -> dict[str, Any]:
    """What is exported of each source's spans behind a ``SlowQueryProcessor``, and what is read from them."""
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    provider, plain, flagged = TracerProvider(), InMemorySpanExporter(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(plain))
    processor = dbvitals.SlowQueryProcessor(SimpleSpanProcessor(flagged), dbvitals.Config(slow_threshold=1e-9))
    provider.add_span_processor(processor)
    found: dict[str, Any] = {}
    for name, run in ALL.items():
        run(urls, provider)
        before = {span.context.span_id: dict(span.attributes or {}) for span in plain.get_finished_spans()}
        spans = found[name] = []
        for span in flagged.get_finished_spans():
            query, attributes = read(span), dict(span.attributes or {})
            own = before[span.context.span_id]
            spans.append(
                {
                    "span_id": span.context.span_id,
                    "scope": span.instrumentation_scope.name,
                    "name": span.name,
                    "own": own,
                    "added": {key: value for key, value in attributes.items() if own.get(key) != value},
                    "query": query and asdict(query),
                    "without_text": query and repr(replace(query, text="")),
                    "normalised": query and normalised(query.text, query.system),
                }
            )
        plain.clear()
        flagged.clear()
    provider.force_flush()
    told = reader.get_metrics_data()
    ours = [s for r in told.resource_metrics for s in r.scope_metrics if s.scope.name == semconv.SCOPE]
    provider.shutdown()
    return {"spans": found, "metrics": [scope.to_json() for scope in ours], "faults": guard.faults()}


# --- the tests --------------------------------------------------------------------------------------------------------

TABLE_OF_CUSTOMERS = f"CREATE TABLE {TABLE} (id integer, name varchar(40))"


@pytest.fixture(scope="module")
def urls(postgresql_url: str, mariadb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Urls]:
    import psycopg
    import pymysql

    file = str(tmp_path_factory.mktemp("foreign") / "shop.sqlite")
    with (
        closing(psycopg.connect(postgresql_url, autocommit=True)) as postgresql,
        closing(pymysql.connect(**parts(mariadb_url))) as mariadb,
        closing(sqlite3.connect(file)) as sqlite,
    ):
        databases = (postgresql.cursor(), mariadb.cursor(), sqlite.cursor())
        for cursor in databases:
            cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
            cursor.execute(TABLE_OF_CUSTOMERS)
        sqlite.commit()
        yield Urls(postgresql_url, mariadb_url, file)
        for cursor in databases:
            cursor.execute(f"DROP TABLE {TABLE}")


@pytest.fixture(scope="module")
def observed(urls: Urls) -> dict[str, Any]:
    """What :func:`observe` returns in a process of each mode."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "DBVITALS_"))}
    started = {
        mode: subprocess.Popen(
            [sys.executable, "-W", "error", __file__, *urls],
            env={**environment, "OTEL_SEMCONV_STABILITY_OPT_IN": mode},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for mode in MODES
    }  # fmt: skip
    found = {}
    try:
        for mode, process in started.items():
            output, errors = process.communicate(timeout=100)
            assert (process.returncode, errors) == (0, ""), errors
            found[mode] = json.loads(output)
    finally:
        for process in started.values():
            with process:
                process.kill()
    return found


@pytest.fixture(params=MODES, ids=lambda mode: mode or "default")
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def result(observed: dict[str, Any], mode: str) -> Any:
    return observed[mode]


def queries(result: Any, name: str) -> list[dict[str, Any]]:
    return [span["query"] for span in result["spans"][name] if span["query"]]


def test_the_modes_are_what_the_instrumentations_write(result: Any, mode: str) -> None:
    for name in ALL:
        own = [span["own"] for span in result["spans"][name] if span["query"]]
        assert all((semconv.OLD_DB_STATEMENT in span) == (mode in ("", "database/dup")) for span in own), name
        assert all((semconv.DB_QUERY_TEXT in span) == (mode != "") for span in own), name


@pytest.mark.parametrize("name", SOURCES)
def test_every_query_is_read(result: Any, urls: Urls, name: str) -> None:
    source, found = SOURCES[name], queries(result, name)
    literals, parameters, insert, failing = (parse(text) for text in (LITERALS, PARAMETERS, INSERT, FAILING))
    expected = [literals, literals, insert, failing]
    assert parameters.operation == literals.operation
    assert [(q["operation"], q["collection"], q["summary"]) for q in found] == [
        (statement.operation, statement.collection, statement.summary) for statement in expected
    ]
    assert [q["fingerprint"] for q in found] == [statement.fingerprint for statement in expected]
    assert {q["system"] for q in found} == {source.system}
    url = urlsplit({POSTGRESQL: urls.postgresql, SQLITE: f"//{urls.sqlite}"}.get(source.system, urls.mariadb))
    database = urls.sqlite if source.system == SQLITE else url.path[1:]
    assert {q["namespace"] for q in found} == {database if source.names_database else ""}
    server = (None, None) if source.system == SQLITE else (url.hostname, url.port)
    assert {(q["address"], q["port"]) for q in found} == {server}
    assert all(q["end"] > q["start"] for q in found)


@pytest.mark.parametrize("name", SOURCES)
def test_a_failed_query_tells_the_class_of_its_error_alone(result: Any, name: str) -> None:
    *fine, failed = queries(result, name)
    assert [query["error_type"] for query in fine] == [None] * 3
    assert failed["error_type"].rpartition(".")[2] == SOURCES[name].error


def test_one_query_has_one_fingerprint_in_all_modes_and_instrumentations(observed: dict[str, Any]) -> None:
    for number in range(4):
        assert (
            len({queries(found, name)[number]["fingerprint"] for found in observed.values() for name in SOURCES}) == 1
        )


@pytest.mark.parametrize("name", ALL)
def test_every_query_is_exported_with_the_flag_and_its_reason(result: Any, name: str) -> None:
    for span in result["spans"][name]:
        if span["query"]:
            assert span["added"][semconv.SLOW] is True
            assert span["added"][semconv.SLOW_REASON] == semconv.THRESHOLD
        else:
            assert span["added"] == {}


@pytest.mark.parametrize("name", ALL)
def test_what_is_no_query_is_not_taken_for_one(result: Any, name: str) -> None:
    others = {span["name"] for span in result["spans"][name] if not span["query"]}
    connects = {"connect"} if name.startswith("sqlalchemy") else set()
    assert others == ({"GET customers/"} if name == "django" else connects)


def test_djangos_queries_are_read_below_the_span_of_its_request(result: Any) -> None:
    *asked, request = result["spans"]["django"]
    assert request["scope"] == "opentelemetry.instrumentation.django"
    query = asked[-1]["query"]
    assert (query["system"], query["operation"], query["collection"]) == (POSTGRESQL, "SELECT", f'"{TABLE}"')
    assert query["parent_id"] == request["span_id"]


def test_no_literal_is_in_what_dbvitals_adds(result: Any) -> None:
    held = 0
    for name in ALL:
        for span in result["spans"][name]:
            held += "secret" in str(span["own"])
            for ours in (span["added"], span["without_text"], span["normalised"]):
                assert "secret" not in str(ours)
    assert held >= 3 * len(SOURCES)  # they do have some themselves
    assert result["metrics"]
    assert "secret" not in str(result["metrics"])
    assert result["faults"] == {}


if __name__ == "__main__":
    print(json.dumps(observe(Urls(*sys.argv[1:]))))
