"""Histograms that cost the caller one append: measurements wait with their series and are merged at collection.

The SDK's ``Histogram.record`` cleans and hashes the attributes of every measurement. Here measurements wait, and
``flush``, called by an observable instrument at each collection, adds them to the SDK's own aggregations (one for each
reader and view) under the SDK's own locks. So views, temporality and every reader see what the API would have given
them. Histograms whose provider is not the SDK's use the API for each measurement.

Exemplars are chosen before their spans are written (see ``exemplars``), where the SDK takes those of sampled spans, as
it does by default; with the SDK's other filters they are what the API would have given.
"""

from __future__ import annotations

import threading
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import SpanContext, TraceFlags
from opentelemetry.util.types import Attributes

from dbvitals_instrumentation import fork, semconv, spans
from dbvitals_instrumentation.exemplars import EXEMPLAR_SECONDS, Keeper, is_by_trace

MOST_WAITING = 64
"""Measurements that may wait in one series; the caller that adds one more merges them, so memory is bounded."""

Waiting = tuple[Any, ...]
"""Time, trace id, span id, trace flags (these are 0 for what is no exemplar), and a value for each histogram. Flat and
of numbers alone, since the garbage collector does not follow such a tuple, and its passes are much of what it costs to
leave objects behind."""

Measured = tuple[float, int, int, int, int]
"""A value, and the time, trace id, span id and trace flags that it was measured with; 0 for no span."""
Matches = tuple[tuple[Any, object], ...]
"""The SDK's matches of an instrument with a reader and a view, and the key of a series in each."""


class Series:
    """One attribute set, and the measurements under it that wait."""

    __slots__ = ("__weakref__", "attributes", "due", "ready", "room", "targets", "waiting")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes: Attributes = attributes
        self.waiting: deque[Waiting] = deque()
        self.ready: BufferedHistograms | None = None  # whose measurements may wait here
        self.targets: Targets | None = None
        self.room = 0  # measurements that may wait: none before the first, so that it begins the series
        self.due: list[int] = []  # when each bucket wants another exemplar, where they are chosen


@dataclass(frozen=True)
class Targets:
    """Where the SDK keeps the aggregations of one series, for each histogram, while the readers stay the same."""

    storages: object
    matches: tuple[Matches, ...]


@dataclass(frozen=True)
class Spec:
    """What a histogram is created with."""

    name: str
    unit: str
    description: str
    buckets: Sequence[float]


class BufferedHistograms:
    """One or more histograms that are measured together, under the same series."""

    def __init__(self, meter: Meter, *specs: Spec) -> None:
        self._instruments = tuple(_create(meter, spec) for spec in specs)
        self._sdk: Any = _consumer_of(self._instruments[0])
        self._series: weakref.WeakSet[Series] = weakref.WeakSet()
        self._boundaries = tuple(specs[0].buckets)
        self._chooses = self._sdk is not None and is_by_trace(self._sdk._sdk_config.exemplar_filter)
        self._keeper = Keeper()
        self._lock = threading.Lock()
        fork.renew_lock(self)

    def may_choose(self, series: Series, value: float, time: int) -> bool:
        """Whether it is of use to ask :meth:`choose`: a quick no for almost all."""
        return self._chooses and (series.ready is not self or series.due[bisect_left(self._boundaries, value)] <= time)

    def choose(self, late: dict[str, Any], series: Series, value: float, time: int) -> bool:
        """Whether a measurement is to be an exemplar of the first histogram; then its span's ``late`` says so.

        To be asked of sampled spans alone, before they are written. Of two at once, one is chosen.
        """
        if not self.may_choose(series, value, time):
            return False
        if series.ready is not self:
            self._take_over(series)
        bucket = bisect_left(self._boundaries, value)
        with self._lock:
            if series.due[bucket] > time:  # another thread was first
                return False
            series.due[bucket] = time + EXEMPLAR_SECONDS * 1_000_000_000
        late[semconv.EXEMPLAR] = True
        return True

    def record(
        self,
        series: Series,
        values: tuple[float | None, ...],
        span: SpanContext | None,
        time: int,
        chosen: bool = False,
    ) -> None:
        """Measure one value for each histogram (``None`` for none) at ``time`` (Unix, ns) under ``span``.

        Args:
            chosen: what :meth:`choose` said of it. Where exemplars are chosen, others have none.
        """
        if series.ready is self:
            waiting = series.waiting
            if span is None or (not chosen and self._chooses):
                waiting.append((time, 0, 0, 0, *values))
            else:
                trace_id, span_id, _, flags, _, _ = span
                waiting.append((time, trace_id, span_id, flags, *values))
            if len(waiting) > series.room:
                self._merge(series)
        elif self._sdk is None:
            self._record_now(series, values, span)
        else:
            self._take_over(series)
            self.record(series, values, span, time, chosen)

    def flush(self) -> None:
        """Merge what waits into the SDK's aggregations."""
        for series in list(self._series):
            if series.waiting:
                self._merge(series)

    def clear(self) -> None:
        """Drop what waits: in a child process it is the parent's to report."""
        self._keeper.clear()
        for series in list(self._series):
            series.waiting.clear()
            series.due = [0] * len(series.due)

    def _take_over(self, series: Series) -> None:
        """Begin to measure a series."""
        with self._lock:
            former = series.ready
            if former is self:  # another thread was first
                return
            if former is not None:  # another provider's, and what waits is its
                former._merge(series)
                former._series.discard(series)
            series.targets = None
            series.room = 0
            series.due = [0] * (len(self._boundaries) + 1)
            series.ready = self
            self._series.add(series)

    def _record_now(self, series: Series, values: tuple[float | None, ...], span: SpanContext | None) -> None:
        for instrument, value in zip(self._instruments, values, strict=True):
            if value is not None:
                _record(instrument, value, series.attributes, span)

    def _merge(self, series: Series) -> None:
        series.room = MOST_WAITING
        measured: list[list[Measured]] = [[] for _ in self._instruments]
        waiting = series.waiting
        for _ in range(len(waiting)):
            try:
                time, trace_id, span_id, flags, *values = waiting.popleft()
            except IndexError:  # another thread merges too
                break
            for group, value in zip(measured, values, strict=True):
                if value is not None:
                    group.append((value, time, trace_id, span_id, flags))
        for number, (instrument, group) in enumerate(zip(self._instruments, measured, strict=True)):
            if group and _is_enabled(instrument):
                for match, key in self._matches(series)[number]:
                    self._feed(instrument, match, key, series.attributes, group)

    def _matches(self, series: Series) -> tuple[Matches, ...]:
        """For each histogram, the readers' and views' places for a series, found anew when readers come or go."""
        storages = self._sdk._reader_storages
        if series.targets is None or series.targets.storages is not storages:
            series.targets = Targets(
                storages,
                tuple(
                    tuple(
                        (match, _key(match, series.attributes))
                        for storage in list(storages.values())
                        for match in storage._get_or_init_view_instrument_match(instrument)
                    )
                    for instrument in self._instruments
                ),
            )
        return series.targets.matches

    def _feed(self, instrument: Any, match: Any, key: object, attributes: Attributes, group: list[Measured]) -> None:
        """Add a group to its aggregation, under the lock that keeps a collection from replacing it meanwhile."""
        sampled = self._sdk._sdk_config.exemplar_filter.should_sample
        while True:
            with match._lock:
                aggregation = match._attributes_aggregation.get(key)
                if hasattr(aggregation, "_get_empty_bucket_counts"):
                    if self._chooses:
                        self._keeper.furnish(match, key, aggregation)
                    if group:
                        _add_to_buckets(aggregation, attributes, group, sampled, self._chooses)
                    return
            if not group:
                return
            # No aggregation yet, or one that is no explicit-bucket histogram: as the API would, one by one.
            value, time, *span = group[0]
            context = _context_of(*span)
            measurement = _measurement(value, time, instrument, context, attributes)
            match.consume_measurement(measurement, sampled(value, time, attributes, context))
            group = group[1:]


def _add_to_buckets(
    aggregation: Any, attributes: Attributes, group: list[Measured], sampled: Any, chosen_only: bool
) -> None:
    """Into an explicit-bucket histogram."""
    boundaries = aggregation._boundaries
    values = [measured[0] for measured in group]
    buckets = [bisect_left(boundaries, value) for value in values]
    with aggregation._lock:
        counts = aggregation._value
        if counts is None:
            counts = aggregation._value = aggregation._get_empty_bucket_counts()
        for bucket in buckets:
            counts[bucket] += 1
        aggregation._sum += sum(values)
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, min(values))
            aggregation._max = max(aggregation._max, max(values))
    reservoir = getattr(aggregation, "_reservoir", None)
    if reservoir is None:
        return
    # It keeps the last of each bucket. The last may be one that was not chosen, which must not hide one that was.
    last = {bucket: each for bucket, each in zip(buckets, group, strict=True) if each[2] or not chosen_only}
    for value, time, *span in last.values():
        context = _context_of(*span)
        if sampled(value, time, attributes, context):
            reservoir.offer(value, time, attributes, context)


def _context_of(trace_id: int, span_id: int, flags: int) -> Context:
    """The context of a measurement: its span, and nothing else."""
    if not trace_id:
        return Context()
    return spans.current(SpanContext(trace_id, span_id, False, TraceFlags(flags)))


def _create(meter: Meter, spec: Spec) -> Histogram:
    try:
        return meter.create_histogram(
            spec.name, spec.unit, spec.description, explicit_bucket_boundaries_advisory=list(spec.buckets)
        )
    except TypeError:  # an API from before the advisory parameter
        return meter.create_histogram(spec.name, spec.unit, spec.description)


def _record(instrument: Histogram, value: float, attributes: Attributes, span: SpanContext | None) -> None:
    try:
        instrument.record(value, attributes, spans.current(span) if span is not None else None)
    except TypeError:  # an API from before the context parameter
        instrument.record(value, attributes)


def _consumer_of(instrument: object) -> Any:
    """The SDK's measurement consumer behind an instrument, if it is the SDK's and looks as we know it."""
    if not type(instrument).__module__.startswith("opentelemetry.sdk.metrics"):
        return None
    consumer: Any = getattr(instrument, "_measurement_consumer", None)
    known = (
        _measurement is not None
        and hasattr(consumer, "_reader_storages")
        and hasattr(getattr(consumer, "_sdk_config", None), "exemplar_filter")
    )
    return consumer if known else None


def _key(match: Any, attributes: Attributes) -> object:
    """The key under which a view keeps the aggregation of these attributes, in today's and yesterday's SDK."""
    own = dict(attributes or {})
    keys = match._view._attribute_keys
    if keys is not None:
        own = {key: value for key, value in own.items() if key in keys}
    return _hash_attributes(own) if _hash_attributes is not None else frozenset(own.items())


def _is_enabled(instrument: Any) -> bool:
    """Whether the meter's configuration lets the instrument measure."""
    config = getattr(instrument, "_meter_config", None)
    return bool(getattr(config, "is_enabled", True))


try:
    from opentelemetry.sdk.metrics._internal import measurement as _sdk_measurement

    _measurement: Any = _sdk_measurement.Measurement
except ImportError:  # the API alone
    _measurement = None
try:
    from opentelemetry.sdk.metrics._internal import _view_instrument_match as _sdk_match

    _hash_attributes: Any = getattr(_sdk_match, "_hash_attributes", None)
except ImportError:
    _hash_attributes = None
