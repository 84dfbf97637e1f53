"""Counts how often a query is repeated under one span, while the queries run.

This is the early sign, which flags a span before it is exported. Whether the repeats were an N+1 (and no batches, no
pages, no poll, no parallel tasks) is known when the trace is over: :mod:`dbvitals_processors.rules` judges that.
"""

from __future__ import annotations

MOST_TRACES = 200
MOST_QUERIES = 300
"""Different queries that are counted in one trace; a trace with more begins anew."""

Counts = dict[tuple["int | None", str], int]


class NPlusOne:
    """Counts of the latest :data:`MOST_TRACES` traces at least, and of twice as many at most.

    Safe to use from many threads without a lock: two that count the same query under the same span in the same instant
    may count one. Traces that nobody asks for any more are forgotten by generations: when the young ones are too many,
    the old ones go and the young ones are the old.

    Args:
        threshold: repeats from which on :meth:`repeats` is true; :attr:`Config.n_plus_one_threshold`.
    """

    def __init__(self, threshold: int) -> None:
        self.threshold = threshold
        self._young: dict[int, Counts] = {}
        self._old: dict[int, Counts] = {}

    def count(self, trace_id: int, parent_id: int | None, fingerprint: str) -> int:
        """Count one more query; how many there have been under this parent. A query without a parent is alone."""
        if parent_id is None:
            return 1
        counts = self._young.get(trace_id)
        if counts is None or len(counts) > MOST_QUERIES:
            counts = self._rejuvenate(trace_id)
        key = (parent_id, fingerprint)
        number = counts[key] = counts.get(key, 0) + 1
        return number

    def repeats(self, trace_id: int, parent_id: int | None, fingerprint: str) -> bool:
        """Count one more query; whether it is at least the threshold-th of its kind under this parent."""
        return self.count(trace_id, parent_id, fingerprint) >= self.threshold

    def clear(self) -> None:
        """Forget all traces."""
        self._young, self._old = {}, {}

    def _rejuvenate(self, trace_id: int) -> Counts:
        """The counts of a trace that is not among the young ones, or has too many."""
        if len(self._young) >= MOST_TRACES:
            self._old, self._young = self._young, {}
        counts = self._old.pop(trace_id, {})
        self._young[trace_id] = counts
        return counts
