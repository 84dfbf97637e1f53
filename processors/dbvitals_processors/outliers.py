"""From when on a call is an outlier of its own query: streaming quantiles of each query in bounded memory.

Two sketches a query take turns, so that the past is forgotten by and by, and never all at once. The limit is the 99th
percentile, moved away from the median once more by the distance between the two: ``p99 * p99 / p50``. That adapts to
the tail: where durations are log-normal, two in a million calls go beyond it, whatever their spread; in a Pareto tail,
two in ten thousand. A bound at a multiple of the median or of the 99th percentile would be right for one spread alone.
A query whose slow calls are more than one in a hundred has a second habit, not outliers: thresholds are for that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dbvitals_processors.sketch import Sketch

MOST_QUERIES = 1000
WINDOW = 600.0
"""Seconds that a sketch fills before the other's turn, if it has enough by then."""
ENOUGH = 100
"""Calls without which nothing is said of a query: a 99th percentile needs them."""
FLOOR = 10_000_000
"""Nanoseconds below which nothing is an outlier: garbage collection, the GIL and the scheduler take that much."""
LEAST_RATIO = 3.0
"""Times the median that an outlier takes at least."""


@dataclass(slots=True)
class _Habit:
    """What one query's calls took lately."""

    since: float
    now: Sketch = field(default_factory=Sketch)
    before: Sketch = field(default_factory=Sketch)
    count: int = 0  # in `now`
    due: int = ENOUGH  # calls from which the limit is worked out anew
    total: int = 0  # in both
    limit: int | None = None


class Outliers:
    """The limits of at most ``most`` queries, those that were called last. Not safe to change from several threads."""

    def __init__(self, most: int = MOST_QUERIES) -> None:
        self._most = most
        self._habits: dict[object, _Habit] = {}  # the one that was called last is the last

    def add(self, key: object, durations: Sketch, now: float) -> int | None:
        """Learn what calls of one query took, and return its limit.

        Args:
            now: seconds of any clock.

        Returns:
            Nanoseconds from which a call is an outlier; ``None`` while too few calls are known.
        """
        habit = self._habits.pop(key, None) or _Habit(now)
        self._habits[key] = habit
        while len(self._habits) > self._most:
            del self._habits[next(iter(self._habits))]
        if habit.count >= ENOUGH and not 0 <= now - habit.since < WINDOW:
            habit.before, habit.now = habit.now, Sketch()
            habit.total, habit.count, habit.since = habit.count, 0, now
            habit.due = habit.total
        habit.now.merge(durations)
        added = sum(durations.buckets.values())
        habit.count += added
        habit.total += added
        if habit.total >= habit.due:
            habit.due = habit.total + max(ENOUGH // 2, habit.total // 8)
            habit.limit = _limit(habit)
        return habit.limit

    def limit(self, key: object) -> int | None:
        """The limit of a query now; safe to ask from any thread."""
        habit = self._habits.get(key)
        return habit.limit if habit is not None else None


def _limit(habit: _Habit) -> int | None:
    both = habit.before.copy()
    both.merge(habit.now)
    median, high = both.quantile(0.5), both.quantile(0.99)
    if median is None or high is None:
        return None
    return round(max(FLOOR, LEAST_RATIO * median, high * high / median))
