"""Totals of pools and caches, from what a meter provider's metrics have grown by.

Counters and histograms are asked for as deltas, so that a forked child can leave its parent's numbers behind.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricReader, MetricsData

from dbvitals.snapshot import CacheTotals, PoolTotals, Waits
from dbvitals_instrumentation import guard, semconv


class Meters(MetricReader):
    """A reader that adds up; ``pools`` and ``caches`` are as of the last :meth:`look`."""

    def __init__(self) -> None:
        delta = AggregationTemporality.DELTA
        super().__init__(preferred_temporality={Counter: delta, Histogram: delta})
        self.pools: dict[str, PoolTotals] = {}
        self.caches: dict[tuple[str, str], CacheTotals] = {}
        self._adding = threading.Lock()

    def look(self) -> None:
        """Collect; does nothing while the reader is on no provider."""
        if self._collect is not None:
            self.collect()

    def clear(self) -> None:
        """Forget everything; the lock is made anew, since a fork may have copied it while it was held."""
        self._adding = threading.Lock()
        self.pools, self.caches = {}, {}

    def shutdown(self, timeout_millis: float = 30_000, **_options: Any) -> None:
        """Take in what is left, when the provider shuts down."""
        try:
            self.look()
        except Exception as error:
            guard.fault("meters.shutdown", error)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_options: Any) -> None:
        with self._adding:  # the application may flush its provider at any time
            self._add(metrics_data)

    def _add(self, data: MetricsData) -> None:
        pools = {name: replace(pool, used=0) for name, pool in self.pools.items()}
        caches = dict(self.caches)
        for name, point in _points(data):
            attributes = point.attributes or {}
            if name == semconv.CACHE_REQUESTS:
                cache = (str(attributes.get(semconv.CACHE_NAME, "")), str(attributes.get(semconv.CACHE_TIER, "")))
                caches[cache] = caches.get(cache, CacheTotals()) + _reads(attributes, point.value)
            elif semconv.POOL_NAME in attributes:
                pool = str(attributes[semconv.POOL_NAME])
                pools[pool] = _grown(pools.get(pool, PoolTotals()), name, point, attributes)
        self.pools, self.caches = pools, caches


def _points(data: MetricsData) -> Iterator[tuple[str, Any]]:
    """Name and data point of everything that dbvitals measured."""
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            if scope.scope.name == semconv.SCOPE:
                for metric in scope.metrics:
                    yield from ((metric.name, point) for point in metric.data.data_points)


def _reads(attributes: Any, number: int) -> CacheTotals:
    result = attributes.get(semconv.CACHE_RESULT)
    field = {semconv.HIT: "hits", semconv.MISS: "misses", semconv.BYPASS: "bypasses"}.get(str(result), "errors")
    return CacheTotals(**{field: number})


def _grown(pool: PoolTotals, name: str, point: Any, attributes: Any) -> PoolTotals:
    """``pool`` with one data point taken in."""
    if name == semconv.CONNECTION_COUNT and attributes.get(semconv.CONNECTION_STATE) == semconv.USED:
        return replace(pool, used=point.value, peak=max(pool.peak, point.value))
    if name == semconv.CONNECTION_MAX:
        return replace(pool, most=point.value)
    if name == semconv.CONNECTION_TIMEOUTS:
        return replace(pool, timeouts=pool.timeouts + point.value)
    if name == semconv.CONNECTION_INVALIDATIONS:
        return replace(pool, invalidations=pool.invalidations + point.value)
    if name == semconv.CONNECTION_CREATE_TIME:
        return replace(pool, created=pool.created + point.count)
    if name == semconv.CONNECTION_WAIT_TIME:
        return replace(pool, waits=pool.waits + _waits(point))
    return pool


def _waits(point: Any) -> Waits:
    bounds: Iterable[float] = getattr(point, "explicit_bounds", ())
    counts: Iterable[int] = getattr(point, "bucket_counts", (point.count,))  # a view may have made it exponential
    return Waits(tuple(bounds), tuple(counts), point.sum, point.min, point.max)
