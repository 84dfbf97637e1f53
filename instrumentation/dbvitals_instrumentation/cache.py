"""Hits and misses of any cache, as one counter: for Redis, for dogpile.cache, for a dictionary of one's own."""

from __future__ import annotations

from typing import Literal

from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.telemetry import Telemetry

Result = Literal["hit", "miss", "bypass", "error"]


class CacheCounter:
    """Counts reads of caches by name, result and tier."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def count(self, name: str, result: Result, tier: str, number: int = 1) -> None:
        """Add ``number`` reads; nothing happens while there is no meter provider."""
        try:
            instruments = self._telemetry.instruments()
            if instruments is not None and number:
                attributes = {semconv.CACHE_NAME: name, semconv.CACHE_RESULT: result, semconv.CACHE_TIER: tier}
                instruments.cache_requests.add(number, attributes)
        except Exception as error:
            guard.fault("cache.count", error)
