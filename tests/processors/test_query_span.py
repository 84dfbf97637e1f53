from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.statement import parse
from dbvitals_processors.query_span import Caller, read

START, END = 1_700_000_000_000_000_000, 1_700_000_000_250_000_000
CONTEXT = SpanContext(0xA, 0xB, False, TraceFlags(1))
PARENT = SpanContext(0xA, 0xC, False, TraceFlags(1))


def span(attributes: Mapping[str, Any] | None, *, name: str = "SELECT orders", failed: bool = False) -> ReadableSpan:
    status = Status(StatusCode.ERROR, "it holds 'a literal'") if failed else Status()
    return ReadableSpan(name, CONTEXT, PARENT, attributes=attributes, status=status, start_time=START, end_time=END)


OURS = {
    semconv.DB_SYSTEM_NAME: "postgresql",
    semconv.DB_NAMESPACE: "shop|public",
    semconv.DB_OPERATION_NAME: "SELECT",
    semconv.DB_COLLECTION_NAME: "orders",
    semconv.DB_QUERY_SUMMARY: "SELECT orders",
    semconv.DB_QUERY_TEXT: "SELECT * FROM orders WHERE id = $1",
    semconv.FINGERPRINT: "0123456789abcdef",
    semconv.SERVER_ADDRESS: "db.example.org",
    semconv.SERVER_PORT: 5433,
    semconv.DB_RESPONSE_RETURNED_ROWS: 3,
    semconv.CODE_FUNCTION_NAME: "list_orders",
    semconv.CODE_FILE_PATH: "/srv/shop/pages.py",
    semconv.CODE_LINE_NUMBER: 41,
}


def test_a_span_of_ours_is_read_in_full() -> None:
    query = read(span(OURS))
    assert query is not None
    assert (query.system, query.namespace, query.operation, query.collection, query.summary) == (
        "postgresql", "shop|public", "SELECT", "orders", "SELECT orders",
    )  # fmt: skip
    assert (query.fingerprint, query.text) == ("0123456789abcdef", "SELECT * FROM orders WHERE id = $1")
    assert (query.rows, query.batch_size, query.error_type, query.status_code) == (3, 1, None, None)
    assert (query.address, query.port) == ("db.example.org", 5433)
    assert query.caller == Caller("list_orders", "/srv/shop/pages.py", 41)
    assert (query.trace_id, query.span_id, query.parent_id) == (0xA, 0xB, 0xC)
    assert (query.start, query.end, query.duration) == (START, END, pytest.approx(0.25))


def test_a_span_that_the_sdk_has_bounded_reads_the_same() -> None:
    assert read(span(BoundedAttributes(128, OURS, immutable=True))) == read(span(OURS))


def test_yesterdays_conventions_are_read_as_todays() -> None:
    text = "SELECT name FROM customers WHERE id = 7"
    query = read(
        span(
            {
                semconv.OLD_DB_SYSTEM: "mssql",
                semconv.OLD_DB_NAME: "shop",
                semconv.OLD_DB_STATEMENT: text,
                semconv.OLD_NET_PEER_NAME: "db",
                semconv.OLD_NET_PEER_PORT: 1434,
            },
            name="SELECT shop",
        )
    )
    assert query is not None
    assert (query.system, query.namespace, query.address, query.port) == ("microsoft.sql_server", "shop", "db", 1434)
    assert (query.operation, query.collection, query.summary) == ("SELECT", "customers", "SELECT customers")
    assert query.fingerprint == parse(text).fingerprint
    assert (query.rows, query.caller) == (None, None)


def test_where_both_conventions_are_there_todays_value_stands() -> None:
    both = {**OURS, semconv.OLD_DB_SYSTEM: "other_sql", semconv.OLD_DB_NAME: "old"}
    assert read(span(both)) == read(span(OURS))


def test_one_span_may_mix_both_conventions() -> None:
    query = read(
        span(
            {
                semconv.DB_SYSTEM_NAME: "postgresql",
                semconv.DB_NAMESPACE: "shop",
                semconv.DB_QUERY_TEXT: "SELECT 1",
                semconv.OLD_NET_PEER_NAME: "db",
                semconv.OLD_NET_PEER_PORT: "5433",
            }
        )
    )
    assert query is not None
    assert (query.namespace, query.address, query.port) == ("shop", "db", 5433)


@pytest.mark.parametrize("port, expected", [(5432, None), ("5432", None), ("6432", 6432), ("none", None)])
def test_a_port_is_a_number_and_the_systems_own_needs_no_mention(port: Any, expected: int | None) -> None:
    query = read(
        span(
            {semconv.OLD_DB_SYSTEM: "postgresql", semconv.OLD_DB_STATEMENT: "SELECT 1", semconv.OLD_NET_PEER_PORT: port}
        )
    )
    assert query is not None
    assert query.port == expected


@pytest.mark.parametrize(
    "operation, text, expected",
    [
        ("SELECT shop", "SELECT a FROM t", ("SELECT", "t", "SELECT t")),  # as SQLAlchemy's instrumentation has it
        ("BATCH INSERT", "INSERT INTO t VALUES (1)", ("BATCH INSERT", "t", "BATCH INSERT t")),
        ("EXECUTE", "nightly_job", ("EXECUTE", "", "EXECUTE")),
        ("('secret') shop", "('secret')", ("", "", "postgresql")),
        ("SELECT'secret' shop", None, ("SELECT", "", "SELECT")),
        ("('secret') shop", None, ("", "", "postgresql")),
    ],
)
def test_an_operation_is_what_the_text_says_and_holds_no_literal(
    operation: str, text: str | None, expected: tuple[str, str, str]
) -> None:
    said = {} if text is None else {semconv.OLD_DB_STATEMENT: text}
    query = read(span({semconv.OLD_DB_SYSTEM: "postgresql", semconv.OLD_DB_OPERATION: operation, **said}))
    assert query is not None
    assert (query.operation, query.collection, query.summary) == expected


@pytest.mark.parametrize(
    "given, expected",
    [("hanadb", "sap.hana"), ("spanner", "gcp.spanner"), ("db2", "ibm.db2"), ("vertica", "vertica"), ("duckdb", None)],
)
def test_systems_have_todays_names(given: str, expected: str | None) -> None:
    query = read(span({semconv.OLD_DB_SYSTEM: given, semconv.OLD_DB_STATEMENT: "SELECT 1"}))
    assert (query and query.system) == expected


def test_what_sqlalchemys_instrumentation_saw_is_sql_in_any_dialect() -> None:
    seen = ReadableSpan(
        "SELECT", CONTEXT, attributes={semconv.OLD_DB_SYSTEM: "duckdb", semconv.OLD_DB_STATEMENT: "SELECT 1"},
        instrumentation_scope=InstrumentationScope("opentelemetry.instrumentation.sqlalchemy"),
    )  # fmt: skip
    query = read(seen)
    assert query is not None
    assert query.system == semconv.OTHER_SQL


def test_the_same_query_has_the_same_fingerprint_whoever_saw_it() -> None:
    todays = {semconv.DB_SYSTEM_NAME: "mysql", semconv.DB_QUERY_TEXT: 'SELECT a FROM t WHERE b = "x"'}
    yesterdays = {semconv.OLD_DB_SYSTEM: "mysql", semconv.OLD_DB_STATEMENT: 'SELECT a FROM t WHERE b = "yy"'}
    one, other = read(span(todays)), read(span(yesterdays))
    assert one is not None
    assert other is not None
    assert one.fingerprint == other.fingerprint


def test_without_a_text_the_operation_tells_queries_apart() -> None:
    def named(table: str) -> str:
        query = read(
            span({semconv.OLD_DB_SYSTEM: "sqlite", semconv.OLD_DB_OPERATION: "SELECT", semconv.OLD_DB_SQL_TABLE: table})
        )
        assert query is not None
        return query.fingerprint

    assert named("orders") == named("orders") != named("customers")


@pytest.mark.parametrize(
    "attributes",
    [
        None,
        {"http.request.method": "GET"},
        {semconv.DB_SYSTEM_NAME: "redis", semconv.DB_OPERATION_NAME: "GET", semconv.DB_QUERY_TEXT: "GET ?"},
        {semconv.OLD_DB_SYSTEM: "mongodb", semconv.OLD_DB_STATEMENT: "find"},
        {semconv.POOL_NAME: "shop", semconv.POOL_WAIT: 0.1},
        {semconv.OLD_DB_SYSTEM: "postgresql", semconv.OLD_DB_NAME: "shop"},  # the official `connect`
    ],
)
def test_what_is_no_sql_query_is_none(attributes: Mapping[str, Any] | None) -> None:
    assert read(span(attributes)) is None


def test_a_failed_query_says_of_what_and_never_quotes_the_message() -> None:
    plain = read(span(OURS, failed=True))
    coded = read(span({**OURS, semconv.DB_RESPONSE_STATUS_CODE: "23505"}, failed=True))
    typed = read(span({**OURS, semconv.ERROR_TYPE: "sqlite3.OperationalError"}, failed=True))
    assert [query and query.error_type for query in (plain, coded, typed)] == [
        semconv.ERROR, "23505", "sqlite3.OperationalError",
    ]  # fmt: skip
    assert "literal" not in repr(plain)


def test_a_failed_query_without_a_type_has_its_exceptions_class() -> None:
    message = {"exception.type": "psycopg.errors.UndefinedTable", "exception.message": "it holds 'a literal'"}
    events = [Event("something else"), Event("exception", message)]
    failed = ReadableSpan("x", CONTEXT, attributes=OURS, status=Status(StatusCode.ERROR), events=events)
    query = read(failed)
    assert query is not None
    assert query.error_type == "psycopg.errors.UndefinedTable"
    assert "literal" not in repr(query)


def test_a_name_that_holds_a_literal_is_not_taken_for_a_summary() -> None:
    query = read(span({semconv.DB_SYSTEM_NAME: "sqlite", semconv.DB_QUERY_TEXT: "('secret')"}, name="('secret')"))
    assert query is not None
    assert "secret" not in query.summary


def test_a_clock_that_was_set_back_makes_no_negative_duration() -> None:
    backwards = ReadableSpan("SELECT orders", CONTEXT, None, attributes=OURS, start_time=END, end_time=START)
    query = read(backwards)
    assert query is not None
    assert (query.duration, query.parent_id) == (0, None)
