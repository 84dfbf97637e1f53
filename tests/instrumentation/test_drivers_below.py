"""Beside instrumentations of drivers: silent below our spans and in SQLAlchemy's housekeeping, unless let through."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.sdk.trace import ReadableSpan
from sqlalchemy.ext.asyncio import create_async_engine

from dbvitals import testing
from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.config import Config

INSTRUMENTORS = (PsycopgInstrumentor, AsyncPGInstrumentor, SQLite3Instrumentor)
OBEDIENT = pytest.mark.skipif(
    version("opentelemetry-instrumentation-dbapi").startswith("0.51b"),
    reason="opentelemetry-instrumentation-dbapi and -asyncpg 0.51b0 make spans where they are asked to be silent",
)
EVERY_DRIVER = pytest.mark.parametrize("driver", ["sqlite", "psycopg"])


@contextmanager
def drivers_instrumented(seen: testing.Seen) -> Iterator[None]:
    """The official instrumentations of drivers, on the providers of a test."""
    for instrumentor in INSTRUMENTORS:
        instrumentor().instrument(tracer_provider=seen.tracer_provider, skip_dep_check=True)
    try:
        yield
    finally:
        for instrumentor in INSTRUMENTORS:
            instrumentor().uninstrument()


@pytest.fixture
def below(seen: testing.Seen) -> Iterator[testing.Seen]:
    """What is seen with the drivers' instrumentations active."""
    with drivers_instrumented(seen):
        yield seen


def of_drivers(seen: testing.Seen) -> list[ReadableSpan]:
    """The spans of drivers' instrumentations."""
    return [span for span in seen.spans() if span.instrumentation_scope.name != semconv.SCOPE]


def ours(seen: testing.Seen) -> list[str]:
    """The names of our query spans."""
    return [span.name for span in seen.spans() if span.instrumentation_scope.name == semconv.SCOPE]


def work(engine: Any) -> None:
    """A few transactions in every manner."""
    for _ in range(3):
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT name FROM dbv_item")).all()
    with engine.connect() as connection:
        connection.execute(sa.text("DELETE FROM dbv_item"))
        with connection.begin_nested():
            connection.execute(sa.text("SELECT 1")).all()
        connection.rollback()
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError):
        connection.execute(sa.text("SELECT missing FROM dbv_item"))
    with engine.connect() as connection:
        connection.execution_options(isolation_level="SERIALIZABLE")
        connection.execution_options(yield_per=2).execute(sa.text("SELECT id FROM dbv_item")).all()


async def work_async(engine: Any) -> None:
    """The same on an async engine."""
    for _ in range(3):
        async with engine.begin() as connection:
            await connection.execute(sa.text("SELECT name FROM dbv_item"))
    async with engine.connect() as connection:
        await connection.execute(sa.text("DELETE FROM dbv_item"))
        async with connection.begin_nested():
            await connection.execute(sa.text("SELECT 1"))
        await connection.rollback()
    async with engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError):
            await connection.execute(sa.text("SELECT missing FROM dbv_item"))
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="SERIALIZABLE")
        result = await connection.stream(sa.text("SELECT id FROM dbv_item"), execution_options={"yield_per": 2})
        assert len([row async for row in result]) == 10
    await engine.dispose()


EXPECTED = [
    *["SELECT dbv_item"] * 3,
    "DELETE dbv_item",
    "SAVEPOINT",
    "SELECT",
    "RELEASE SAVEPOINT",
    "SELECT dbv_item",
    "SELECT dbv_item",
]


@OBEDIENT
@EVERY_DRIVER
def test_no_driver_span_remains_of_queries_pings_and_transactions(
    driver: str, below: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of(driver, pool_pre_ping=True)
    assert of_drivers(below) == []  # connecting for the first time and making a table included
    below.clear()
    work(engine)
    assert of_drivers(below) == []
    assert ours(below) == EXPECTED


@OBEDIENT
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg_async"])
async def test_no_driver_span_remains_beside_an_async_engine(
    driver: str, below: testing.Seen, engine_of: Callable[..., Any], url_of: Callable[[str], sa.engine.URL]
) -> None:
    server = "psycopg" if driver == "psycopg_async" else "postgresql"
    engine_of(server).dispose()
    engine = create_async_engine(url_of(server).set(drivername=f"postgresql+{driver}"), pool_pre_ping=True)
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT 1"))
    below.clear()
    await work_async(engine)
    assert of_drivers(below) == []
    assert ours(below) == EXPECTED


def test_what_the_application_asks_of_a_driver_itself_keeps_its_spans(
    below: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("psycopg", pool_pre_ping=True)
    below.clear()
    raw = engine.raw_connection()
    raw.cursor().execute("SELECT 'by hand'")
    raw.close()
    (span,) = of_drivers(below)
    assert span.attributes["db.statement"] == "SELECT 'by hand'"


@OBEDIENT
def test_a_listener_that_sets_a_new_connection_up_keeps_its_driver_spans(
    below: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("sqlite", table=False)
    sa.event.listen(engine, "connect", lambda raw, _record: raw.cursor().execute("PRAGMA foreign_keys = ON"))
    below.clear()
    with engine.connect():
        pass
    assert [span.attributes["db.statement"] for span in of_drivers(below)] == ["PRAGMA foreign_keys = ON"]


@EVERY_DRIVER
def test_without_suppression_driver_spans_are_children_of_ours(driver: str, engine_of: Callable[..., Any]) -> None:
    with testing.observe(config=Config(suppress_nested=False)) as seen, drivers_instrumented(seen):
        engine = engine_of(driver)
        seen.clear()
        with seen.tracer_provider.get_tracer("app").start_as_current_span("request"), engine.connect() as connection:
            connection.execute(sa.text("SELECT name FROM dbv_item")).all()
        engine.dispose()
    (child,) = of_drivers(seen)[:-1]  # the last one is the request
    (span,) = seen.spans("SELECT dbv_item")
    assert child.parent.span_id == span.context.span_id
    assert child.context.trace_id == span.context.trace_id
    assert span.start_time <= child.start_time


async def test_without_suppression_fetches_of_a_stream_are_children_too(
    engine_of: Callable[..., Any], url_of: Callable[[str], sa.engine.URL]
) -> None:
    with testing.observe(config=Config(suppress_nested=False)) as seen, drivers_instrumented(seen):
        engine_of("postgresql").dispose()
        engine = create_async_engine(url_of("asyncpg"))
        async with engine.connect() as connection:
            result = await connection.stream(sa.text("SELECT id FROM dbv_item"))
            assert len([row async for row in result]) == 10
        await engine.dispose()
    (span,) = seen.spans("SELECT dbv_item")
    fetches = [child for child in of_drivers(seen) if child.name == "CURSOR: SELECT"]
    assert len(fetches) >= 2
    assert {child.parent.span_id for child in fetches} == {span.context.span_id}


def test_without_suppression_pings_and_transactions_are_shown(engine_of: Callable[..., Any]) -> None:
    with testing.observe(config=Config(suppress_nested=False)) as seen, drivers_instrumented(seen):
        engine = engine_of("psycopg", pool_pre_ping=True)
        seen.clear()
        with engine.connect():
            pass
        engine.dispose()
    assert len(of_drivers(seen)) == 1


def test_after_uninstrument_drivers_speak_again(engine_of: Callable[..., Any]) -> None:
    with testing.observe() as seen, drivers_instrumented(seen):
        engine = engine_of("psycopg", pool_pre_ping=True)
        before = set(vars(engine.dialect))
        testing.watch.uninstrument()
        seen.clear()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
        assert [span.attributes["db.statement"] for span in of_drivers(seen)] == [";", "SELECT 1"]
        engine.dispose()
    assert before - set(vars(engine.dialect)) == {"do_ping", "get_isolation_level", "set_isolation_level"}


def test_an_engine_that_is_dropped_is_freed(seen: testing.Seen) -> None:
    engine = sa.create_engine("sqlite://", pool_pre_ping=True)
    for _ in range(2):
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
    engine.dispose()
    dialect = weakref.ref(engine.dialect)
    del engine, connection
    gc.collect()
    assert dialect() is None


def test_a_dialect_that_covers_its_own_methods_keeps_them(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite", table=False, pool_pre_ping=True)
    pinged: list[Any] = []

    def ping(connection: Any) -> bool:
        pinged.append(connection)
        return True

    engine.dialect.do_ping = ping
    for _ in range(2):
        with engine.connect():
            pass
    testing.watch.uninstrument()
    assert len(pinged) == 1
    assert engine.dialect.do_ping is ping
