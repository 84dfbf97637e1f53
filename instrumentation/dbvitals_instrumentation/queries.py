"""Each statement that SQLAlchemy hands to a driver becomes a query span, a duration and a number of rows.

The hooks are SQLAlchemy's dialect events ``do_execute``, ``do_executemany`` and ``do_execute_no_params``: public, the
same from 1.4 to 2.1, called once for each DBAPI call, and unlike the cursor events they do not make every connection
join dispatchers. Listeners sit on the ``Engine`` class, so engines made before and after are covered alike.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from threading import get_ident
from time import perf_counter_ns, time_ns
from typing import Any, NamedTuple

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Observation
from opentelemetry.trace import Span, SpanContext, SpanKind
from sqlalchemy import event
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.engine.default import DefaultDialect

from dbvitals_instrumentation import errors, fork, guard, housekeeping, official, semconv, spans, sqlcomment
from dbvitals_instrumentation.budget import Budget
from dbvitals_instrumentation.caller import caller
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.database import Database, Query, See
from dbvitals_instrumentation.endpoint import endpoint_of
from dbvitals_instrumentation.fetching import count_rows, orphans
from dbvitals_instrumentation.histogram import BufferedHistograms, Series
from dbvitals_instrumentation.orm import relationship_of
from dbvitals_instrumentation.parameters import ParametersHash, plain_of
from dbvitals_instrumentation.scope import Scope
from dbvitals_instrumentation.statement import Statement
from dbvitals_instrumentation.telemetry import SUPPRESS, Silence, Telemetry, attach, get_current

MOST_PARAMETERS = 32
MOST_PARAMETER_CHARACTERS = 256


class Counted(NamedTuple):
    """A statement with its calls; ``nanoseconds`` are those of its fingerprint, in all texts and databases."""

    namespace: str
    system: str
    fingerprint: str
    text: str
    calls: int
    nanoseconds: int


class Execution:
    """One DBAPI call that is being observed."""

    __slots__ = ("asked", "context", "late", "official", "plain", "query", "rows", "span", "start", "took", "watch")

    def __init__(self, watch: QueryWatch, query: Query, context: Context, official_span: Span | None) -> None:
        self.watch = watch
        self.query = query
        self.context = context
        self.official = official_span
        self.span: Span | None = None
        self.late: dict[str, Any] = {}
        self.asked: tuple[str, Any] | None = None  # text and parameters, where they are of interest
        self.plain: bytes | None = None  # both, as they are hashed
        self.rows = -1
        self.start = time_ns()
        self.took = 0

    def fetched(self, rows: int, fetching: int, error: BaseException | None) -> None:
        """Record it, now that its rows have been fetched, which took ``fetching`` nanoseconds more."""
        self.watch.record(self, self.took + fetching, rows, error)

    def open_span(self) -> Span:
        """The span that was there while it ran, where none is written afterwards: its own, else its caller's."""
        return self.official or self.span or trace.get_current_span(self.context)

    # What a judge may ask of it, before its span is written:

    def told(self) -> int | None:
        """A number that is equal for the same text with the same parameters; ``None`` where it is not known."""
        if self.asked is None:
            return None
        plain = self.plain = plain_of(*self.asked)
        return None if plain is None else hash(plain)

    def look_closer(self) -> None:
        """Put the hash of the parameters on the span: the query has been asked before in its trace."""
        if self.plain is not None:
            told = self.watch.hash.of(self.context, self.plain)
            if told is not None:
                self.late[semconv.PARAMETERS_HASH] = told

    def name_caller(self) -> None:
        """Put the caller on the span, if this is still its caller's stack."""
        self.watch.name_caller(self.late)


class QueryWatch:
    """The listeners, and what they remember of each database.

    Args:
        judge: gives whoever judges the calls of a query, by the attributes of its spans.
        sample: is given fingerprint, parameters and text of each single call that has parameters.
        met: is told of each engine that comes to be watched.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        config: Config,
        scope: Scope,
        judge: Callable[[Mapping[str, Any]], See] | None = None,
        sample: Callable[[str, Any, str], None] | None = None,
        met: Callable[[Engine], None] | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._judge = judge
        self._sample = sample
        self._met = met
        self._settling: set[int] = set()  # threads that tell of results that others have left behind
        self._config = config
        self._scope = scope
        self._databases: dict[int, Database] = {}  # by the id of a dialect
        self._passed_over: set[int] = set()  # ids of dialects that are not to be watched
        self._lock = threading.Lock()
        fork.renew_lock(self)
        self._silence = Silence()
        self._budget = Budget(config.max_fingerprints)
        self._info: dict[str, Statement] = {}
        self._tags = dict(config.sqlcommenter_tags)
        self._spans = config.query_spans == "auto"
        self._plain = config.suppress_nested and not config.sqlcommenter
        self._live = self._spans and (config.sqlcommenter or not config.suppress_nested)
        self._hashes = config.parameters_hash and config.query_spans != "off"
        self.hash = ParametersHash()
        self._caller = {"off": 0, "sampled": 1, "always": 2}[config.caller]
        self._listeners: dict[str, Callable[..., bool | None]] = {
            "do_execute": self._on_execute,
            "do_executemany": self._on_executemany,
            "do_execute_no_params": self._on_execute_no_params,
        }

    def install(self) -> None:
        """Begin to listen to every engine of the process, made before or after."""
        self._had_events = Dialect._has_events
        for name, listener in self._listeners.items():
            event.listen(Engine, name, listener)
        orphans.watch()
        self._telemetry.add_source(semconv.QUERY_INFO, self._observe_info)

    def uninstall(self) -> None:
        """Leave everything as it was found."""
        for name, listener in self._listeners.items():
            event.remove(Engine, name, listener)
        if not self._had_events and not _somebody_listens():
            Dialect._has_events = False  # listening set it; it costs every execution a look
        orphans.settle()
        orphans.unwatch()
        housekeeping.restore()
        self._databases.clear()
        self._passed_over.clear()

    # Listeners: each does what SQLAlchemy would do next, and returns True to say that it is done.

    def _on_execute(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        return self._observe("do_execute", cursor, statement, (parameters, context), parameters, context, 1)

    def _on_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any) -> bool | None:
        many = len(parameters)
        return self._observe("do_executemany", cursor, statement, (parameters, context), parameters, context, many)

    def _on_execute_no_params(self, cursor: Any, statement: str, context: Any) -> bool | None:
        return self._observe("do_execute_no_params", cursor, statement, (context,), None, context, 1)

    def _observe(
        self, method: str, cursor: Any, statement: str, rest: tuple[Any, ...], parameters: Any, context: Any, many: int
    ) -> bool | None:
        if context is None:  # SQLAlchemy may execute without one, and then nothing tells which database it is
            return None
        dialect = context.dialect
        try:
            above = get_current()
            if above.get(SUPPRESS):
                return None
            if self._telemetry.idle and self._is_unheard(context):
                return None
            if orphans.waiting:
                self._settle()
            database = self._databases.get(id(dialect)) or self._adopt(context)
            if database is None:
                return None
            execution = self._begin(database, above, statement, parameters, context, many)
            if self._plain:
                sql, last = statement, self._silence.last
                below = last[1] if last[0] is above else self._silence.below(above)
            else:
                sql, below = self._prepare(execution, method, statement, dialect)
            token = attach(below)
        except Exception as error:
            guard.fault("queries.begin", error)
            return None
        started = perf_counter_ns()
        try:
            if len(getattr(dialect.dispatch, method)) == 1 or not self._others_handle(
                method, dialect, (cursor, sql, *rest)
            ):
                getattr(dialect, method)(cursor, sql, *rest)
        except BaseException as error:
            took = perf_counter_ns() - started
            context_api.detach(token)
            self.record(execution, took, -1, error)
            self._let_go(execution, context)
            raise
        took = perf_counter_ns() - started
        context_api.detach(token)
        try:
            rows = self._rows_of(database, execution, took, cursor, context, many, below)
        except Exception as error:
            guard.fault("queries.finish", error)
            rows = -1
        if rows is not None:
            self.record(execution, took, rows, None)
        elif execution.official is not None or context.cursor_fetch_strategy.ahead:
            self._leave_counting(execution, cursor, context)
        return True

    def _is_unheard(self, context: Any) -> bool:
        """Whether observing an execution would be for nobody: no provider, no official span, no comment to write."""
        return (
            not self._config.sqlcommenter
            and getattr(context, official.MARK, None) is None
            and self._telemetry.sinks() == (None, None)
        )

    def _leave_counting(self, execution: Execution, cursor: Any, context: Any) -> None:
        """Do what is due now of a query that is recorded when its rows have been fetched."""
        if context.cursor_fetch_strategy.ahead:
            try:
                context.cursor_fetch_strategy.fetch_first(cursor)
            except BaseException:
                self._let_go(execution, context)
                raise
        if execution.official is not None:  # it ends before the rows are fetched
            try:
                instruments, query = self._telemetry.instruments(), execution.query
                if instruments is not None:
                    series = query.series_of(None, query.cost.admitted)
                    self._flag(execution, instruments.operation, series, execution.took)
                official.enrich(execution.official, {**execution.query.attributes, **execution.late})
            except Exception as error:
                guard.fault("queries.record", error)

    def _let_go(self, execution: Execution, context: Any) -> None:
        """Take an official span that ended with an error away from its maker."""
        try:
            if execution.official is not None:
                official.let_go(execution.official, context)
        except Exception as error:
            guard.fault("queries.record", error)

    def _rows_of(
        self, database: Database, execution: Execution, took: int, cursor: Any, context: Any, many: int, below: Context
    ) -> int | None:
        """How many rows there are, -1 where that is not known, ``None`` where they are going to be counted."""
        query = execution.query
        streams = context._is_server_side
        if query.returns_rows is None and not streams:  # a server-side cursor may not know before its first fetch
            query.returns_rows = cursor.description is not None
        if not streams:
            if not query.returns_rows:
                return -1
            if database.knows_rowcount:
                rows = cursor.rowcount
                return rows if type(rows) is int else -1  # a cursor of the application's own may say anything
        if many > 1 or query.batch_size:
            return -1
        within = below if database.traced_fetch or not self._config.suppress_nested else None
        execution.took = took
        return None if count_rows(context, execution.fetched, within) else -1

    def _begin(
        self, database: Database, above: Context, statement: str, parameters: Any, context: Any, many: int
    ) -> Execution:
        kept = database.batch if many > 1 else database.single if parameters else database.literal
        query = kept.get(statement)
        if query is None:
            query = self._learn(database, kept, statement, parameters, context, many)
        execution = Execution(
            self, query, above, getattr(context, official.MARK, None) and official.query_span(context)
        )
        query.calls = calls = query.calls + 1
        if self._caller and (calls & (calls - 1) == 0 or self._caller == 2):
            execution.late.update(caller() or {})
        if many > 1 or query.batch_size:
            execution.late[semconv.DB_OPERATION_BATCH_SIZE] = query.batch_size or many
        else:
            self._look_closer(execution, statement, parameters, context)
        return execution

    def _look_closer(self, execution: Execution, statement: str, parameters: Any, context: Any) -> None:
        """What tells a single query from others of its kind."""
        query = execution.query
        if self._hashes and query.returns_rows is not False:
            execution.asked = (statement, parameters)
            if query.see is None:  # nobody knows which queries come again
                execution.told()
                execution.look_closer()
        relationship = relationship_of(context)
        if relationship is not None:
            execution.late[semconv.RELATIONSHIP] = relationship
        if self._config.query_parameters and parameters:
            execution.late.update(_shown(parameters))
        if self._sample is not None and parameters:
            self._sample(execution.query.attributes[semconv.FINGERPRINT], parameters, statement)

    def _learn(
        self, database: Database, kept: dict[str, Query], statement: str, parameters: Any, context: Any, many: int
    ) -> Query:
        compiled = context.compiled
        style = getattr(getattr(context, "execute_style", None), "name", "")
        query = database.learn(
            kept,
            statement,
            literal=not parameters or bool(getattr(compiled, "literal_execute_params", None)),
            batch=many > 1,
            insert_many=style == "INSERTMANYVALUES",
        )
        if self._judge is not None:
            query.see = self._judge(query.attributes)
        return query

    def _prepare(self, execution: Execution, method: str, statement: str, dialect: Any) -> tuple[str, Context]:
        """The text to execute and the context to execute it in."""
        below = execution.context
        if execution.official is not None:
            below = trace.set_span_in_context(execution.official, below)
        elif self._live:
            writer = self._telemetry.spans()
            if writer is not None:
                execution.span = span = writer.tracer.start_span(
                    execution.query.name,
                    below,
                    SpanKind.CLIENT,
                    execution.query.attributes,
                    start_time=execution.start,
                )
                below = trace.set_span_in_context(span, below)
        if self._config.sqlcommenter:
            formatted = dialect.paramstyle in ("format", "pyformat") and method != "do_execute_no_params"
            statement = sqlcomment.comment(statement, sqlcomment.tags_of(below, self._tags), formatted=formatted)
        return statement, self._silence.below(below) if self._config.suppress_nested else below

    def _others_handle(self, method: str, dialect: Any, args: tuple[Any, ...]) -> bool:
        """Ask the listeners that come after ours, as SQLAlchemy would have done."""
        listeners = iter(getattr(dialect.dispatch, method))
        ours = self._listeners[method]
        for listener in listeners:
            if listener == ours:
                break
        return any(listener(*args) for listener in listeners)

    def record(self, execution: Execution, took: int, rows: int, error: BaseException | None) -> None:
        """Write the span and measure; ``rows`` is -1 where their number is not known. Never raises."""
        try:
            query, late = execution.query, execution.late
            kind = description = None
            if rows >= 0:
                late[semconv.DB_RESPONSE_RETURNED_ROWS] = rows
            if error is not None:
                kind, description = _describe(error, late)
            if query.see is not None:
                execution.rows = rows
                flags = query.see(took, error is not None, execution.context, execution)
                if flags is not None:
                    late.update(flags)
                    if semconv.SLOW in flags:
                        self.name_caller(late)
            end = execution.start + took
            seconds = took * 1e-9
            writer, instruments = self._telemetry.sinks()
            if not self._spans or execution.official is not None or execution.span is not None:
                writer = None
            series = query.series
            choose: Callable[[], object] | None = None
            if instruments is not None:
                cost = query.cost
                cost.total += took
                admitted = cost.admitted or (cost.total > cost.next_look and self._budget.promote(cost))
                if kind is not None or not admitted:
                    series = query.series_of(kind, admitted)
                if writer is None:
                    self._flag(execution, instruments.operation, series, took)
                elif instruments.operation.may_choose(series, seconds, end):
                    choose = partial(instruments.operation.choose, late, series, seconds, end)
            if writer is not None:
                span_context = writer.write(
                    query.name,
                    SpanKind.CLIENT,
                    query.attributes,
                    late,
                    execution.start,
                    end,
                    execution.context,
                    description,
                    choose,
                )
            else:
                span_context = self._finish_span(execution, end, description)
            if instruments is not None:
                measured = (seconds, rows if rows >= 0 else None)
                instruments.operation.record(series, measured, span_context, end, semconv.EXEMPLAR in late)
        except Exception as fault:
            guard.fault("queries.record", fault)

    def _flag(self, execution: Execution, durations: BufferedHistograms, series: Series, took: int) -> None:
        """Have a span that is there say that it is an exemplar, if it is to be one and can."""
        if semconv.EXEMPLAR not in execution.late and spans.takes_flag(execution.open_span()):
            durations.choose(execution.late, series, took * 1e-9, execution.start + took)

    def name_caller(self, late: dict[str, Any]) -> None:
        """Put the caller on the span of a query that is slow or in a loop, if this is still its caller's stack."""
        if self._caller and semconv.CODE_FUNCTION_NAME not in late and get_ident() not in self._settling:
            late.update(caller() or {})

    def _settle(self) -> None:
        """Tell of results that were left unread: the stack is of another query meanwhile."""
        self._settling.add(get_ident())
        try:
            orphans.settle()
        finally:
            self._settling.discard(get_ident())

    def _finish_span(self, execution: Execution, end: int, description: str | None) -> SpanContext:
        """Tell a span that was there while the query ran how it ended."""
        span = execution.open_span()
        if span is execution.official:
            official.enrich(span, {**execution.query.attributes, **execution.late})
            if description is not None:
                official.fail(span, description)
        elif span is execution.span:
            return spans.finish(span, execution.late, end, description)
        elif semconv.EXEMPLAR in execution.late:
            span.set_attribute(semconv.EXEMPLAR, True)
        return span.get_span_context()

    def _adopt(self, context: Any) -> Database | None:
        """Get to know the database of an execution, if it is to be watched."""
        dialect = context.dialect
        key = id(dialect)
        if key in self._passed_over:
            return None
        with self._lock:
            known = self._databases.get(key)
            if known is not None:
                return known
            weakref.finalize(dialect, self._forget, key).atexit = False
            if dialect not in self._scope:
                self._passed_over.add(key)
                return None
            connection = getattr(context.root_connection, "connection", None)
            raw = getattr(connection, "dbapi_connection", None) or getattr(connection, "connection", None) or connection
            database = Database(dialect, endpoint_of(context.engine, raw), self._config, self._budget, self._remember)
            self._databases[key] = database
            if self._met is not None:
                self._met(context.engine)
            if self._config.suppress_nested:
                housekeeping.quieten(dialect)
            return database

    def _forget(self, key: int) -> None:
        self._databases.pop(key, None)
        self._passed_over.discard(key)

    def forget_unwatched(self) -> None:
        """Look again at dialects that were passed over: the scope has grown."""
        self._passed_over.clear()

    def _remember(self, statement: Statement) -> None:
        if len(self._info) < 4 * self._config.max_fingerprints:
            self._info.setdefault(statement.fingerprint, statement)

    def counted(self) -> list[Counted]:
        """What has been asked so far, one item for each statement that is remembered; nanoseconds need a meter."""
        found = []
        for database in list(self._databases.values()):
            for kept in (database.single, database.literal, database.batch):
                for sql, query in list(kept.items()):
                    get = query.attributes.get
                    text = str(get(semconv.DB_QUERY_TEXT, "")) if kept is database.literal else sql
                    namespace, system = str(get(semconv.DB_NAMESPACE, "")), str(get(semconv.DB_SYSTEM_NAME, ""))
                    fingerprint = str(get(semconv.FINGERPRINT, ""))
                    found.append(Counted(namespace, system, fingerprint, text, query.calls, query.cost.total))
        return found

    def _observe_info(self) -> Iterable[Observation]:
        if not self._config.query_info:
            return
        for fingerprint, statement in list(self._info.items()):
            if self._budget.admits(fingerprint):
                yield Observation(
                    1,
                    {
                        semconv.FINGERPRINT: fingerprint,
                        semconv.DB_QUERY_SUMMARY: statement.summary,
                        semconv.DB_QUERY_TEXT: statement.text[: semconv.MAX_INFO_TEXT],
                    },
                )


def _describe(error: BaseException, late: dict[str, Any]) -> tuple[str, str]:
    """``error.type`` and the status description of an error, whose code joins the attributes."""
    root = errors.root_of(error)
    kind = late[semconv.ERROR_TYPE] = errors.error_type(root)
    code = errors.status_code(root)
    if code is not None:
        late[semconv.DB_RESPONSE_STATUS_CODE] = code
    return kind, errors.description(root)


def _somebody_listens() -> bool:
    """Whether a dialect event has a listener for all engines."""
    dispatch: Any = DefaultDialect().dispatch
    return any(len(getattr(dispatch, name)) for name in dispatch._event_names)


def _shown(parameters: Any) -> dict[str, str]:
    """``db.query.parameter.<key>`` for the first parameters of a statement."""
    items = parameters.items() if hasattr(parameters, "items") else enumerate(parameters)
    shown: dict[str, str] = {}
    for key, value in items:
        if len(shown) == MOST_PARAMETERS:
            break
        shown[f"{semconv.DB_QUERY_PARAMETER}.{key}"] = str(value)[:MOST_PARAMETER_CHARACTERS]
    return shown
