"""What a user sees of queries: one span, one duration and the rows of each DBAPI call, whatever the API used."""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import event
from sqlalchemy.orm import Session

from dbvitals import testing
from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.config import Config

EVERY_DRIVER = pytest.mark.parametrize("driver", ["sqlite", "psycopg", "psycopg2", "pymysql"])
INSERTMANYVALUES = pytest.mark.skipif(
    sa.__version__.startswith("1.4."), reason="SQLAlchemy 1.4 has no insertmanyvalues"
)
EVERY_ASYNC_DRIVER = pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg", "aiomysql"])
SYSTEMS = {"sqlite": "sqlite", "psycopg": "postgresql", "psycopg2": "postgresql", "pymysql": "mariadb"}


def one(seen: testing.Seen) -> Any:
    """The only span seen."""
    (span,) = seen.spans()
    return span


@EVERY_DRIVER
def test_a_select_is_a_client_span_by_the_stable_conventions(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.connect() as connection:
        connection.execute(sa.select(item.c.name).where(item.c.id < 4)).fetchall()
    span = one(seen)
    assert span.name == "SELECT dbv_item"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    attributes = span.attributes
    assert attributes[semconv.DB_SYSTEM_NAME] == SYSTEMS[driver]
    assert attributes[semconv.DB_OPERATION_NAME] == "SELECT"
    assert attributes[semconv.DB_COLLECTION_NAME] == "dbv_item"
    assert attributes[semconv.DB_QUERY_SUMMARY] == "SELECT dbv_item"
    assert "WHERE dbv_item.id < " in attributes[semconv.DB_QUERY_TEXT]
    assert attributes[semconv.DB_RESPONSE_RETURNED_ROWS] == 3
    assert len(attributes[semconv.FINGERPRINT]) == 16
    assert span.end_time > span.start_time


def test_server_and_namespace_are_those_of_the_connection(
    seen: testing.Seen, engine_of: Callable[..., Any], url_of: Callable[[str], sa.engine.URL]
) -> None:
    engine = engine_of("postgresql")
    seen.clear()
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1")).all()
    attributes = one(seen).attributes
    url = url_of("postgresql")
    assert attributes[semconv.DB_NAMESPACE] == f"{url.database}|public"
    assert attributes[semconv.SERVER_ADDRESS] == url.host
    assert attributes[semconv.SERVER_PORT] == url.port


def test_an_engine_with_a_creator_learns_its_server_from_the_connection(
    seen: testing.Seen, url_of: Callable[[str], sa.engine.URL]
) -> None:
    url = url_of("postgresql")
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    driver = importlib.import_module(url.get_driver_name())
    engine = sa.create_engine(f"postgresql+{driver.__name__}://", creator=lambda: driver.connect(plain))
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 42")).all()
    attributes = seen.spans()[-1].attributes
    assert attributes[semconv.SERVER_ADDRESS] == url.host
    assert attributes[semconv.SERVER_PORT] == url.port
    engine.dispose()


@EVERY_DRIVER
def test_duration_and_rows_are_measured_once_a_query(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of(driver)
    with engine.connect() as connection:
        for _ in range(300):
            connection.execute(sa.select(item.c.name)).fetchall()
    (point,) = seen.points(semconv.OPERATION_DURATION, db_query_summary="SELECT dbv_item")
    assert point.count == 300
    assert point.explicit_bounds == semconv.DURATION_BUCKETS
    assert set(point.attributes) >= {semconv.DB_SYSTEM_NAME, semconv.DB_NAMESPACE, semconv.FINGERPRINT}
    assert semconv.DB_QUERY_TEXT not in point.attributes
    (rows,) = seen.points(semconv.RETURNED_ROWS, db_query_summary="SELECT dbv_item")
    assert (rows.count, rows.sum) == (300, 3000)


def test_a_duration_carries_the_trace_of_its_span_as_exemplar(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("sqlite")
    with seen.tracer_provider.get_tracer("app").start_as_current_span("request"), engine.connect() as connection:
        for _ in range(5):
            connection.execute(sa.text("SELECT 5")).all()
    (point,) = seen.points(semconv.OPERATION_DURATION, db_query_summary="SELECT")
    spans = {span.context.span_id: span for span in seen.spans("SELECT")}
    assert point.exemplars
    for exemplar in point.exemplars:
        assert exemplar.trace_id == spans[exemplar.span_id].context.trace_id


@EVERY_DRIVER
def test_literals_give_way_to_question_marks_and_parameters_stay_out(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT name FROM dbv_item WHERE name = 'geheim' AND price > 4711471147").fetchall()
        connection.execute(sa.text("SELECT name FROM dbv_item WHERE name = :name"), {"name": "geheim"}).fetchall()
    literal, bound = seen.spans()
    assert literal.attributes[semconv.DB_QUERY_TEXT] == "SELECT name FROM dbv_item WHERE name = ? AND price > ?"
    assert bound.attributes[semconv.DB_QUERY_TEXT].startswith("SELECT name FROM dbv_item WHERE name = ")
    for span in (literal, bound):
        assert "geheim" not in span.to_json()
        assert "4711471147" not in span.to_json()


def test_values_that_sqlalchemy_renders_into_the_text_stay_out(
    seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of("sqlite")
    seen.clear()
    secret = sa.bindparam("secret", "geheim", literal_execute=True)
    with engine.connect() as connection:
        connection.execute(sa.select(item).where(item.c.name == secret, item.c.id > 1)).fetchall()
    assert "geheim" not in one(seen).to_json()


def test_parameters_are_shown_when_asked_for(engine_of: Callable[..., Any]) -> None:
    with testing.observe(config=Config(query_parameters=True)) as seen:
        engine = engine_of("sqlite")
        seen.clear()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT name FROM dbv_item WHERE id = :id"), {"id": 3}).all()
    assert one(seen).attributes[f"{semconv.DB_QUERY_PARAMETER}.0"] == "3"


@EVERY_DRIVER
def test_executemany_is_one_batch_span(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.begin() as connection:
        connection.execute(
            item.update().where(item.c.id == sa.bindparam("b_id")).values(price=sa.bindparam("b_price")),
            [{"b_id": n, "b_price": n} for n in range(1, 6)],
        )
    span = one(seen)
    assert span.name == "BATCH UPDATE dbv_item"
    assert span.attributes[semconv.DB_OPERATION_NAME] == "BATCH UPDATE"
    assert span.attributes[semconv.DB_OPERATION_BATCH_SIZE] == 5
    assert semconv.DB_RESPONSE_RETURNED_ROWS not in span.attributes


@INSERTMANYVALUES
@pytest.mark.parametrize("driver", ["sqlite", "psycopg"])
def test_insertmanyvalues_is_a_batch_span_for_each_call_of_the_driver(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of(driver, insertmanyvalues_page_size=4)
    seen.clear()
    with engine.begin() as connection:
        rows = [{"id": n, "name": f"n{n}", "price": n} for n in range(20, 29)]
        connection.execute(item.insert().returning(item.c.id), rows).fetchall()
    spans = seen.spans()
    assert [span.name for span in spans] == ["BATCH INSERT dbv_item", "BATCH INSERT dbv_item", "INSERT dbv_item"]
    assert [span.attributes.get(semconv.DB_OPERATION_BATCH_SIZE) for span in spans] == [4, 4, None]
    assert len({span.attributes[semconv.FINGERPRINT] for span in spans}) == 1


SQLITE_RETURNING = pytest.param(
    "sqlite",
    marks=pytest.mark.skipif(sa.__version__.startswith("1.4."), reason="SQLAlchemy 1.4 writes no RETURNING for SQLite"),
)


@pytest.mark.parametrize("driver", [SQLITE_RETURNING, "psycopg", "psycopg2"])
def test_returning_counts_the_rows_that_come_back(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.begin() as connection:
        connection.execute(item.delete().where(item.c.id > 7).returning(item.c.id)).fetchall()
    assert one(seen).attributes[semconv.DB_RESPONSE_RETURNED_ROWS] == 3


@EVERY_DRIVER
def test_a_streamed_result_counts_what_the_application_fetched(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.connect() as connection:
        result = connection.execution_options(yield_per=2).execute(sa.select(item).order_by(item.c.id))
        first = [row.id for row in result.fetchmany(3)]
        assert seen.spans() == []
        result.close()
    assert first == [1, 2, 3]
    span = one(seen)
    assert span.attributes[semconv.DB_RESPONSE_RETURNED_ROWS] == 3
    (point,) = seen.points(semconv.RETURNED_ROWS, db_query_summary="SELECT dbv_item")
    assert (point.count, point.sum) == (1, 3)


@EVERY_DRIVER
def test_a_stream_read_to_its_end_counts_all_rows(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.connect() as connection:
        result = connection.execution_options(stream_results=True, max_row_buffer=3).execute(sa.select(item))
        assert len([row for partition in result.partitions(4) for row in partition]) == 10
    assert one(seen).attributes[semconv.DB_RESPONSE_RETURNED_ROWS] == 10


@pytest.mark.parametrize(
    "driver, error", [("psycopg", "DivisionByZero (22012)"), ("psycopg2", "DivisionByZero (22012)")]
)
def test_the_error_of_a_streams_first_row_is_the_applications_to_hear(
    driver: str, error: str, seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.connect() as connection, pytest.raises(sa.exc.DataError, match="division by zero") as raised:
        connection.execution_options(stream_results=True).execute(sa.text("SELECT 1 / 0"))
    assert raised.value.statement == "SELECT 1 / 0"
    assert one(seen).status.description == error
    (point,) = seen.points(semconv.OPERATION_DURATION, error_type="22012")
    assert point.count == 1


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
async def test_the_time_to_a_streams_first_row_is_the_databases(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of(driver)
    query = sa.text("SELECT pg_sleep(0.1)")
    if driver == "asyncpg":
        async with engine.connect() as connection:
            await (await connection.stream(query)).all()
        await engine.dispose()
    else:
        with engine.connect() as connection:
            connection.execution_options(stream_results=True).execute(query).all()
    span = seen.spans()[-1]
    assert span.end_time - span.start_time >= 100_000_000


def test_time_that_the_application_takes_between_rows_is_not_the_databases(
    seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of("sqlite")
    seen.clear()
    with engine.connect() as connection:
        with seen.tracer_provider.get_tracer("app").start_as_current_span("request") as request:
            for _ in connection.execution_options(yield_per=1).execute(sa.select(item)):
                for _ in range(50_000):
                    pass
        whole = request.end_time - request.start_time
    span = seen.spans("SELECT dbv_item")[0]
    assert span.end_time - span.start_time < whole / 2


def test_a_result_that_is_dropped_unread_still_has_its_span(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite")
    seen.clear()
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT name FROM dbv_item"))
        span = one(seen)
        assert semconv.DB_RESPONSE_RETURNED_ROWS not in span.attributes


def test_a_result_lost_in_a_reference_cycle_is_told_of_after_the_collection(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("sqlite")
    seen.clear()
    with engine.connect() as connection:
        cycle: list[Any] = [connection.execute(sa.text("SELECT price FROM dbv_item"))]
        cycle.append(cycle)
        del cycle
        gc.collect()
        connection.execute(sa.text("SELECT 1")).all()
    assert sorted(span.name for span in seen.spans()) == ["SELECT", "SELECT dbv_item"]


@pytest.mark.parametrize(
    "driver, code, name",
    [
        ("sqlite", "SQLITE_CONSTRAINT_UNIQUE", "IntegrityError"),
        ("psycopg", "23505", "UniqueViolation"),
        ("psycopg2", "23505", "UniqueViolation"),
        ("pymysql", "1062", "IntegrityError"),
    ],
)
def test_an_error_has_its_code_and_never_its_message(
    driver: str, code: str, name: str, seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of(driver)
    seen.clear()
    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.execute(item.insert(), {"id": 99, "name": "name 3", "price": 1})
    span = one(seen)
    if driver != "sqlite" or hasattr(__import__("sqlite3"), "SQLITE_CONSTRAINT_UNIQUE"):
        assert span.attributes[semconv.ERROR_TYPE] == code
        assert span.attributes[semconv.DB_RESPONSE_STATUS_CODE] == code
        assert span.status.description == f"{name} ({code})"
    assert span.status.status_code is StatusCode.ERROR
    assert span.events == ()
    assert "name 3" not in span.to_json()
    (point,) = seen.points(semconv.OPERATION_DURATION, error_type=span.attributes[semconv.ERROR_TYPE])
    assert point.count == 1


def test_a_statement_timeout_is_an_error_with_its_time(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("postgresql")
    with engine.connect() as connection:
        connection.execute(sa.text("SET statement_timeout = 50"))
        seen.clear()
        with pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.text("SELECT pg_sleep(10)"))
    span = one(seen)
    assert span.attributes[semconv.ERROR_TYPE] == "57014"
    assert span.end_time - span.start_time >= 40_000_000


def test_savepoints_have_one_fingerprint_however_many(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("postgresql")
    seen.clear()
    with engine.begin() as connection:
        for _ in range(3):
            with connection.begin_nested():
                connection.execute(sa.text("SELECT 1")).all()
    savepoints = seen.spans("SAVEPOINT")
    assert len(savepoints) == 3
    assert len({span.attributes[semconv.FINGERPRINT] for span in savepoints}) == 1


def test_in_lists_of_any_length_share_a_fingerprint(
    seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of("sqlite")
    seen.clear()
    with engine.connect() as connection:
        for length in (1, 2, 7):
            connection.execute(sa.select(item).where(item.c.id.in_(range(length)))).all()
    assert len({span.attributes[semconv.FINGERPRINT] for span in seen.spans()}) == 1


def test_orm_queries_are_spans_below_the_request(
    seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine = engine_of("sqlite")
    mapped = type("Item", (), {})
    sa.orm.registry().map_imperatively(mapped, item)
    seen.clear()
    with (
        seen.tracer_provider.get_tracer("app").start_as_current_span("GET /items") as request,
        Session(engine) as session,
    ):
        assert session.get(mapped, 3).name == "name 3"
    span = seen.spans("SELECT dbv_item")[0]
    assert span.parent.span_id == request.get_span_context().span_id
    assert span.context.trace_id == request.get_span_context().trace_id


def test_caller_is_named_on_the_first_calls_of_a_statement(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite")
    seen.clear()
    with engine.connect() as connection:
        for _ in range(5):
            connection.execute(sa.text("SELECT 7")).all()
    named = [semconv.CODE_FUNCTION_NAME in span.attributes for span in seen.spans()]
    assert named == [True, True, False, True, False]
    first = seen.spans()[0].attributes
    assert first[semconv.CODE_FUNCTION_NAME] == "test_caller_is_named_on_the_first_calls_of_a_statement"
    assert first[semconv.CODE_FILE_PATH] == __file__


def test_engines_made_before_and_after_are_both_watched_without_their_help(engine_of: Callable[..., Any]) -> None:
    before = engine_of("sqlite")
    with before.connect() as open_before, testing.observe() as seen:
        after = engine_of("sqlite", table=False)
        with after.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
        open_before.execute(sa.text("SELECT 2")).all()
        assert len(seen.spans()) == 2


def test_only_the_named_engines_are_watched(engine_of: Callable[..., Any]) -> None:
    watched, second, ignored = engine_of("sqlite"), engine_of("sqlite"), engine_of("sqlite")
    with testing.observe(watched) as seen:
        testing.watch.instrument(second)
        for engine in (watched, second, ignored):
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1")).all()
        assert len(seen.spans()) == 2
        testing.watch.instrument(ignored)
        with ignored.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
        assert len(seen.spans()) == 3


def test_engines_with_execution_options_and_dispose_stay_watched(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("sqlite")
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        seen.clear()
        connection.execute(sa.text("SELECT 1")).all()
    engine.dispose()
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1")).all()
    assert len(seen.spans()) == 2


def test_a_mock_engine_is_left_alone(seen: testing.Seen) -> None:
    statements: list[Any] = []
    engine = sa.create_mock_engine("postgresql://", lambda sql, *_args, **_options: statements.append(sql))
    sa.MetaData().create_all(engine)
    sa.Table("t", sa.MetaData(), sa.Column("id", sa.Integer)).create(engine)
    assert len(statements) == 1
    assert seen.spans() == []


def test_a_listener_of_the_application_that_executes_itself_is_asked_too(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("sqlite")
    asked: list[str] = []

    @event.listens_for(engine, "do_execute")
    def listener(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        asked.append(statement)
        cursor.execute("SELECT 'from the listener'")
        return True

    seen.clear()
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 'from the database'")).scalar() == "from the listener"
    assert asked == ["SELECT 'from the database'"]
    assert len(seen.spans()) == 1


def test_threads_that_share_an_engine_get_a_span_each(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite", pool_size=4, max_overflow=4)
    seen.clear()

    def work() -> None:
        for _ in range(50):
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT name FROM dbv_item")).all()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen.spans()) == 400
    assert len({span.context.span_id for span in seen.spans()}) == 400
    (point,) = seen.points(semconv.OPERATION_DURATION, db_query_summary="SELECT dbv_item")
    assert point.count == 400


@EVERY_ASYNC_DRIVER
async def test_an_async_engine_gives_one_span_a_query_below_its_task(
    driver: str, seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of(driver)
    tracer = seen.tracer_provider.get_tracer("app")

    async def request(number: int) -> None:
        with tracer.start_as_current_span(f"request {number}"):
            async with engine.connect() as connection:
                await connection.execute(sa.text("SELECT 'async'"))
                await asyncio.sleep(0)
                await connection.execute(sa.text("SELECT 'again'"))

    try:
        await asyncio.gather(*(request(number) for number in range(5)))
    finally:
        await engine.dispose()
    requests = {s.context.span_id: s for s in seen.spans() if s.name.startswith("request")}
    queries = [s for s in seen.spans("SELECT") if "?" in s.attributes[semconv.DB_QUERY_TEXT] and s.parent]
    mine = [s for s in queries if s.attributes[semconv.DB_QUERY_TEXT] == "SELECT ?"]
    assert len(mine) >= 10
    for span in mine:
        parent = requests[span.parent.span_id]
        assert parent.context.trace_id == span.context.trace_id
    for request_span in requests.values():
        own = [s for s in mine if s.parent.span_id == request_span.context.span_id]
        assert len(own) >= 2


async def test_an_async_stream_counts_its_rows(
    seen: testing.Seen, engine_of: Callable[..., Any], item: sa.Table
) -> None:
    engine_of("postgresql").dispose()
    engine = engine_of("asyncpg")
    seen.clear()
    async with engine.connect() as connection:
        result = await connection.stream(sa.select(item).order_by(item.c.id))
        rows = [row async for row in result]
    await engine.dispose()
    assert len(rows) == 10
    span = seen.spans("SELECT dbv_item")[0]
    assert span.attributes[semconv.DB_RESPONSE_RETURNED_ROWS] == 10


async def test_a_cancelled_task_leaves_an_ended_span_with_its_error(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("asyncpg")
    started = asyncio.Event()

    async def sleep_in_the_database() -> None:
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))
            started.set()
            await connection.execute(sa.text("SELECT pg_sleep(30)"))

    task = asyncio.create_task(sleep_in_the_database())
    await started.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.dispose()
    span = seen.spans()[-1]
    assert span.attributes[semconv.ERROR_TYPE] == "asyncio.exceptions.CancelledError"
    assert span.status.status_code is StatusCode.ERROR


def test_suppression_by_a_caller_is_obeyed(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    engine = engine_of("sqlite")
    seen.clear()
    with suppress_instrumentation(), engine.connect() as connection:
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    assert seen.spans() == []


def test_sqlcommenter_names_the_span_in_the_statement(engine_of: Callable[..., Any]) -> None:
    config = Config(sqlcommenter=True, sqlcommenter_tags=(("app", "shop & co"),))
    with testing.observe(config=config) as seen:
        engine = engine_of("postgresql")
        seen.clear()
        with engine.connect() as connection:
            query = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid() AND query <> :x"
            sent = connection.execute(sa.text(query), {"x": "%"}).scalar()
    span = one(seen)
    context = span.context
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert sent.endswith(f"/*app='shop%20%26%20co',traceparent='{traceparent}'*/")
    assert "/*" not in span.attributes[semconv.DB_QUERY_TEXT]


def test_without_suppression_the_query_span_is_current_while_the_driver_runs(
    engine_of: Callable[..., Any],
) -> None:
    current: list[trace.Span] = []
    with testing.observe(config=Config(suppress_nested=False)) as seen:
        engine = engine_of("sqlite")

        @event.listens_for(engine, "do_execute")
        def listener(*_args: Any) -> None:
            current.append(trace.get_current_span())

        seen.clear()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
    assert current[0].get_span_context().span_id == one(seen).context.span_id


def test_query_info_tells_the_text_behind_each_fingerprint(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite")
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT name FROM dbv_item WHERE id = 5")).all()
    fingerprint = seen.spans()[-1].attributes[semconv.FINGERPRINT]
    (point,) = seen.points(semconv.QUERY_INFO, dbvitals_query_fingerprint=fingerprint)
    assert point.attributes[semconv.DB_QUERY_TEXT] == "SELECT name FROM dbv_item WHERE id = ?"


def test_metrics_alone_when_spans_are_off(engine_of: Callable[..., Any]) -> None:
    with testing.observe(config=Config(query_spans="off", pool_spans=False)) as seen:
        engine = engine_of("sqlite")
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT name FROM dbv_item")).all()
        assert seen.spans() == []
        assert seen.points(semconv.OPERATION_DURATION, db_query_summary="SELECT dbv_item")[0].count == 1


def test_beyond_the_budget_fingerprints_share_a_series(engine_of: Callable[..., Any]) -> None:
    with testing.observe(config=Config(max_fingerprints=5)) as seen:
        engine = engine_of("sqlite")
        with engine.connect() as connection:
            for number in range(60):
                connection.execute(sa.text(f"SELECT name AS n{number} FROM dbv_item")).all()
        points = seen.points(semconv.OPERATION_DURATION)
        fingerprints = {point.attributes[semconv.FINGERPRINT] for point in points}
        assert semconv.OTHER in fingerprints
        assert len(fingerprints) <= 11
        assert sum(point.count for point in points) == len(seen.spans())
