"""Histograms that cost the caller one append: measurements wait with their series and are merged at collection.

The SDK's ``Histogram.record`` cleans and hashes the attributes of every measurement. Here the first measurement of a
series goes through the plain API, which makes its aggregations (one for each reader and view); later ones wait, and
``flush``, called by an observable instrument at each collection, adds them to those same aggregations under their own
locks. So views, temporality, exemplars and every reader see what the API would have given them. Histograms whose
provider is not the SDK's use the API for each measurement.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.trace import SpanContext
from opentelemetry.util.types import Attributes

from dbvitals_instrumentation import spans

MOST_WAITING = 256
"""Measurements that may wait in one series; the caller that adds one more merges them, so memory is bounded."""

Waiting = tuple["SpanContext | None", int, tuple["float | None", ...]]
Measured = tuple[float, "SpanContext | None", int]


class Series:
    """One attribute set, and the measurements under it that wait."""

    __slots__ = ("__weakref__", "attributes", "ready", "targets", "waiting")

    def __init__(self, attributes: dict[str, Any]) -> None:
        self.attributes: Attributes = attributes
        self.waiting: deque[Waiting] = deque()
        self.ready: BufferedHistograms | None = None  # whose measurements may wait here
        self.targets: Targets | None = None


@dataclass(frozen=True)
class Targets:
    """The SDK's aggregations of one series, for each histogram, as long as the provider's readers stay the same."""

    storages: object
    aggregations: tuple[tuple[Any, ...] | None, ...]  # None: not made yet


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

    def record(self, series: Series, values: tuple[float | None, ...], span: SpanContext | None, time: int) -> None:
        """Measure one value for each histogram (``None`` for none) at ``time`` (Unix, ns) under ``span``."""
        if series.ready is self:
            waiting = series.waiting
            waiting.append((span, time, values))
            if len(waiting) > MOST_WAITING:
                self._merge(series)
        elif self._sdk is None:
            self._record_now(series, values, span)
        else:
            series.targets = None
            series.waiting.clear()
            series.ready = self
            self._series.add(series)
            series.waiting.append((span, time, values))
            self._merge(series)  # at once, so that the series begins when its first measurement was made

    def flush(self) -> None:
        """Merge what waits into the SDK's aggregations."""
        for series in list(self._series):
            if series.waiting:
                self._merge(series)

    def clear(self) -> None:
        """Drop what waits: in a child process it is the parent's to report."""
        for series in list(self._series):
            series.waiting.clear()

    def _record_now(self, series: Series, values: tuple[float | None, ...], span: SpanContext | None) -> None:
        for instrument, value in zip(self._instruments, values, strict=True):
            if value is not None:
                _record(instrument, value, series.attributes, span)

    def _merge(self, series: Series) -> None:
        measured: list[list[Measured]] = [[] for _ in self._instruments]
        waiting = series.waiting
        for _ in range(len(waiting)):
            try:
                span, time, values = waiting.popleft()
            except IndexError:  # another thread merges too
                break
            for group, value in zip(measured, values, strict=True):
                if value is not None:
                    group.append((value, span, time))
        targets = series.targets
        if targets is None or targets.storages is not self._sdk._reader_storages:  # a reader came or went
            targets = Targets(self._sdk._reader_storages, (None,) * len(self._instruments))
        found: list[tuple[Any, ...] | None] = []
        for instrument, aggregations, group in zip(self._instruments, targets.aggregations, measured, strict=True):
            if group and aggregations is None:
                value, span, _ = group.pop(0)
                _record(instrument, value, series.attributes, span)
                aggregations = self._locate(instrument, series.attributes)
                if aggregations is None:  # an SDK that keeps them elsewhere
                    for value, span, _ in group:
                        _record(instrument, value, series.attributes, span)
                    group.clear()
            for aggregation in aggregations or ():
                if group:
                    self._add(instrument, aggregation, series.attributes, group)
            found.append(aggregations)
        series.targets = Targets(targets.storages, tuple(found))

    def _locate(self, instrument: Histogram, attributes: Attributes) -> tuple[Any, ...] | None:
        aggregations: list[Any] = []
        for storage in list(self._sdk._reader_storages.values()):
            for match in storage._get_or_init_view_instrument_match(instrument):
                aggregation = match._attributes_aggregation.get(_key(match, attributes))
                if aggregation is None:
                    return None
                if type(aggregation).__name__ != "_DropAggregation":
                    aggregations.append(aggregation)
        return tuple(aggregations)

    def _add(self, instrument: Any, aggregation: Any, attributes: Attributes, group: list[Measured]) -> None:
        sampled = self._sdk._sdk_config.exemplar_filter.should_sample
        if hasattr(aggregation, "_get_empty_bucket_counts"):
            _add_to_buckets(aggregation, attributes, group, sampled)
            return
        from opentelemetry.sdk.metrics._internal.measurement import Measurement

        for value, span, time in group:  # an exponential histogram, a sum: as the API would
            context = spans.current(span) if span is not None else Context()
            measurement = Measurement(value, time, instrument, context, attributes)
            aggregation.aggregate(measurement, sampled(value, time, attributes, context))


def _add_to_buckets(aggregation: Any, attributes: Attributes, group: list[Measured], sampled: Any) -> None:
    """Into an explicit-bucket histogram, whose exemplar reservoir keeps the last measurement of each bucket."""
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
    for value, span, time in dict(zip(buckets, group, strict=True)).values():
        if span is not None:
            context = spans.current(span)
            if sampled(value, time, attributes, context):
                reservoir.offer(value, time, attributes, context)


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


def _consumer_of(instrument: object) -> object | None:
    """The SDK's measurement consumer behind an instrument, if it is the SDK's and looks as we know it."""
    if not type(instrument).__module__.startswith("opentelemetry.sdk.metrics"):
        return None
    consumer = getattr(instrument, "_measurement_consumer", None)
    known = hasattr(consumer, "_reader_storages") and hasattr(getattr(consumer, "_sdk_config", None), "exemplar_filter")
    return consumer if known else None


def _key(match: Any, attributes: Attributes) -> object:
    """The key under which a view keeps the aggregation of these attributes, in today's and yesterday's SDK."""
    own = dict(attributes or {})
    keys = match._view._attribute_keys
    if keys is not None:
        own = {key: value for key, value in own.items() if key in keys}
    return _hash_attributes(own) if _hash_attributes is not None else frozenset(own.items())


_hash_attributes: Any
try:
    from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes
except ImportError:
    _hash_attributes = None
