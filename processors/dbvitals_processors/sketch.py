"""Quantiles of durations in bounded memory, which can be merged: a DDSketch.

After Masson, Rim and Lee, "DDSketch: A fast and fully-mergeable quantile sketch with relative-error guarantees"
(PVLDB 12(12), 2019). A value falls into bucket ``ceil(log_gamma(value))`` with ``gamma = (1 + a) / (1 - a)``; every
value of a bucket is within the share ``a`` of the bucket's middle, here 1 %. Sketches are merged by adding counts, so a
merged one is what one sketch of all values would have been. (The PyPI package ``ddsketch`` serialises through protobuf
alone, has no types, and needs ``six``.)
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, log

ACCURACY = 0.01
MOST_NANOSECONDS = 10**14
"""Longer durations (28 hours) count as this, so that a sketch has at most 1,613 buckets."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_PER_LOG = 1 / log(_GAMMA)


class Sketch:
    """Counts of durations in nanoseconds. Not safe to change from several threads: its owner has the lock."""

    __slots__ = ("buckets", "least", "most")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.least = MOST_NANOSECONDS
        self.most = 0

    def add(self, nanoseconds: int) -> None:
        """Count one duration; less than a nanosecond counts as one."""
        value = 1 if nanoseconds < 1 else MOST_NANOSECONDS if nanoseconds > MOST_NANOSECONDS else nanoseconds
        bucket = ceil(log(value) * _PER_LOG)
        buckets = self.buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        if value < self.least:
            self.least = value
        if value > self.most:
            self.most = value

    def merge(self, other: Sketch) -> None:
        """Add what another sketch has counted."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)

    def quantile(self, share: float) -> float | None:
        """The duration in nanoseconds that ``share`` (0 to 1) of all do not exceed; ``None`` where there are none."""
        count = sum(self.buckets.values())
        if count == 0:
            return None
        rank = share * (count - 1)
        below = 0
        for bucket in sorted(self.buckets):
            below += self.buckets[bucket]
            if below > rank:
                middle: float = 2 * _GAMMA**bucket / (_GAMMA + 1)
                return min(max(middle, self.least), self.most)
        return float(self.most)

    def copy(self) -> Sketch:
        """A sketch of the same durations."""
        copied = Sketch()
        copied.merge(self)
        return copied

    def to_json(self) -> list[list[int]]:
        """Two rows: ``[least, most]`` and, in order of buckets, ``[bucket, count, bucket, count, …]``."""
        return [[self.least, self.most], [number for pair in sorted(self.buckets.items()) for number in pair]]

    @classmethod
    def from_json(cls, data: Iterable[list[int]]) -> Sketch:
        """What :meth:`to_json` wrote."""
        sketch = cls()
        (sketch.least, sketch.most), flat = data
        sketch.buckets = dict(zip(flat[::2], flat[1::2], strict=True))
        return sketch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]
