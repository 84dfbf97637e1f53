"""The only reader of raw span attributes: today's and yesterday's semantic conventions become one frozen ``QuerySpan``.

Spans of dbvitals carry everything that is read here. Those of other instrumentations (the official SQLAlchemy one, the
drivers', ddtrace's through a bridge) may speak the conventions from before they were stable, and have no fingerprint:
it is computed from their text, so that one query counts as one, whoever saw it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.statement import Statement, parse
from dbvitals_processors.docket import Kept

_SQL_SYSTEMS = frozenset((*semconv.SYSTEMS.values(), semconv.OTHER_SQL))
_TEXT_IS_STRING = frozenset({"mysql", "mariadb"})  # systems in which "…" is a string


class Caller(NamedTuple):
    """Where in the application a query comes from; ``line`` is 0 where it is not known."""

    function: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class QuerySpan:
    """One finished query.

    Attributes:
        system: ``db.system.name``, for instance ``postgresql``.
        namespace: ``db.namespace``, empty where it is not known.
        text: as the span had it, possibly with literals if another instrumentation made it; empty if it had none.
        start, end: Unix time in nanoseconds.
        rows: rows returned, ``None`` where nobody counted them.
        batch_size: parameter sets of a batch, 1 for a single query.
        error_type: ``error.type``, ``None`` for success; :data:`semconv.ERROR` for a failed span that has none.
        port: ``None`` for the system's own default.
        trace_id, span_id, parent_id: as in the span's context; ``parent_id`` is ``None`` for a root.
        parameters_hash: equal for equal parameters within a trace, ``None`` where it is not known.
        relationship: the one of SQLAlchemy's ORM that the query loads lazily, for instance ``User.orders``.
    """

    system: str
    namespace: str
    operation: str
    collection: str
    summary: str
    text: str
    fingerprint: str
    start: int
    end: int
    rows: int | None
    batch_size: int
    error_type: str | None
    status_code: str | None
    address: str | None
    port: int | None
    caller: Caller | None
    trace_id: int
    span_id: int
    parent_id: int | None
    parameters_hash: str | None = None
    relationship: str | None = None

    @property
    def nanoseconds(self) -> int:
        """How long it took; never negative, even where the clock was set back meanwhile."""
        return max(0, self.end - self.start)

    @property
    def duration(self) -> float:
        """How long it took, in seconds."""
        return self.nanoseconds * 1e-9


def read(span: ReadableSpan) -> QuerySpan | None:
    """The query that a span tells of; ``None`` if it is no SQL query (Redis, pool checkouts, connects, the rest)."""
    if not span.attributes:
        return None
    attributes = _plain(span.attributes)
    system = attributes.get(semconv.DB_SYSTEM_NAME)
    if system is None:
        system = attributes.get(semconv.OLD_DB_SYSTEM)
        if system is None:
            return None
        attributes = _in_todays_words(attributes)
    system = semconv.SYSTEMS.get(str(system), str(system))
    if system not in _SQL_SYSTEMS:
        return None
    get: Any = attributes.get
    if semconv.FINGERPRINT not in attributes:
        statement = _statement(attributes, system)
        if statement is None:
            return None
        get = _completed(attributes, statement).get
    context, parent = span.context, span.parent
    error_type = get(semconv.ERROR_TYPE)
    if error_type is None and span.status.status_code is StatusCode.ERROR:
        error_type = get(semconv.DB_RESPONSE_STATUS_CODE) or semconv.ERROR
    return _query(
        get,
        system,
        span.start_time or 0,
        span.end_time or 0,
        error_type,
        context.trace_id if context is not None else 0,
        context.span_id if context is not None else 0,
        parent.span_id if parent is not None else None,
        get(semconv.PARAMETERS_HASH),
    )


def read_call(kept: Kept, trace_id: int, span_id: int) -> QuerySpan:
    """The query that a call of our own instrumentation's is, whose span is not known."""
    attributes, late, start, nanoseconds, parent_id, told = kept
    get = {**attributes, **late}.get
    system, error_type = str(get(semconv.DB_SYSTEM_NAME)), get(semconv.ERROR_TYPE)
    parameters = None if told is None else str(told)
    return _query(get, system, start, start + nanoseconds, error_type, trace_id, span_id, parent_id, parameters)


def _query(
    get: Any,
    system: str,
    start: int,
    end: int,
    error_type: str | None,
    trace_id: int,
    span_id: int,
    parent_id: int | None,
    parameters: str | None,
) -> QuerySpan:
    return QuerySpan(
        system,
        get(semconv.DB_NAMESPACE, ""),
        get(semconv.DB_OPERATION_NAME, ""),
        get(semconv.DB_COLLECTION_NAME, ""),
        get(semconv.DB_QUERY_SUMMARY) or get(semconv.DB_OPERATION_NAME) or system,  # a span's name may hold literals
        get(semconv.DB_QUERY_TEXT, ""),
        get(semconv.FINGERPRINT),
        start,
        end,
        get(semconv.DB_RESPONSE_RETURNED_ROWS),
        get(semconv.DB_OPERATION_BATCH_SIZE, 1),
        error_type,
        get(semconv.DB_RESPONSE_STATUS_CODE),
        get(semconv.SERVER_ADDRESS),
        get(semconv.SERVER_PORT),
        caller_in(get),
        trace_id,
        span_id,
        parent_id,
        parameters,
        get(semconv.RELATIONSHIP),
    )


def caller_in(get: Any) -> Caller | None:
    """The caller among attributes."""
    function = get(semconv.CODE_FUNCTION_NAME)
    return function and Caller(function, get(semconv.CODE_FILE_PATH, ""), get(semconv.CODE_LINE_NUMBER, 0))


def normalised(text: str, system: str) -> str:
    """A query's text without literals, whoever wrote it."""
    return parse(text, double_quotes="string" if system in _TEXT_IS_STRING else "identifier").text if text else ""


_TODAY = {
    semconv.OLD_DB_NAME: semconv.DB_NAMESPACE,
    semconv.OLD_DB_STATEMENT: semconv.DB_QUERY_TEXT,
    semconv.OLD_DB_OPERATION: semconv.DB_OPERATION_NAME,
    semconv.OLD_DB_SQL_TABLE: semconv.DB_COLLECTION_NAME,
    semconv.OLD_NET_PEER_NAME: semconv.SERVER_ADDRESS,
    semconv.OLD_NET_PEER_PORT: semconv.SERVER_PORT,
}


def _plain(attributes: Any) -> dict[str, Any]:
    """A dictionary: the SDK's bounded mapping takes its time for each name that is not there."""
    try:
        return attributes.copy()  # type: ignore[no-any-return]  # three times as quick as dict(…)
    except AttributeError:  # no mapping of the SDK's
        return dict(attributes)


def _in_todays_words(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Yesterday's names exchanged for today's; where both are there, today's value stands."""
    return {**{_TODAY[name]: value for name, value in attributes.items() if name in _TODAY}, **attributes}


def _statement(attributes: Mapping[str, Any], system: str) -> Statement | None:
    """What a span without a fingerprint says of its query; ``None`` where it names neither text nor operation."""
    text = attributes.get(semconv.DB_QUERY_TEXT) or attributes.get(semconv.DB_QUERY_SUMMARY)
    if not text:
        operation = attributes.get(semconv.DB_OPERATION_NAME)
        if not operation:
            return None
        text = f"{operation} {attributes.get(semconv.DB_COLLECTION_NAME, '')}".rstrip()
    return parse(str(text), double_quotes="string" if system in _TEXT_IS_STRING else "identifier")


def _completed(attributes: Mapping[str, Any], statement: Statement) -> dict[str, Any]:
    """The attributes with what the statement says for itself where they say nothing."""
    found = {
        semconv.FINGERPRINT: statement.fingerprint,
        semconv.DB_OPERATION_NAME: statement.operation,
        semconv.DB_COLLECTION_NAME: statement.collection,
        semconv.DB_QUERY_SUMMARY: statement.summary,
    }
    return {**{name: value for name, value in found.items() if value}, **attributes}
