"""Which queries have become slower than they used to be.

Calls are gathered into windows: half a minute and twenty calls at least, so a rare query has long windows, and traffic
changes how often we look, never what we see. What a window says of its query, :mod:`dbvitals_processors.changes`
decides. The first window of a query in a process is cold caches and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log
from statistics import median

from dbvitals_processors.changes import WINDOW, Baseline, Track, Window, limit, step
from dbvitals_processors.sketch import Sketch

MOST_QUERIES = 1000
ENOUGH = 20
"""Calls in a window at least."""
PAUSE = 3 * 3600.0
"""Seconds without calls after which an unfinished window is dropped, if it was much shorter than that."""

Key = tuple[str, str, str]
"""A query: namespace, operation, fingerprint."""
Kept = tuple[Baseline, float | None]
"""What is worth keeping of a query across restarts: its baseline, and since when it is regressed."""


@dataclass(frozen=True, slots=True)
class Regression:
    """A query has become slower: the medians ``before`` and ``after`` in seconds, ``since`` when (Unix time)."""

    namespace: str
    operation: str
    fingerprint: str
    before: float
    after: float
    since: float


class Regressions:
    """The tracks of at most ``most`` queries, those that were called last. Not safe to change from several threads."""

    def __init__(self, most: int = MOST_QUERIES) -> None:
        self._most = most
        self._tracks: dict[Key, Track] = {}
        self._open: dict[Key, tuple[float, float, Sketch | None]] = {}
        self._warm: set[Key] = set()

    def add(self, key: Key, durations: Sketch, now: float) -> Regression | None:
        """Learn what calls of one query took.

        Args:
            now: Unix time in seconds, which may be set back.

        Returns:
            The regression, where these calls proved one.
        """
        since, last, sketch = self._open.pop(key, (now, now, None))
        if sketch is None or now - last > max(PAUSE, 3 * (last - since)):
            since, sketch = now, Sketch()
        sketch.merge(durations)
        calls = sum(sketch.buckets.values())
        if calls < ENOUGH or 0 <= now - since < WINDOW:
            self._open[key] = (since, now, sketch)
            self._forget()
            return None
        if key not in self._warm:
            self._warm.add(key)
            return None
        before = self._tracks.pop(key, None) or Track()
        track = self._tracks[key] = step(before, _window(since, now, calls, sketch))
        self._forget()
        return _regression(key, track) if before.since is None else None

    def limit(self, key: Key) -> int | None:
        """Nanoseconds from which a call of a regressed query is slow, else ``None``; safe to ask from any thread."""
        track = self._tracks.get(key)
        return limit(track) if track is not None else None

    def all(self) -> list[Regression]:
        """The queries that are regressed now."""
        found = (_regression(key, track) for key, track in list(self._tracks.items()))
        return [regression for regression in found if regression is not None]

    def baselines(self) -> dict[Key, Kept]:
        """What is worth keeping across restarts: each baseline, and since when its query is regressed."""
        return {
            key: (track.baseline, track.since)
            for key, track in list(self._tracks.items())
            if track.baseline is not None
        }

    def restore(self, kept: Mapping[Key, Kept]) -> None:
        """Begin with what another process has kept; a query whose baseline is known already keeps its own."""
        for key, (baseline, since) in kept.items():
            if key not in self._tracks:
                self._tracks[key] = Track(baseline, since=since)
        self._forget()

    def _forget(self) -> None:
        while len(self._tracks) > self._most:
            oldest = next(iter(self._tracks))
            del self._tracks[oldest]
            self._warm.discard(oldest)
        while len(self._open) > self._most:
            del self._open[next(iter(self._open))]
        if len(self._warm) > 4 * self._most:
            self._warm.clear()


def _window(start: float, end: float, calls: int, sketch: Sketch) -> Window:
    low, middle, high = (sketch.quantile(share) or 1.0 for share in (0.16, 0.5, 0.84))
    return Window(start, max(start, end), calls, log(middle), (log(high) - log(low)) / 2)


def _regression(key: Key, track: Track) -> Regression | None:
    if track.baseline is None or track.since is None:
        return None
    before = exp(track.baseline.level) * 1e-9
    after = exp(median(window.level for window in track.learnt)) * 1e-9 if track.learnt else before
    return Regression(*key, before, after, track.since)
