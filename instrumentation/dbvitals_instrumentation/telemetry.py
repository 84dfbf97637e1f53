"""The tracer and the instruments that everything observed goes to, built once per provider.

Without providers of their own, the plugs follow the global ones, whenever those are set: absent ones cost a look.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from opentelemetry import context as context_api
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeter, NoOpMeterProvider, Observation
from opentelemetry.trace import TracerProvider

from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.counter import BufferedCounter
from dbvitals_instrumentation.histogram import BufferedHistograms, Spec
from dbvitals_instrumentation.spans import SpanWriter, span_writer

_runtime: Any = getattr(context_api, "_RUNTIME_CONTEXT", context_api)
get_current: Callable[[], Context] = _runtime.get_current
attach: Callable[[Context], Any] = _runtime.attach
"""OpenTelemetry's functions of these names without the detour that each takes; ``detach`` is its own, which never
raises."""

Source = Callable[[], Iterable[Observation]]

SUPPRESS = context_api._SUPPRESS_INSTRUMENTATION_KEY
"""OpenTelemetry's own key: where a context holds it, instrumentations keep silent."""


class Instruments:
    """Every metric of the contract on one meter.

    An instrument lives as long as its provider, so plugs that come and go add and remove *sources*: functions
    that the observable instruments ask at each collection.
    """

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter(semconv.SCOPE, schema_url=semconv.SCHEMA_URL)
        self.sources: dict[str, list[Source]] = {}
        # First, so that what waits in the histograms is merged before anything is collected.
        meter.create_observable_counter(
            semconv.FAULTS, [self._flush_then_faults], semconv.FAULT_UNIT, "Faults of dbvitals that it kept to itself."
        )
        seconds, buckets = semconv.SECONDS, semconv.DURATION_BUCKETS
        self.operation = BufferedHistograms(
            meter,
            Spec(semconv.OPERATION_DURATION, seconds, "Duration of database client operations.", buckets),
            Spec(semconv.RETURNED_ROWS, semconv.ROWS, "Rows that an operation returned.", semconv.ROW_BUCKETS),
        )
        self.create_time = BufferedHistograms(
            meter, Spec(semconv.CONNECTION_CREATE_TIME, seconds, "Time to create a new connection.", buckets)
        )
        self.wait_time = BufferedHistograms(
            meter, Spec(semconv.CONNECTION_WAIT_TIME, seconds, "Time to obtain a connection from the pool.", buckets)
        )
        self.use_time = BufferedHistograms(
            meter,
            Spec(semconv.CONNECTION_USE_TIME, seconds, "Time from borrowing a connection to its return.", buckets),
        )
        self.cache_duration = BufferedHistograms(
            meter, Spec(semconv.CACHE_OPERATION_DURATION, seconds, "Duration of cache operations.", buckets)
        )
        self._buffered = (self.operation, self.create_time, self.wait_time, self.use_time, self.cache_duration)
        self.timeouts = meter.create_counter(
            semconv.CONNECTION_TIMEOUTS, semconv.TIMEOUTS, "Waits for a connection that ended in a time-out."
        )
        self.invalidations = meter.create_counter(
            semconv.CONNECTION_INVALIDATIONS, semconv.INVALIDATIONS, "Connections that were thrown away as broken."
        )
        self.n_plus_one = meter.create_counter(
            semconv.QUERY_N_PLUS_ONE, semconv.OCCURRENCES, "Loops that asked one query after another."
        )
        self.cache_requests = BufferedCounter(
            meter.create_counter(semconv.CACHE_REQUESTS, semconv.REQUESTS, "Reads of a cache by their result.")
        )
        for name, unit, text in (
            (semconv.CONNECTION_COUNT, semconv.CONNECTIONS, "Connections by state."),
            (semconv.CONNECTION_MAX, semconv.CONNECTIONS, "Most connections that the pool may open."),
            (semconv.CONNECTION_IDLE_MAX, semconv.CONNECTIONS, "Most idle connections that the pool keeps."),
            (semconv.CONNECTION_IDLE_MIN, semconv.CONNECTIONS, "Fewest idle connections that the pool keeps."),
            (semconv.CONNECTION_PENDING_REQUESTS, semconv.REQUESTS, "Requests that wait for a connection."),
        ):
            meter.create_observable_up_down_counter(name, [self._asker(name)], unit, text)
        meter.create_observable_gauge(
            semconv.QUERY_INFO, [self._asker(semconv.QUERY_INFO)], semconv.QUERIES, "The query behind a fingerprint."
        )
        for name, unit, text in (
            (semconv.INDEX_HINT_SAVING, semconv.SECONDS_PER_HOUR, "Database time that an index would save in an hour."),
            (semconv.INDEX_HINT_FIRST_SEEN, semconv.SECONDS, "When an index was first advised, as Unix time."),
        ):
            meter.create_observable_gauge(name, [self._asker(name)], unit, text)
        _all_instruments.add(self)

    def flush(self) -> None:
        """Merge every measurement that waits."""
        for histograms in self._buffered:
            histograms.flush()
        self.cache_requests.flush()

    def clear(self) -> None:
        """Drop every measurement that waits (in a forked child, which reports its own)."""
        for histograms in self._buffered:
            histograms.clear()
        self.cache_requests.clear()

    def _flush_then_faults(self, _options: CallbackOptions) -> Iterable[Observation]:
        try:
            self.flush()
        except Exception as error:
            guard.fault("telemetry.flush", error)
        return [Observation(count, {semconv.SITE: site}) for site, count in guard.faults().items()]

    def _asker(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        sources = self.sources.setdefault(name, [])

        def ask(_options: CallbackOptions) -> Iterable[Observation]:
            observations: list[Observation] = []
            for source in list(sources):
                try:
                    observations.extend(source())
                except Exception as error:
                    guard.fault("telemetry.source", error)
            return observations

        return ask


class Telemetry:
    """Where observations go: the given providers, or the global ones as they are at that moment.

    Args:
        met: is told of each provider that is used, before it is; must not raise.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        met: Callable[[TracerProvider | MeterProvider], None] | None = None,
    ) -> None:
        self._met = met
        self._own_tracer_provider = tracer_provider
        self._own_meter_provider = meter_provider
        self._tracer_provider: TracerProvider | None = None
        self._meter_provider: MeterProvider | None = None
        self._spans: SpanWriter | None = None
        self._instruments: Instruments | None = None
        self.idle = True
        """Whether nobody listened when this was last looked at; :meth:`sinks` looks again."""
        self._sources: list[tuple[str, Source]] = []
        self._connected: list[Source] = []

    def spans(self) -> SpanWriter | None:
        """The writer for spans, ``None`` while nobody would see them."""
        provider = self._own_tracer_provider or trace.get_tracer_provider()
        if provider is not self._tracer_provider:
            if self._met is not None:
                self._met(provider)
            self._spans = span_writer(provider)
            self._tracer_provider = provider
            self.idle = self._spans is None and self._instruments is None
        return self._spans

    def instruments(self) -> Instruments | None:
        """The instruments, ``None`` while there is no meter provider."""
        provider = self._own_meter_provider or metrics.get_meter_provider()
        if provider is not self._meter_provider:
            if self._met is not None:
                self._met(provider)
            self._connect_sources(_instruments_of(provider))
            self._meter_provider = provider
            self.idle = self._spans is None and self._instruments is None
        return self._instruments

    @property
    def meter_provider(self) -> MeterProvider | None:
        """The provider that :meth:`instruments` last looked at."""
        return self._meter_provider

    def sinks(self) -> tuple[SpanWriter | None, Instruments | None]:
        """Both at once: one call fewer where every query asks."""
        tracer_provider = self._own_tracer_provider or trace.get_tracer_provider()
        meter_provider = self._own_meter_provider or metrics.get_meter_provider()
        if tracer_provider is self._tracer_provider and meter_provider is self._meter_provider:
            return self._spans, self._instruments
        return self.spans(), self.instruments()

    def add_source(self, name: str, source: Source) -> None:
        """Let ``source`` answer for the observable instrument ``name`` from now on."""
        self._sources.append((name, source))
        self._meter_provider = None
        self.instruments()

    def close(self) -> None:
        """Take the sources back; what waits is merged, so that nothing measured is lost."""
        if self._instruments is not None:
            self._instruments.flush()
        self._sources.clear()
        self._connect_sources(None)
        self._own_meter_provider = self._own_tracer_provider = None

    def _connect_sources(self, instruments: Instruments | None) -> None:
        if self._instruments is not None:
            for sources in self._instruments.sources.values():
                sources[:] = [source for source in sources if source not in self._connected]
        self._connected = [source for _, source in self._sources]
        self._instruments = instruments
        if instruments is not None:
            for name, source in self._sources:
                instruments.sources[name].append(source)


_instruments: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()
_all_instruments: WeakSet[Instruments] = WeakSet()


def _instruments_of(provider: MeterProvider) -> Instruments | None:
    if isinstance(provider, NoOpMeterProvider) or type(provider).__name__ == "_ProxyMeterProvider":
        return None
    known = _instruments.get(provider)
    if known is None:
        if isinstance(provider.get_meter(semconv.SCOPE), NoOpMeter):
            return None
        known = _instruments[provider] = Instruments(provider)
    return known


class Silence:
    """Makes a context in which other instrumentations keep silent; remembers the last one, as loops ask for it."""

    def __init__(self) -> None:
        self.last: tuple[Context | None, Context] = (None, Context())

    def below(self, context: Context) -> Context:
        """``context`` with OpenTelemetry's suppression key set."""
        last = self.last
        if last[0] is context:
            return last[1]
        silent = context_api.set_value(SUPPRESS, True, context)
        self.last = (context, silent)
        return silent


def _after_fork() -> None:
    guard.reset()
    for instruments in list(_all_instruments):
        instruments.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
