"""Totals of pools and caches, from what a meter provider's metrics have grown by.

The differences are made here, so that a forked child can leave its parent's numbers behind; only the shortest and the
longest wait of a child may be its parent's. (A reader with delta temporality would do, but the SDK discards its
aggregations at each collection from 1.45.2 on, and with them what is merged into them directly.)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from operator import sub
from typing import Any

from opentelemetry.sdk.metrics.export import MetricReader, MetricsData

from dbvitals.snapshot import CacheTotals, PoolTotals, Waits
from dbvitals_instrumentation import semconv


class Meters(MetricReader):
    """A reader that adds up; ``pools`` and ``caches`` are as of the last :meth:`look`."""

    def __init__(self) -> None:
        super().__init__()
        self.pools: dict[str, PoolTotals] = {}
        self.caches: dict[tuple[str, str], CacheTotals] = {}
        self._adding = threading.Lock()
        self._before: dict[tuple[str, frozenset[Any]], tuple[float, ...]] = {}  # each series as it was last seen

    def look(self) -> None:
        """Collect; does nothing while the reader is on no provider."""
        if self._collect is not None:
            self.collect()

    def clear(self) -> None:
        """Begin anew from what was last seen; the lock is new, since a fork may have copied it while it was held."""
        self._adding = threading.Lock()
        self.pools, self.caches = {}, {}

    def shutdown(self, timeout_millis: float = 30_000, **_options: Any) -> None:
        """Nothing: the provider can be looked at as before, and the recorder does so when the process ends."""

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
                (grown,) = self._growth(name, attributes, point.value)
                if grown:
                    caches[cache] = caches.get(cache, CacheTotals()) + _reads(attributes, grown)
            elif semconv.POOL_NAME in attributes:
                pool = str(attributes[semconv.POOL_NAME])
                pools[pool] = self._grown(pools.get(pool, PoolTotals()), name, point, attributes)
        self.pools, self.caches = pools, caches

    def _growth(self, name: str, attributes: Mapping[str, Any], *now: Any) -> tuple[Any, ...]:
        """What the numbers of a series have grown by since they were last seen."""
        key = (name, frozenset(attributes.items()))
        before = self._before.get(key, (0,) * len(now))
        self._before[key] = now
        return tuple(map(sub, now, before))

    def _grown(self, pool: PoolTotals, name: str, point: Any, attributes: Mapping[str, Any]) -> PoolTotals:
        """``pool`` with one data point taken in."""
        if name == semconv.CONNECTION_COUNT and attributes.get(semconv.CONNECTION_STATE) == semconv.USED:
            return replace(pool, used=point.value, peak=max(pool.peak, point.value))
        if name == semconv.CONNECTION_MAX:
            return replace(pool, most=point.value)
        if name == semconv.CONNECTION_TIMEOUTS:
            return replace(pool, timeouts=pool.timeouts + self._growth(name, attributes, point.value)[0])
        if name == semconv.CONNECTION_INVALIDATIONS:
            return replace(pool, invalidations=pool.invalidations + self._growth(name, attributes, point.value)[0])
        if name == semconv.CONNECTION_CREATE_TIME:
            return replace(pool, created=pool.created + self._growth(name, attributes, point.count)[0])
        if name == semconv.CONNECTION_WAIT_TIME:
            bounds = tuple(getattr(point, "explicit_bounds", ()))
            buckets = getattr(point, "bucket_counts", (point.count,))  # a view may have made it exponential
            total, *counts = self._growth(name, attributes, point.sum, *buckets)
            extremes = (point.min, point.max) if isfinite(point.min) else (0.0, max(bounds, default=0.0))
            return replace(pool, waits=pool.waits + Waits(bounds, tuple(counts), total, *extremes))
        return pool


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
