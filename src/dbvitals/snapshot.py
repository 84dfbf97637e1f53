"""What one process saw, as it lies in a file between the process and the report.

All numbers are totals since the process (or its fork) began, so the newest snapshot of a process stands for all before
it. The format belongs to one version of dbvitals: whoever wants to read it elsewhere takes the report's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import add
from typing import Any

from dbvitals_processors.findings import Finding
from dbvitals_processors.workload import QueryTotals

FORMAT = 1


class UnreadableSnapshot(ValueError):
    """A file that is no snapshot of this version."""


@dataclass(frozen=True)
class Waits:
    """A histogram of seconds: ``counts[i]`` of them are at most ``bounds[i]``, the last count is the rest."""

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    total: float = 0.0
    least: float = 0.0
    most: float = 0.0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def __add__(self, other: Waits) -> Waits:
        if not other.count:
            return self
        if not self.count:
            return other
        if self.bounds != other.bounds:  # a view of the application's set other bounds: one bucket is left
            bounds: tuple[float, ...] = ()
            counts: tuple[int, ...] = (self.count + other.count,)
        else:
            bounds, counts = self.bounds, tuple(map(add, self.counts, other.counts))
        least, most = min(self.least, other.least), max(self.most, other.most)
        return Waits(bounds, counts, self.total + other.total, least, most)

    def quantile(self, share: float) -> float | None:
        """The seconds that ``share`` (0 to 1) do not exceed, within a bucket by interpolation; ``None`` without any."""
        if not self.count:
            return None
        rank = share * self.count
        below = 0
        edges = (self.least, *(min(max(bound, self.least), self.most) for bound in self.bounds), self.most)
        for index, count in enumerate(self.counts):
            if count and below + count >= rank:
                return edges[index] + (edges[index + 1] - edges[index]) * (rank - below) / count
            below += count
        return self.most


@dataclass(frozen=True)
class PoolTotals:
    """One connection pool of one process.

    Attributes:
        most: connections that it may open, ``None`` for no limit.
        used: connections in use when the snapshot was made.
        peak: most connections that were seen in use; a look is taken once a second, and what a checkout or a time-out
            says of it counts, too.
        waits: seconds from asking for a connection to having it, for every checkout.
        created: connections made.
    """

    most: int | None = None
    used: int = 0
    peak: int = 0
    waits: Waits = field(default_factory=Waits)
    timeouts: int = 0
    invalidations: int = 0
    created: int = 0

    def active(self) -> bool:
        """Whether anybody asked it for a connection."""
        return bool(self.waits.count or self.timeouts or self.created)


@dataclass(frozen=True)
class CacheTotals:
    """Reads of one cache in one tier, by result."""

    hits: int = 0
    misses: int = 0
    bypasses: int = 0
    errors: int = 0

    def __add__(self, other: CacheTotals) -> CacheTotals:
        return CacheTotals(
            self.hits + other.hits,
            self.misses + other.misses,
            self.bypasses + other.bypasses,
            self.errors + other.errors,
        )


@dataclass(frozen=True)
class Snapshot:
    """One process.

    Attributes:
        started, until: Unix time in seconds.
        caches: by name and tier.
        faults: of dbvitals itself, by site.
        final: whether it was made as the process ended; more may have happened after any other.
        findings: in traces that were over.
        unjudged: spans in which nothing was looked for, since too many came at once.
    """

    pid: int
    started: float
    until: float
    queries: Sequence[QueryTotals]
    pools: Mapping[str, PoolTotals]
    caches: Mapping[tuple[str, str], CacheTotals]
    faults: Mapping[str, int]
    final: bool = False
    findings: Sequence[Finding] = ()
    unjudged: int = 0

    @property
    def idle(self) -> bool:
        """Whether the process did nothing that dbvitals watches, and dbvitals did nothing wrong."""
        return not (self.queries or self.caches or self.faults or any(map(PoolTotals.active, self.pools.values())))


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot as JSON's types."""
    return {
        "format": FORMAT,
        "pid": snapshot.pid,
        "started": snapshot.started,
        "until": snapshot.until,
        "queries": [totals.to_json() for totals in snapshot.queries],
        "pools": {name: asdict(pool) for name, pool in snapshot.pools.items()},
        "caches": [[name, tier, asdict(cache)] for (name, tier), cache in snapshot.caches.items()],
        "faults": dict(snapshot.faults),
        "final": snapshot.final,
        "findings": [finding.to_json() for finding in snapshot.findings],
        "unjudged": snapshot.unjudged,
    }


def from_json(data: Any) -> Snapshot:
    """What :func:`to_json` wrote.

    Raises:
        UnreadableSnapshot: it is something else, or of another version.
    """
    try:
        if data["format"] != FORMAT:
            raise UnreadableSnapshot(f"a snapshot of format {data['format']}, not {FORMAT}")
        return Snapshot(
            data["pid"],
            data["started"],
            data["until"],
            tuple(map(QueryTotals.from_json, data["queries"])),
            {name: _pool(pool) for name, pool in data["pools"].items()},
            {(name, tier): CacheTotals(**cache) for name, tier, cache in data["caches"]},
            data["faults"],
            data["final"],
            tuple(map(Finding.from_json, data["findings"])),
            data["unjudged"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UnreadableSnapshot(f"not a snapshot of dbvitals: {type(error).__name__}") from error


def _pool(data: Mapping[str, Any]) -> PoolTotals:
    waits = Waits(**data["waits"])
    return PoolTotals(**{**data, "waits": replace(waits, bounds=tuple(waits.bounds), counts=tuple(waits.counts))})
