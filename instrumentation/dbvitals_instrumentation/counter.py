"""A counter that costs the caller one append: additions wait, and are summed up for the SDK at collection."""

from __future__ import annotations

from collections import deque

from opentelemetry.metrics import Counter

MOST_WAITING = 512
"""Additions that may wait; the caller that makes one more passes them on, so memory is bounded."""


class BufferedCounter:
    """A counter of the API behind a queue; ``flush`` is called by an observable instrument at each collection."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._waiting: deque[tuple[int, dict[str, str]]] = deque()

    def add(self, number: int, attributes: dict[str, str]) -> None:
        """Add ``number``, now or at the next collection."""
        self._waiting.append((number, attributes))
        if len(self._waiting) > MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Pass on what waits, one addition for each attribute set."""
        sums: dict[tuple[tuple[str, str], ...], int] = {}
        for _ in range(len(self._waiting)):
            try:
                number, attributes = self._waiting.popleft()
            except IndexError:  # another thread flushes too
                break
            key = tuple(attributes.items())
            sums[key] = sums.get(key, 0) + number
        for key, number in sums.items():
            self._counter.add(number, dict(key))

    def clear(self) -> None:
        """Drop what waits: in a child process it is the parent's to report."""
        self._waiting.clear()
