"""Each checkout from a connection pool becomes a span, a wait and a use time; each pool answers for its connections.

``Engine.raw_connection`` is wrapped, since no event of SQLAlchemy tells when a checkout begins; what happens later is
heard from pool and dialect events. Numbers of connections are read from the pool when they are collected, so they
cannot drift away from ``pool.status()``. A pool that ``Engine.dispose`` makes anew keeps the old one's name.

Each name is a metric series for the life of the process, so there are only so many: a name is given again when its pool
is gone, pools that keep no connections (``NullPool``) share one, and so do those beyond ``MOST_NAMES``. What pools of
one name tell is added up.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterable
from time import perf_counter_ns, time_ns
from typing import Any, NamedTuple

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import Observation
from opentelemetry.trace import SpanContext, SpanKind
from sqlalchemy import event, exc
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from dbvitals_instrumentation import errors, fork, guard, housekeeping, semconv
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.endpoint import endpoint_of
from dbvitals_instrumentation.histogram import BufferedHistograms, Series
from dbvitals_instrumentation.scope import Scope
from dbvitals_instrumentation.spans import SpanWriter
from dbvitals_instrumentation.telemetry import SUPPRESS, Telemetry

LONG_HOLD = 100_000_000
"""Nanoseconds from which on a connection that was out gets a span of its own: shorter holds starve nobody."""

MOST_CONNECTING = 10_000
MOST_NAMES = 32
"""Names that the pools of one server have, beside the one that all further pools share."""

_ENGINE: Any = Engine  # whose method is replaced


class Named:
    """What pools of the same name share: their series, which outlive each of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attributes = {semconv.POOL_NAME: name}
        self.wait, self.create, self.use = (Series(self.attributes) for _ in range(3))


class Hold(NamedTuple):
    """A connection that is out: since when, by the clock that only goes on and in Unix time, and in which context."""

    ticks: int
    since: int
    above: Context


class Pool:
    """What is known of one pool, beside what it knows itself."""

    def __init__(self, pool: Any, named: Named) -> None:
        self.name = named.name
        self.span_attributes = named.attributes
        self.wait, self.create, self.use = named.wait, named.create, named.use
        self.keeps = not isinstance(pool, NullPool)  # whether it keeps connections, so that its size tells something
        self.peak = 0  # most connections that were checked out at once
        self.pending: list[None] = []  # append and pop are atomic; its length is the number of requests
        self.checked_out: dict[int, Hold] = {}  # by the id of a connection record
        self.open: set[int] = set()  # ids of connection records that hold a connection
        self.fresh: dict[int, int] = {}  # nanoseconds of connecting (-1: unknown) by the id of a record, till it is out
        self._pool = weakref.ref(pool)

    def replace(self, pool: Any) -> None:
        """Go on with the pool that ``Engine.dispose`` made."""
        self._pool = weakref.ref(pool)

    def gone(self) -> bool:
        """Whether the pool has been garbage collected."""
        return self._pool() is None

    def counts(self) -> tuple[int, int]:
        """Idle and used connections."""
        pool = self._pool()
        if pool is None:
            return 0, 0
        if hasattr(pool, "checkedout") and hasattr(pool, "checkedin"):
            return int(pool.checkedin()), int(pool.checkedout())
        used = len(self.checked_out)
        return max(0, len(self.open) - used), used

    def limits(self) -> tuple[int | None, int | None]:
        """Most connections that may be open, and most that are kept idle; ``None`` for no limit."""
        pool = self._pool()
        size = getattr(pool, "size", None)
        if size is None:
            return _LIMITS.get(type(pool).__name__, (None, None))
        size = size() if callable(size) else size
        overflow = getattr(pool, "_max_overflow", 0)
        if overflow == -1:
            return None, size or None
        return size + overflow, size


_LIMITS: dict[str, tuple[int | None, int | None]] = {
    "NullPool": (None, 0),
    "StaticPool": (1, 1),
    "AssertionPool": (1, 1),
}


class PoolWatch:
    """The wrapper and the listeners, and what they remember of each pool."""

    def __init__(self, telemetry: Telemetry, config: Config, scope: Scope) -> None:
        self._telemetry = telemetry
        self._config = config
        self._scope = scope
        self._spans = config.pool_spans
        self._pools: dict[int, Pool] = {}  # by the id of SQLAlchemy's pool
        self._passed_over: set[int] = set()  # ids of pools that are not to be watched
        self._by_engine: weakref.WeakKeyDictionary[Any, Pool] = weakref.WeakKeyDictionary()  # by dialect
        self._adopted: tuple[Pool, ...] = ()  # some may be gone since; replaced, never changed
        self._named: dict[str, Named] = {}
        self._connecting: dict[int, int] = {}
        self._lock = threading.Lock()
        fork.renew_lock(self)
        self._original: Callable[[Engine], Any] | None = None
        self._listeners: dict[str, Callable[..., None]] = {
            "do_connect": self._on_do_connect,
            "connect": self._on_connect,
            "checkin": self._on_checkin,
            "close": self._on_close,
            "detach": self._on_detach,
            "invalidate": self._on_invalidate,
            "soft_invalidate": self._on_invalidate,
        }

    def install(self) -> None:
        """Begin to watch the pools of every engine, made before or after."""
        original = self._original = Engine.raw_connection
        check_out = self._check_out

        @functools.wraps(original)
        def raw_connection(engine: Engine, *args: Any, **kwargs: Any) -> Any:
            return check_out(original, engine, *args, **kwargs)

        self._wrapper = raw_connection
        _ENGINE.raw_connection = raw_connection
        for name, listener in self._listeners.items():
            event.listen(Engine, name, listener)
        for name, source in (
            (semconv.CONNECTION_COUNT, self._observe_counts),
            (semconv.CONNECTION_MAX, self._observe_max),
            (semconv.CONNECTION_IDLE_MAX, self._observe_idle_max),
            (semconv.CONNECTION_IDLE_MIN, self._observe_idle_min),
            (semconv.CONNECTION_PENDING_REQUESTS, self._observe_pending),
        ):
            self._telemetry.add_source(name, source)

    def uninstall(self) -> None:
        """Leave everything as it was found."""
        if self._original is not None and Engine.raw_connection is self._wrapper:
            _ENGINE.raw_connection = self._original
        for name, listener in self._listeners.items():
            event.remove(Engine, name, listener)
        self._pools.clear()
        self._passed_over.clear()
        self._adopted = ()

    def forget_unwatched(self) -> None:
        """Look again at pools that were passed over: the scope has grown."""
        self._passed_over.clear()

    # --- checkouts ----------------------------------------------------------------------------------------------

    def _check_out(self, original: Callable[..., Any], engine: Engine, *args: Any, **kwargs: Any) -> Any:
        pool = None
        above = context_api.get_current()
        try:
            if not above.get(SUPPRESS):
                pool = self._pools.get(id(engine.pool)) or self._adopt(engine)
        except Exception as error:
            guard.fault("pool.begin", error)
        if pool is None:  # outside the handler: else an error of the application's would name ours as its context
            return original(engine, *args, **kwargs)
        pool.pending.append(None)
        start, started = time_ns(), perf_counter_ns()
        try:
            fairy = original(engine, *args, **kwargs)
        except BaseException as error:
            pool.pending.pop()
            try:
                self._failed(pool, above, start, perf_counter_ns() - started, error)
            except Exception as fault:
                guard.fault("pool.failed", fault)
            raise
        pool.pending.pop()
        ended = perf_counter_ns()
        try:
            self._checked_out(pool, above, start, ended - started, ended, fairy)
        except Exception as fault:
            guard.fault("pool.checked_out", fault)
        return fairy

    def _checked_out(self, pool: Pool, above: Context, start: int, took: int, ended: int, fairy: Any) -> None:
        record = id(fairy._connection_record)
        # A thread's own connection may be handed out again.
        pool.checked_out.setdefault(record, Hold(ended, start + took, above))
        used = len(pool.checked_out)
        if used > pool.peak:
            with self._lock:  # else a thread that was first and is slower would write the smaller number
                pool.peak = max(pool.peak, used)
        connecting = pool.fresh.pop(record, None)
        pool.open.add(record)
        end, seconds = start + took, took * 1e-9
        late: dict[str, Any] = {semconv.POOL_WAIT: seconds, semconv.POOL_NEW_CONNECTION: connecting is not None}
        instruments = self._telemetry.instruments()
        waits: tuple[_Wait, ...] = ()
        if instruments is not None:
            waits = ((instruments.wait_time, pool.wait, seconds),)
            if connecting is not None and connecting >= 0:
                waits = (*waits, (instruments.create_time, pool.create, connecting * 1e-9))
        chosen: list[BufferedHistograms] = []
        choose: Callable[[], object] | None = None
        for times, series, value in waits:
            if times.may_choose(series, value, end):
                choose = functools.partial(_choose, chosen, waits, late, end)
        span_context = self._write_span(self._writer(), pool, above, start, end, late, None, choose)
        for times, series, value in waits:
            times.record(series, (value,), span_context, end, times in chosen)

    def _failed(self, pool: Pool, above: Context, start: int, took: int, error: BaseException) -> None:
        late = {semconv.POOL_WAIT: took * 1e-9, semconv.POOL_NEW_CONNECTION: False}
        self._write_span(self._writer(), pool, above, start, start + took, late, error)
        instruments = self._telemetry.instruments()
        if instruments is not None and isinstance(error, exc.TimeoutError):
            instruments.timeouts.add(1, pool.span_attributes)

    def _writer(self) -> SpanWriter | None:
        return self._telemetry.spans() if self._spans else None

    def _write_span(
        self,
        writer: SpanWriter | None,
        pool: Pool,
        above: Context,
        start: int,
        end: int,
        late: dict[str, Any],
        error: BaseException | None,
        choose: Callable[[], object] | None = None,
    ) -> SpanContext | None:
        if writer is None:
            return None
        description = None
        if error is not None:
            root = errors.root_of(error)
            late[semconv.ERROR_TYPE], description = errors.error_type(root), errors.description(root)
        return writer.write(
            semconv.CHECKOUT_SPAN,
            SpanKind.INTERNAL,
            pool.span_attributes,
            late,
            start,
            end,
            above,
            description,
            choose,
        )

    def _checked_in(self, pool: Pool, hold: Hold, took: int) -> None:
        """Measure a hold; a long one gets a span, where there is a trace in which somebody may ask what it was for."""
        end, seconds = hold.since + took, took * 1e-9
        instruments = self._telemetry.instruments()
        span_context = None
        late: dict[str, Any] = {}
        writer = self._writer() if took >= LONG_HOLD else None
        if writer is not None and trace.get_current_span(hold.above).get_span_context().is_valid:
            choose = None
            if instruments is not None:
                choose = functools.partial(instruments.use_time.choose, late, pool.use, seconds, end)
            kind, since = SpanKind.INTERNAL, hold.since
            span_context = writer.write(
                semconv.HOLD_SPAN, kind, pool.span_attributes, late, since, end, hold.above, None, choose
            )
        if instruments is not None:
            instruments.use_time.record(pool.use, (seconds,), span_context, end, semconv.EXEMPLAR in late)

    def _connected(self, pool: Pool, record: int) -> None:
        """Measure the connecting of a record, where there was no checkout whose span would be its exemplar."""
        took = pool.fresh.pop(record, -1)
        instruments = self._telemetry.instruments()
        if took >= 0 and instruments is not None:
            instruments.create_time.record(pool.create, (took * 1e-9,), None, time_ns())

    # --- pools --------------------------------------------------------------------------------------------------

    def _adopt(self, engine: Engine) -> Pool | None:
        """Get to know the pool of an engine, if it is to be watched."""
        raw = engine.pool
        key = id(raw)
        if key in self._passed_over:
            return None
        with self._lock:
            known = self._pools.get(key)
            if known is not None:
                return known
            weakref.finalize(raw, self._forget, key).atexit = False
            if engine.dialect not in self._scope:
                self._passed_over.add(key)
                return None
            pool = self._by_engine.get(engine.dialect)
            others = [other for other in self._adopted if other is not pool and not other.gone()]
            name = _name(engine, others, pool)
            if pool is not None and pool.name == name:  # after Engine.dispose
                pool.replace(raw)
            else:
                pool = self._by_engine[engine.dialect] = Pool(raw, self._named.setdefault(name, Named(name)))
            self._adopted = (*others, pool)
            self._pools[key] = pool
            if self._config.suppress_nested:
                housekeeping.quieten(engine.dialect)
            return pool

    def _forget(self, key: int) -> None:
        self._pools.pop(key, None)
        self._passed_over.discard(key)

    # --- listeners ----------------------------------------------------------------------------------------------

    def _on_do_connect(self, _dialect: Any, record: Any, _args: Any, _options: Any) -> None:
        # Returns None, so that SQLAlchemy asks the next listener and connects.
        if len(self._connecting) > MOST_CONNECTING:  # those whose connecting failed stay behind
            self._connecting.clear()
        self._connecting[id(record)] = perf_counter_ns()

    def _on_connect(self, _connection: Any, record: Any) -> None:
        try:
            started = self._connecting.pop(id(record), None)
            pool = self._pool_of(record)
            if pool is None:
                return
            self._connected(pool, id(record))  # before, if it was never handed out
            pool.open.add(id(record))
            pool.fresh[id(record)] = -1 if started is None else perf_counter_ns() - started
        except Exception as fault:
            guard.fault("pool.connect", fault)

    def _on_checkin(self, _connection: Any, record: Any) -> None:
        try:
            pool = self._pool_of(record)
            if pool is None:
                return
            hold = pool.checked_out.pop(id(record), None)
            if hold is not None:
                self._checked_in(pool, hold, perf_counter_ns() - hold.ticks)
            self._connected(pool, id(record))
        except Exception as fault:
            guard.fault("pool.checkin", fault)

    def _on_close(self, _connection: Any, record: Any) -> None:
        try:
            pool = self._pool_of(record)
            if pool is not None:
                pool.open.discard(id(record))
                self._connected(pool, id(record))
        except Exception as fault:
            guard.fault("pool.close", fault)

    def _on_detach(self, connection: Any, record: Any) -> None:
        self._on_checkin(connection, record)
        self._on_close(connection, record)

    def _on_invalidate(self, _connection: Any, record: Any, error: BaseException | None) -> None:
        try:
            pool = self._pool_of(record)
            instruments = self._telemetry.instruments()
            if pool is not None and instruments is not None:
                reason = "requested" if error is None else errors.error_type(errors.root_of(error))
                instruments.invalidations.add(1, {semconv.POOL_NAME: pool.name, semconv.REASON: reason})
        except Exception as fault:
            guard.fault("pool.invalidate", fault)

    def _pool_of(self, record: Any) -> Pool | None:
        return self._pools.get(id(record._ConnectionRecord__pool))  # the events of a class do not say which pool

    # --- what the observable instruments ask ------------------------------------------------------------------------

    def _observe_counts(self) -> Iterable[Observation]:
        counts: dict[str, tuple[int, int]] = {}
        for pool in self._living():
            idle, used = pool.counts()
            idle_of_others, used_of_others = counts.get(pool.name, (0, 0))
            counts[pool.name] = idle_of_others + idle, used_of_others + used
        for name, (idle, used) in counts.items():
            yield Observation(idle, {semconv.POOL_NAME: name, semconv.CONNECTION_STATE: semconv.IDLE})
            yield Observation(used, {semconv.POOL_NAME: name, semconv.CONNECTION_STATE: semconv.USED})

    def _observe_max(self) -> Iterable[Observation]:
        return self._added_up(lambda pool: pool.limits()[0] or None)

    def _observe_idle_max(self) -> Iterable[Observation]:
        return self._added_up(lambda pool: pool.limits()[1])

    def _observe_idle_min(self) -> Iterable[Observation]:
        return self._added_up(lambda pool: 0)

    def _observe_pending(self) -> Iterable[Observation]:
        return self._added_up(lambda pool: len(pool.pending))

    def _living(self) -> list[Pool]:
        return [pool for pool in self._adopted if not pool.gone()]

    def _added_up(self, number_of: Callable[[Pool], int | None]) -> list[Observation]:
        """One observation for each name, as a second would take the place of the first; ``None`` leaves none."""
        totals: dict[str, int | None] = {}
        for pool in self._living():
            total, number = totals.get(pool.name, 0), number_of(pool)
            totals[pool.name] = None if total is None or number is None else total + number
        return [Observation(total, {semconv.POOL_NAME: name}) for name, total in totals.items() if total is not None]


_Wait = tuple[BufferedHistograms, Series, float]
"""What was measured of a checkout: seconds, with where they go."""


def _choose(chosen: list[BufferedHistograms], waits: Iterable[_Wait], late: dict[str, Any], end: int) -> None:
    """Have those chosen that are to be exemplars."""
    chosen.extend(times for times, series, value in waits if times.choose(late, series, value, end))


def _name(engine: Engine, others: Iterable[Pool], former: Pool | None) -> str:
    """A name for an engine's pool beside ``others`` that live: the one it had, its own, its server's, or one of those
    with a number. Only pools that keep no connections share one of these: a limit is of no use where they are counted.
    """
    own = getattr(engine.pool, "logging_name", None) or endpoint_of(engine).pool_name()
    keeps = not isinstance(engine.pool, NullPool)
    taken = {other.name for other in others if keeps or other.keeps}
    numbered = (own, *(f"{own}#{number}" for number in range(2, MOST_NAMES + 1)))
    wanted = numbered if former is None else (former.name, *numbered)
    return next((name for name in wanted if name not in taken), f"{own}#{semconv.OTHER}")
