"""Each command or pipeline of a redis-py client becomes a span, a duration, and hits and misses of a cache.

The methods that send are replaced on redis-py's classes, so clients made before and after are covered alike, and
``fakeredis``, whose clients are subclasses. What such a method calls in turn (scripts that a pipeline loads, the
nodes of a cluster) belongs to its span. Pub/sub has a connection of its own and is left alone.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from time import perf_counter_ns, time_ns
from typing import Any

import redis.asyncio.client
import redis.asyncio.cluster
import redis.client
import redis.cluster
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, SpanKind

from dbvitals_instrumentation import guard, official, redis_errors, semconv, spans
from dbvitals_instrumentation.cache import CacheCounter
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.histogram import Series
from dbvitals_instrumentation.redis_metrics import RedisMetrics
from dbvitals_instrumentation.redis_pipeline import commands_of, kind_of
from dbvitals_instrumentation.redis_server import Command, Server, pool_of, server_of
from dbvitals_instrumentation.scope import Scope
from dbvitals_instrumentation.telemetry import SUPPRESS, Silence, Telemetry

_INSIDE = context_api.create_key("dbvitals-redis")
"""Set where a command is under way and others are not silenced: what it calls in turn is part of it."""

_UNKNOWN: Any = object()

_SENDERS: tuple[tuple[type, str, bool, bool], ...] = (  # class, method, whether it is async, whether it is a pipeline
    (redis.client.Redis, "execute_command", False, False),
    (redis.client.Pipeline, "immediate_execute_command", False, False),
    (redis.client.Pipeline, "execute", False, True),
    (redis.cluster.RedisCluster, "execute_command", False, False),
    (redis.cluster.ClusterPipeline, "execute", False, True),
    (redis.asyncio.client.Redis, "execute_command", True, False),
    (redis.asyncio.client.Pipeline, "immediate_execute_command", True, False),
    (redis.asyncio.client.Pipeline, "execute", True, True),
    (redis.asyncio.cluster.RedisCluster, "execute_command", True, False),
    (redis.asyncio.cluster.ClusterPipeline, "execute", True, True),
)


class Execution:
    """One command or pipeline that is under way."""

    __slots__ = (
        "above",
        "attributes",
        "batch",
        "below",
        "late",
        "name",
        "official",
        "sent",
        "series",
        "server",
        "span",
        "start",
        "started",
        "token",
    )
    name: str
    attributes: dict[str, Any]
    series: Series
    below: Context
    token: Any

    def __init__(self, server: Server, above: Context, sent: list[tuple[Command, Sequence[Any]]]) -> None:
        self.server = server
        self.above = above
        self.sent = sent
        self.batch = False
        self.late: dict[str, Any] = {}
        self.official = official.current_span_of("redis", above)
        self.span: Span | None = None
        self.start = time_ns()
        self.started = perf_counter_ns()
        if len(sent) == 1:
            command, args = sent[0]
            self.name, self.attributes, self.series = command.name, command.attributes, command.series
            if command.procedure and len(args) > 1:
                self.late[semconv.DB_STORED_PROCEDURE_NAME] = _text(args[1])

    def open_span(self) -> Span:
        """The span that is there while it runs, where none is written afterwards: its own, else its caller's."""
        return self.official or self.span or trace.get_current_span(self.above)


class RedisWatch:
    """The replaced methods, and what they remember of each server."""

    def __init__(self, telemetry: Telemetry, config: Config, scope: Scope, cache: CacheCounter) -> None:
        self._telemetry = telemetry
        self._config = config
        self._scope = scope
        self._cache = cache
        self._servers: dict[int, Server | None] = {}  # by the id of the connection pool
        self._lock = threading.Lock()
        self._silence = Silence()
        self._silent = config.suppress_nested and config.redis_spans
        self._live = config.redis_spans and not config.suppress_nested
        self._metrics = RedisMetrics()
        self._replaced: list[tuple[type, str, Any, Any]] = []
        self._on = False

    def install(self) -> None:
        """Begin to watch every client of the process, made before or after."""
        for owner, name, is_async, is_pipeline in _SENDERS:
            original = vars(owner).get(name)
            if original is not None:
                wrapper = (self._awaited if is_async else self._called)(original, is_pipeline)
                setattr(owner, name, wrapper)
                self._replaced.append((owner, name, original, wrapper))
        self._on = True
        self._follow_provider()

    def uninstall(self) -> None:
        """Leave everything as it was found; a method that somebody has wrapped since only lets calls through."""
        self._on = False
        for owner, name, original, wrapper in self._replaced:
            if vars(owner).get(name) is wrapper:
                setattr(owner, name, original)
        self._replaced.clear()
        self._servers.clear()
        self._metrics.switch_off()

    def forget_unwatched(self) -> None:
        """Look again at clients that were passed over: the scope has grown."""
        with self._lock:
            for key in [key for key, server in self._servers.items() if server is None]:
                del self._servers[key]

    # --- the methods in place of redis-py's ---------------------------------------------------------------------

    def _called(self, original: Callable[..., Any], is_pipeline: bool) -> Callable[..., Any]:
        @functools.wraps(original)
        def send(client: Any, *args: Any, **options: Any) -> Any:
            execution = self._begin(client, args, is_pipeline)
            if execution is None:
                return original(client, *args, **options)
            try:
                response = original(client, *args, **options)
            except BaseException as error:
                self._end(execution, None, error)
                raise
            self._end(execution, response, None)
            return response

        return send

    def _awaited(self, original: Callable[..., Any], is_pipeline: bool) -> Callable[..., Any]:
        @functools.wraps(original)
        async def send(client: Any, *args: Any, **options: Any) -> Any:
            execution = self._begin(client, args, is_pipeline)
            if execution is None:
                return await original(client, *args, **options)
            try:
                response = await original(client, *args, **options)
            except BaseException as error:
                self._end(execution, None, error)
                raise
            self._end(execution, response, None)
            return response

        return send

    # --- what is observed ---------------------------------------------------------------------------------------

    def _begin(self, client: Any, args: Sequence[Any], is_pipeline: bool) -> Execution | None:
        try:
            if not self._on or (self._telemetry.spans() is None and self._telemetry.instruments() is None):
                return None
            above = context_api.get_current()
            if above.get(SUPPRESS) or above.get(_INSIDE):
                return None
            pool = getattr(client, "connection_pool", None) or pool_of(client)
            server: Server | None = self._servers.get(id(pool), _UNKNOWN)
            if server is _UNKNOWN:
                server = self._adopt(client, pool)
            if not server:
                return None
            sent: list[tuple[Command, Sequence[Any]]]
            if is_pipeline:
                sent = [(server.command(each), each) for each in commands_of(client)]
            elif args:
                sent = [(server.command(args), args)]
            else:
                return None
            execution = Execution(server, above, sent)
            execution.batch = is_pipeline
            if len(sent) != 1:
                execution.name, execution.attributes, execution.series = server.batch(
                    kind_of(client), [command for command, _ in sent]
                )
            execution.below = self._silence.below(above) if self._silent else self._inside(execution)
            execution.token = context_api.attach(execution.below)
            return execution
        except Exception as error:
            guard.fault("redis.begin", error)
            return None

    def _inside(self, execution: Execution) -> Context:
        """The context below a command when other instrumentations may speak there."""
        below = context_api.set_value(_INSIDE, True, execution.above)
        writer = self._telemetry.spans() if self._live and execution.official is None else None
        if writer is None:
            return below
        execution.span = writer.tracer.start_span(
            execution.name, execution.above, SpanKind.CLIENT, execution.attributes, start_time=execution.start
        )
        return trace.set_span_in_context(execution.span, below)

    def _end(self, execution: Execution, response: Any, error: BaseException | None) -> None:
        took = perf_counter_ns() - execution.started
        try:
            # A coroutine that is thrown away is closed in whatever context there is then.
            if not isinstance(error, GeneratorExit) or context_api.get_current() is execution.below:
                context_api.detach(execution.token)
            self._record(execution, took, response, error)
        except Exception as fault:
            guard.fault("redis.record", fault)

    def _record(self, execution: Execution, took: int, response: Any, error: BaseException | None) -> None:
        late = execution.late
        answer = error if error is not None else response
        answers = response if execution.batch and error is None else [answer] * len(execution.sent)
        self._count(execution, answers)
        failure, description = error, None
        if error is None and execution.batch:  # errors among the answers, since `raise_on_error` is off
            failure = next((answer for answer in answers if isinstance(answer, Exception)), None)
        if failure is not None:
            late[semconv.ERROR_TYPE] = redis_errors.error_type(failure)
            description = redis_errors.description(failure)
            code = redis_errors.status_code(failure)
            if code is not None:
                late[semconv.DB_RESPONSE_STATUS_CODE] = code
        end, seconds = execution.start + took, took * 1e-9
        instruments = self._telemetry.instruments()
        writer = self._telemetry.spans() if self._config.redis_spans else None
        if execution.official is not None or execution.span is not None:
            writer = None
        choose: Callable[[], object] | None = None
        if instruments is not None and instruments.cache_duration.may_choose(execution.series, seconds, end):
            choose = functools.partial(instruments.cache_duration.choose, late, execution.series, seconds, end)
        span_context = self._write_span(execution, writer, end, description, choose)
        if instruments is not None:
            chosen = semconv.EXEMPLAR in late
            instruments.cache_duration.record(execution.series, (seconds,), span_context, end, chosen)
            self._follow_provider()

    def _count(self, execution: Execution, answers: Sequence[Any]) -> None:
        """Hits and misses of each key that was asked for, also in a pipeline; reads that failed are errors."""
        found = missed = failed = 0
        for (command, args), answer in zip(execution.sent, answers, strict=False):
            read = command.read
            if read is None:
                continue
            if isinstance(answer, BaseException):
                failed += read.keys(args)
                continue
            hits = read.found(answer)
            if hits is not None:
                found += hits
                missed += max(0, read.keys(args) - hits)
        if not (found or missed or failed):
            return
        server, count = execution.server, self._cache.count
        execution.late.update(server.of_cache)
        if found or missed:
            execution.late[semconv.CACHE_HIT] = not missed and not failed
        if found:
            count(server.cache_name, "hit", semconv.REDIS, found)
        if missed:
            count(server.cache_name, "miss", semconv.REDIS, missed)
        if failed:
            count(server.cache_name, "error", semconv.REDIS, failed)

    def _write_span(
        self,
        execution: Execution,
        writer: spans.SpanWriter | None,
        end: int,
        description: str | None,
        choose: Callable[[], object] | None,
    ) -> SpanContext:
        if writer is not None:
            return writer.write(
                execution.name,
                SpanKind.CLIENT,
                execution.attributes,
                execution.late,
                execution.start,
                end,
                execution.above,
                description,
                choose,
            )
        span = execution.open_span()
        if choose is not None and spans.takes_flag(span):
            choose()
        if span is execution.official:
            official.enrich(span, {**execution.attributes, **execution.late})
        elif span is execution.span:
            return spans.finish(span, execution.late, end, description)
        elif semconv.EXEMPLAR in execution.late:
            span.set_attribute(semconv.EXEMPLAR, True)
        return span.get_span_context()

    def _follow_provider(self) -> None:
        if self._on and self._config.redis_metrics and self._telemetry.instruments() is not None:
            self._metrics.follow(self._telemetry.meter_provider)

    def _adopt(self, client: Any, pool: Any) -> Server | None:
        """Get to know the server of a client, if it is to be watched."""
        if pool is None:
            return None
        with self._lock:
            known: Server | None = self._servers.get(id(pool), _UNKNOWN)
            if known is not _UNKNOWN:
                return known
            server = server_of(client, pool, self._config) if pool in self._scope else None
            self._servers[id(pool)] = server
        weakref.finalize(pool, self._servers.pop, id(pool), None).atexit = False
        return server


def _text(argument: Any) -> str:
    text = argument.decode("utf-8", "replace") if isinstance(argument, (bytes, bytearray)) else str(argument)
    return text[: semconv.MAX_SUMMARY]
