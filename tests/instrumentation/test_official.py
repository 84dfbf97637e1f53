"""Beside opentelemetry-instrumentation-sqlalchemy: one span a query, theirs, with what ours would have said."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa
import sqlalchemy.ext.asyncio as async_sqlalchemy  # before the official one, which else watches async engines twice
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation._semconv import _OpenTelemetrySemanticConventionStability
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

import dbvitals
from dbvitals import testing
from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.config import Config

OFFICIAL = "opentelemetry.instrumentation.sqlalchemy"
ONLY_OLD = version("opentelemetry-instrumentation-sqlalchemy").startswith("0.51b")
"""Whether the official instrumentation knows the old conventions alone, whatever the mode."""
TABLE = "CREATE TABLE person (id INTEGER PRIMARY KEY, name VARCHAR(20))"
PEOPLE = "INSERT INTO person VALUES (1, 'geheim'), (2, 'zwei'), (3, 'drei')"
QUERY = "SELECT name FROM person WHERE name = 'geheim'"


@pytest.fixture(params=[None, "database", "database/dup"])
def mode(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Each mode of the official instrumentation's conventions, which it reads once a process."""
    with conventions(request.param):
        yield request.param


class conventions:
    """The official conventions in one of their modes, for a block."""

    def __init__(self, mode: str | None) -> None:
        self._environment = mock.patch.dict(os.environ)
        self._mode = mode

    def __enter__(self) -> None:
        self._environment.__enter__()
        os.environ.pop("OTEL_SEMCONV_STABILITY_OPT_IN", None)
        if self._mode:
            os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = self._mode
        _OpenTelemetrySemanticConventionStability._initialized = False

    def __exit__(self, *exception: Any) -> None:
        self._environment.__exit__(*exception)
        _OpenTelemetrySemanticConventionStability._initialized = False


def switch_on(seen: testing.Seen, **options: Any) -> SQLAlchemyInstrumentor:
    """Activate the official instrumentation on the providers of a test."""
    instrumentor = SQLAlchemyInstrumentor()
    instrumentor.instrument(
        tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider, skip_dep_check=True, **options
    )
    return instrumentor


@pytest.fixture
def official(seen: testing.Seen) -> Iterator[SQLAlchemyInstrumentor]:
    """The official instrumentation, activated after ours."""
    instrumentor = switch_on(seen)
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def queries(seen: testing.Seen) -> list[ReadableSpan]:
    """The spans of queries, whoever made them; the official one also has `connect` spans."""
    return [span for span in seen.spans() if span.name != "connect"]


def scopes(spans: list[ReadableSpan]) -> list[str]:
    """Who made each span."""
    return [span.instrumentation_scope.name for span in spans]


def people(**options: Any) -> Any:
    """An engine on a database in memory with three people."""
    engine = sa.create_engine("sqlite://", **options)
    with engine.begin() as connection:
        connection.execute(sa.text(TABLE))
        connection.execute(sa.text(PEOPLE))
    return engine


def test_the_official_span_is_the_only_one_and_says_what_ours_would(
    mode: str | None, seen: testing.Seen, official: SQLAlchemyInstrumentor
) -> None:
    engine = people()
    seen.clear()
    with engine.connect() as connection:
        assert connection.execute(sa.text(QUERY)).scalar_one() == "geheim"
    engine.dispose()
    (span,) = queries(seen)
    assert span.instrumentation_scope.name.startswith(OFFICIAL)
    attributes = span.attributes
    assert attributes[semconv.DB_SYSTEM_NAME] == "sqlite"
    assert attributes[semconv.DB_NAMESPACE] == ":memory:"
    assert attributes[semconv.DB_OPERATION_NAME] == "SELECT"
    assert attributes[semconv.DB_COLLECTION_NAME] == "person"
    assert attributes[semconv.DB_QUERY_SUMMARY] == "SELECT person"
    assert len(attributes[semconv.FINGERPRINT]) == 16
    assert attributes[semconv.CODE_FUNCTION_NAME] == "test_the_official_span_is_the_only_one_and_says_what_ours_would"
    assert ("db.system" in attributes) is (mode != "database" or ONLY_OLD)


def test_literals_do_not_stay_on_the_official_span(
    mode: str | None, seen: testing.Seen, official: SQLAlchemyInstrumentor
) -> None:
    engine = people()
    with engine.connect() as connection:
        connection.execute(sa.text(QUERY)).all()
        connection.exec_driver_sql(QUERY).all()
    engine.dispose()
    assert [span for span in queries(seen) if "geheim" in span.to_json()] == []
    assert queries(seen)[-1].attributes[semconv.DB_QUERY_TEXT] == "SELECT name FROM person WHERE name = ?"


def test_literals_do_not_stay_where_no_text_is_to_be_shown(mode: str | None) -> None:
    with testing.observe(config=Config(query_text=False)) as seen:
        instrumentor = switch_on(seen)
        engine = people()
        with engine.connect() as connection:
            connection.execute(sa.text(QUERY)).all()
        engine.dispose()
        instrumentor.uninstrument()
    assert [span for span in queries(seen) if "geheim" in span.to_json()] == []


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "pymysql"])
def test_rows_and_server_are_on_the_official_span_of_a_real_server(
    driver: str, mode: str | None, seen: testing.Seen, official: SQLAlchemyInstrumentor, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT name FROM dbv_item WHERE price > 30")).all()
    (span,) = queries(seen)
    assert span.instrumentation_scope.name.startswith(OFFICIAL)
    assert span.attributes[semconv.DB_RESPONSE_RETURNED_ROWS] == 7
    assert span.attributes[semconv.DB_OPERATION_NAME] == "SELECT"
    assert span.attributes[semconv.SERVER_PORT] == engine.url.port
    (point,) = seen.points(semconv.OPERATION_DURATION, db_query_summary="SELECT dbv_item")
    shared = (semconv.DB_NAMESPACE, semconv.DB_OPERATION_NAME, semconv.DB_QUERY_SUMMARY, semconv.FINGERPRINT)
    assert {name: span.attributes[name] for name in shared} == {name: point.attributes[name] for name in shared}


def test_a_streamed_query_is_enriched_though_its_span_ends_before_its_rows(
    seen: testing.Seen, official: SQLAlchemyInstrumentor, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of("postgresql")
    seen.clear()
    with engine.connect() as connection:
        result = connection.execution_options(stream_results=True).execute(sa.select(item))
        assert len(result.all()) == 10
    (span,) = queries(seen)
    assert span.attributes[semconv.DB_QUERY_SUMMARY] == "SELECT dbv_item"
    (rows,) = seen.points(semconv.RETURNED_ROWS, db_query_summary="SELECT dbv_item")
    assert (rows.count, rows.sum) == (1, 10)


def test_the_duration_is_measured_with_the_official_trace_as_its_exemplar(
    mode: str | None, seen: testing.Seen, official: SQLAlchemyInstrumentor
) -> None:
    engine = people()
    seen.clear()
    with seen.tracer_provider.get_tracer("app").start_as_current_span("request"), engine.connect() as connection:
        for _ in range(5):
            connection.execute(sa.text(QUERY)).all()
    engine.dispose()
    (point,) = seen.points(semconv.OPERATION_DURATION, db_query_summary="SELECT person")
    assert point.count == 5
    spans = {span.context.span_id: span for span in queries(seen)}
    assert point.exemplars
    for exemplar in point.exemplars:
        assert spans[exemplar.span_id].instrumentation_scope.name.startswith(OFFICIAL)
        assert exemplar.trace_id == spans[exemplar.span_id].context.trace_id


def test_an_error_ends_the_official_span_once_without_the_databases_message(
    mode: str | None, seen: testing.Seen, official: SQLAlchemyInstrumentor, caplog: pytest.LogCaptureFixture
) -> None:
    engine = people()
    seen.clear()
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
        connection.execute(sa.text("SELECT geheim FROM person"))
    engine.dispose()
    (span,) = queries(seen)
    assert span.status.status_code is StatusCode.ERROR
    code = span.attributes.get(semconv.DB_RESPONSE_STATUS_CODE)  # which sqlite3 has since Python 3.11
    assert (code is None) is (sys.version_info < (3, 11))
    assert span.status.description == (f"OperationalError ({code})" if code else "OperationalError")
    assert "no such column" not in span.to_json()
    (point,) = seen.points(semconv.OPERATION_DURATION, error_type=span.attributes[semconv.ERROR_TYPE])
    assert point.count == 1
    assert caplog.records == []  # the SDK logs a span that is ended twice


def test_the_error_of_a_stream_reaches_the_application_and_the_official_span(
    seen: testing.Seen, official: SQLAlchemyInstrumentor, engine_of: Callable[..., Any], caplog: Any
) -> None:
    engine = engine_of("postgresql")
    seen.clear()
    with engine.connect() as connection, pytest.raises(sa.exc.DataError, match="division by zero"):
        connection.execution_options(stream_results=True).execute(sa.text("SELECT 1 / 0"))
    (span,) = queries(seen)
    assert span.status.description == "DivisionByZero (22012)"
    assert caplog.records == []


@pytest.mark.parametrize("first", ["dbvitals", "official"])
def test_the_order_of_activation_does_not_matter(first: str) -> None:
    seen = testing.Seen()
    steps = [
        lambda: dbvitals.instrument(tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider),
        lambda: switch_on(seen),
    ]
    for step in steps if first == "dbvitals" else reversed(steps):
        step()
    try:
        engine = people()
        with engine.connect() as connection:
            connection.execute(sa.text(QUERY)).all()
        engine.dispose()
    finally:
        SQLAlchemyInstrumentor().uninstrument()
        dbvitals.uninstrument()
    spans = queries(seen)
    assert len(spans) == 3
    assert all(scope.startswith(OFFICIAL) for scope in scopes(spans))
    assert all(semconv.FINGERPRINT in span.attributes for span in spans)


def test_without_the_official_one_our_spans_are_back(seen: testing.Seen, official: SQLAlchemyInstrumentor) -> None:
    engine = people()
    official.uninstrument()
    seen.clear()
    with engine.connect() as connection:
        connection.execute(sa.text(QUERY)).all()
    engine.dispose()
    assert scopes(queries(seen)) == [semconv.SCOPE]


def test_without_us_the_official_spans_are_as_they_were() -> None:
    with testing.observe() as seen:
        instrumentor = switch_on(seen)
        engine = people()
        dbvitals.uninstrument()
        seen.clear()
        with engine.connect() as connection:
            connection.execute(sa.text(QUERY)).all()
            with pytest.raises(sa.exc.OperationalError):
                connection.execute(sa.text("SELECT missing FROM person"))
        engine.dispose()
        instrumentor.uninstrument()
        fine, failed = queries(seen)
    assert fine.attributes["db.statement"] == QUERY
    assert semconv.FINGERPRINT not in fine.attributes
    assert failed.status.description == "no such column: missing"


def test_official_mode_makes_no_span_of_our_own_even_where_the_official_one_is_absent() -> None:
    with testing.observe(config=Config(query_spans="official", pool_spans=False)) as seen:
        engine = people()
        with engine.connect() as connection:
            connection.execute(sa.text(QUERY)).all()
        engine.dispose()
        assert seen.spans() == []
        assert seen.points(semconv.OPERATION_DURATION, db_query_summary="SELECT person")[0].count == 1


def test_official_mode_enriches_the_official_spans() -> None:
    with testing.observe(config=Config(query_spans="official")) as seen:
        instrumentor = switch_on(seen)
        engine = people()
        seen.clear()
        with engine.connect() as connection:
            connection.execute(sa.text(QUERY)).all()
        engine.dispose()
        instrumentor.uninstrument()
    (span,) = queries(seen)
    assert span.attributes[semconv.DB_QUERY_SUMMARY] == "SELECT person"


class Balance(SpanProcessor):
    """Which spans have begun, and which of them are open."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open: set[int] = set()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.begun.append(span.name)
        self.open.add(span.context.span_id)

    def on_end(self, span: ReadableSpan) -> None:
        self.open.remove(span.context.span_id)


async def test_an_async_engine_leaves_no_official_span_open_and_has_one_a_query(
    mode: str | None, seen: testing.Seen, official: SQLAlchemyInstrumentor, url_of: Callable[[str], sa.engine.URL]
) -> None:
    engine = async_sqlalchemy.create_async_engine(url_of("asyncpg"))
    async with engine.connect() as connection:  # SQLAlchemy asks for the server's version
        await connection.execute(sa.text("SELECT 1"))
    seen.clear()
    balance = Balance()
    seen.tracer_provider.add_span_processor(balance)
    running = asyncio.Event()

    async def fail() -> None:
        async with engine.connect() as connection:
            with pytest.raises(sa.exc.ProgrammingError):
                await connection.execute(sa.text("SELECT missing"))

    async def wait() -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 2"))
            running.set()
            await connection.execute(sa.text("SELECT pg_sleep(60)"))

    async def succeed() -> None:
        async with engine.connect() as connection:
            assert (await connection.execute(sa.text("SELECT 3"))).scalar() == 3

    waiting = asyncio.create_task(wait())
    await asyncio.gather(running.wait(), fail(), succeed())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await engine.dispose()
    assert balance.open == set()
    spans = queries(seen)
    assert len(spans) == 4
    assert all(scope.startswith(OFFICIAL) for scope in scopes(spans))
    assert all(semconv.FINGERPRINT in span.attributes for span in spans)


def test_an_async_engine_that_the_official_one_watches_twice_has_one_span_a_query(
    run_script: Callable[..., str],
) -> None:
    output = run_script("""
        import asyncio
        import sqlalchemy as sa
        from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
        from dbvitals import testing
        from dbvitals_instrumentation import guard, semconv

        async def query():
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 1"))
                try:
                    await connection.execute(sa.text("SELECT missing"))
                except sa.exc.OperationalError:
                    pass
            await engine.dispose()

        with testing.observe() as seen:
            providers = {"tracer_provider": seen.tracer_provider, "meter_provider": seen.meter_provider}
            SQLAlchemyInstrumentor().instrument(**providers, skip_dep_check=True)
            from sqlalchemy.ext.asyncio import create_async_engine  # later than it, that is

            engine = create_async_engine("sqlite+aiosqlite://")
            asyncio.run(query())
            spans = [span for span in seen.spans() if span.name != "connect"]
            print(len(spans), sum(semconv.FINGERPRINT in span.attributes for span in spans), guard.faults())
    """)
    assert output == "2 2 {}\n"


def test_several_engines_that_were_made_before_are_each_enriched(tmp_path: Path) -> None:
    engines = [sa.create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("a", "b", "c")]
    with testing.observe() as seen:
        instrumentor = switch_on(seen, engines=engines)
        for engine in engines:
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1")).all()
            engine.dispose()
        instrumentor.uninstrument()
    spans = queries(seen)
    assert [span.attributes[semconv.DB_NAMESPACE] for span in spans] == [
        f"{tmp_path}/{name}.db" for name in ("a", "b", "c")
    ]
    assert all(scope.startswith(OFFICIAL) for scope in scopes(spans))


def test_an_engine_that_the_official_one_missed_has_our_spans(seen: testing.Seen) -> None:
    missed = people()
    instrumentor = switch_on(seen)
    watched = people()
    seen.clear()
    for engine in (missed, watched):
        with engine.connect() as connection:
            connection.execute(sa.text(QUERY)).all()
        engine.dispose()
    instrumentor.uninstrument()
    ours, theirs = scopes(queries(seen))
    assert ours == semconv.SCOPE
    assert theirs.startswith(OFFICIAL)


def test_without_suppression_the_official_span_is_current_while_the_driver_runs() -> None:
    current: list[int] = []
    with testing.observe(config=Config(suppress_nested=False)) as seen:
        instrumentor = switch_on(seen)
        engine = people()
        sa.event.listen(
            engine, "do_execute", lambda *_: current.append(trace.get_current_span().get_span_context().span_id)
        )
        seen.clear()
        with engine.connect() as connection:
            connection.execute(sa.text(QUERY)).all()
        engine.dispose()
        instrumentor.uninstrument()
    assert current == [span.context.span_id for span in queries(seen)]


@pytest.mark.skipif(sa.__version__.startswith("1.4."), reason="SQLAlchemy 1.4 has no insertmanyvalues")
def test_batches_have_one_official_span_a_call_of_the_driver(
    seen: testing.Seen, official: SQLAlchemyInstrumentor, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of("postgresql", insertmanyvalues_page_size=4)
    seen.clear()
    with engine.begin() as connection:
        rows = [{"id": n, "name": f"n{n}", "price": n} for n in range(20, 29)]
        connection.execute(item.insert().returning(item.c.id), rows).all()
        connection.execute(
            item.update().where(item.c.id == sa.bindparam("b_id")).values(price=1), [{"b_id": 20}, {"b_id": 21}]
        )
    spans = queries(seen)
    assert [span.attributes.get(semconv.DB_OPERATION_BATCH_SIZE) for span in spans] == [4, 4, None, 2]
    assert all(scope.startswith(OFFICIAL) for scope in scopes(spans))


def test_no_fault_of_ours_happened_on_the_way(seen: testing.Seen, official: SQLAlchemyInstrumentor) -> None:
    engine = people()
    with engine.connect() as connection:
        connection.execute(sa.text(QUERY)).all()
    engine.dispose()
    assert guard.faults() == {}
