"""The only reader of raw span attributes: today's and yesterday's semantic conventions become one frozen ``QuerySpan``.

Spans of dbvitals carry everything that is read here. Those of other instrumentations (the official SQLAlchemy one, the
drivers', ddtrace's through a bridge) may speak the conventions from before they were stable, or mix them with today's,
and have no fingerprint: it is computed from their text, so that one query counts as one, whoever saw it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.statement import Statement, parse
from dbvitals_processors.docket import Kept

_SYSTEMS = {
    **semconv.SYSTEMS,
    # What the conventions called them before they were stable.
    "cache": "intersystems.cache",
    "db2": "ibm.db2",
    "edb": "postgresql",
    "h2": "h2database",
    "hanadb": "sap.hana",
    "informix": "ibm.informix",
    "intersystems_cache": "intersystems.cache",
    "maxdb": "sap.maxdb",
    "mssqlcompact": "microsoft.sql_server",
    "netezza": "ibm.netezza",
    "spanner": "gcp.spanner",
}
"""``db.system.name`` by the names that dialects, drivers and yesterday's conventions have for it."""
_OTHERS = ("derby", "firstsql", "hsqldb", "ingres", "instantdb", "interbase", "pervasive", "pointbase", "vertica")
_SQL_SYSTEMS = frozenset((*_SYSTEMS.values(), *_OTHERS, semconv.OTHER_SQL))
_SQL_SCOPES = frozenset({"opentelemetry.instrumentation.sqlalchemy", "opentelemetry.instrumentation.dbapi"})
"""Whose queries are SQL, whatever the system."""
_TEXT_IS_STRING = frozenset({"mysql", "mariadb"})  # systems in which "…" is a string
_EXCEPTION_TYPE = "exception.type"  # of the event that the SDK records for an exception
_BATCH = "BATCH "


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
        error_type: ``error.type``, ``None`` for success; of a failed span that has none the status code, the type of
            the exception that is recorded with it, or :data:`semconv.ERROR`.
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
    name = attributes.get(semconv.DB_SYSTEM_NAME)
    if name is None:
        name = attributes.get(semconv.OLD_DB_SYSTEM)
        if name is None:
            return None
    system = _SYSTEMS.get(str(name), str(name))
    if system not in _SQL_SYSTEMS:
        scope = span.instrumentation_scope
        if scope is None or scope.name not in _SQL_SCOPES:
            return None
        system = semconv.OTHER_SQL
    if semconv.FINGERPRINT not in attributes and not _complete(attributes, system):
        return None
    get: Any = attributes.get
    context, parent = span.context, span.parent
    error_type = get(semconv.ERROR_TYPE)
    if error_type is None and span.status.status_code is StatusCode.ERROR:
        error_type = get(semconv.DB_RESPONSE_STATUS_CODE) or _exception_type(span) or semconv.ERROR
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
    return _parsed(text, system).text if text else ""


def _parsed(text: str, system: str) -> Statement:
    return parse(text, double_quotes="string" if system in _TEXT_IS_STRING else "identifier")


def _plain(attributes: Any) -> dict[str, Any]:
    """A dictionary: the SDK's bounded mapping takes its time for each name that is not there."""
    try:
        return attributes.copy()  # type: ignore[no-any-return]  # three times as quick as dict(…)
    except AttributeError:  # no mapping of the SDK's
        return dict(attributes)


def _complete(attributes: dict[str, Any], system: str) -> bool:
    """Put what a span without a fingerprint tells of its query into today's words; false where it tells of none.

    Names of both conventions may stand side by side (the drivers' instrumentations write ``db.query.text`` with
    ``net.peer.name``); where one thing has both, today's value stands. The text knows better what it does than
    ``db.operation``, which SQLAlchemy's instrumentation makes of its first word and the database's name.
    """
    get = attributes.get
    text = get(semconv.DB_QUERY_TEXT) or get(semconv.OLD_DB_STATEMENT)
    operation = str(get(semconv.DB_OPERATION_NAME) or get(semconv.OLD_DB_OPERATION) or "")
    collection = get(semconv.DB_COLLECTION_NAME) or get(semconv.OLD_DB_SQL_TABLE) or ""
    summary = get(semconv.DB_QUERY_SUMMARY)
    told = text or summary or (operation and f"{operation} {collection}".rstrip())
    if not told:
        return False
    statement = _parsed(str(told), system)
    batch = _BATCH if operation[: len(_BATCH)].upper() == _BATCH else ""
    if statement.operation:
        operation = batch + statement.operation
    elif not operation.isidentifier():  # the first word of a text may hold a literal
        operation = ""
    attributes[semconv.FINGERPRINT] = statement.fingerprint
    attributes[semconv.DB_OPERATION_NAME] = operation
    attributes[semconv.DB_COLLECTION_NAME] = statement.collection or collection
    attributes[semconv.DB_QUERY_SUMMARY] = (
        batch + statement.summary if statement.summary else summary and normalised(str(summary), system)
    )
    attributes[semconv.DB_QUERY_TEXT] = str(text or "")
    attributes[semconv.DB_NAMESPACE] = str(get(semconv.DB_NAMESPACE) or get(semconv.OLD_DB_NAME) or "")
    attributes[semconv.SERVER_ADDRESS] = get(semconv.SERVER_ADDRESS) or get(semconv.OLD_NET_PEER_NAME)
    attributes[semconv.SERVER_PORT] = _port(get(semconv.SERVER_PORT) or get(semconv.OLD_NET_PEER_PORT), system)
    return True


def _port(port: Any, system: str) -> int | None:
    """A port that is not the system's own; some write it as text."""
    if port is None:
        return None
    try:
        number = int(port)
    except ValueError:
        return None
    return None if number == semconv.DEFAULT_PORTS.get(system) else number


def _exception_type(span: ReadableSpan) -> str | None:
    """The class of the exception that was recorded with a span; its message may hold literals."""
    for event in span.events:
        found = (event.attributes or {}).get(_EXCEPTION_TYPE)
        if found:
            return str(found)
    return None
