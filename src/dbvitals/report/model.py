"""The report: what all processes of a run saw, added up and put in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from dbvitals.snapshot import CacheTotals, PoolTotals, Snapshot
from dbvitals_processors.findings import Finding, merged
from dbvitals_processors.query_span import Caller
from dbvitals_processors.workload import QueryTotals, Workload


@dataclass(frozen=True)
class Query:
    """One query; times in seconds.

    Attributes:
        text: normalised, without literals; empty where it is not known.
        share: of the time of all queries, 0 to 1.
        p95: 95 % of the calls took no longer, within 1 %.
        error_types: failed calls by ``error.type``.
        caller: where most calls come from.
    """

    namespace: str
    fingerprint: str
    system: str
    summary: str
    text: str
    calls: int
    total: float
    mean: float
    p50: float
    p95: float
    longest: float
    share: float
    rows: int
    errors: int
    error_types: Mapping[str, int]
    caller: Caller | None


@dataclass(frozen=True)
class Pool:
    """The connection pools of one name, of which each process has one; times in seconds.

    Attributes:
        processes: those that asked it for a connection.
        most: connections that one process may open, ``None`` for no limit.
        peak: most connections that were seen in use in one process.
        used: connections in use at the end, in all processes.
        checkouts: connections handed out; ``waited`` is how long they were waited for, all in all.
    """

    name: str
    processes: int
    most: int | None
    peak: int
    used: int
    checkouts: int
    waited: float
    p95_wait: float
    longest_wait: float
    timeouts: int
    invalidations: int
    created: int


@dataclass(frozen=True)
class Cache:
    """One cache in one tier; ``hit_ratio`` is of hits and misses alone, ``None`` where there were neither."""

    name: str
    tier: str
    requests: int
    hits: int
    misses: int
    bypasses: int
    errors: int
    hit_ratio: float | None


@dataclass(frozen=True)
class Error:
    """Failed calls of one type, and the query that failed so most often."""

    type: str
    calls: int
    queries: int
    summary: str
    caller: Caller | None


@dataclass(frozen=True)
class Report:
    """What was seen. The most expensive, busiest or most frequent comes first.

    Attributes:
        started, until: Unix time in seconds, of the first process's beginning and the last snapshot; 0 without any.
        processes: those in which something was seen.
        watched: all that were recorded.
        calls, total, rows, failed: of all queries; ``total`` in seconds.
        findings: what a change to the application would save; the one that wasted most is first.
        faults: of dbvitals itself, by site.
        unjudged: spans in which nothing was looked for.
        killed: processes of which the end was not seen.
        unreadable: snapshots that could not be read.
    """

    started: float
    until: float
    processes: int
    watched: int
    calls: int
    total: float
    rows: int
    failed: int
    queries: tuple[Query, ...]
    pools: tuple[Pool, ...]
    caches: tuple[Cache, ...]
    errors: tuple[Error, ...]
    faults: Mapping[str, int]
    killed: int = 0
    unreadable: int = 0
    findings: tuple[Finding, ...] = ()
    unjudged: int = 0

    @property
    def duration(self) -> float:
        """Seconds from the first process's beginning to the last snapshot."""
        return self.until - self.started

    @property
    def empty(self) -> bool:
        """Whether nothing was seen."""
        return not (self.queries or self.pools or self.caches)


def merge(snapshots: Iterable[Snapshot], *, killed: int = 0, unreadable: int = 0) -> Report:
    """The report on some processes, each given by its newest snapshot; their order does not matter."""
    found = sorted(snapshots, key=lambda snapshot: (snapshot.started, snapshot.pid))
    workload = Workload()
    for snapshot in found:
        for totals in snapshot.queries:
            workload.take(totals)
    queries = workload.totals()
    nanoseconds = sum(totals.nanoseconds for totals in queries)
    return Report(
        started=min((snapshot.started for snapshot in found), default=0.0),
        until=max((snapshot.until for snapshot in found), default=0.0),
        processes=sum(not snapshot.idle for snapshot in found),
        watched=len(found),
        calls=sum(totals.calls for totals in queries),
        total=nanoseconds * 1e-9,
        rows=sum(totals.rows for totals in queries),
        failed=sum(sum(totals.errors.values()) for totals in queries),
        queries=tuple(_query(totals, nanoseconds) for totals in queries),
        pools=_pools(found),
        caches=_caches(found),
        errors=_errors(queries),
        faults=dict(sum((Counter(snapshot.faults) for snapshot in found), Counter())),
        killed=killed,
        unreadable=unreadable,
        findings=merged(snapshot.findings for snapshot in found),
        unjudged=sum(snapshot.unjudged for snapshot in found),
    )


def _query(totals: QueryTotals, all_nanoseconds: int) -> Query:
    durations = totals.durations
    return Query(
        namespace=totals.namespace,
        fingerprint=totals.fingerprint,
        system=totals.system,
        summary=totals.summary,
        text=totals.text,
        calls=totals.calls,
        total=totals.nanoseconds * 1e-9,
        mean=totals.nanoseconds * 1e-9 / totals.calls if totals.calls else 0.0,
        p50=(durations.quantile(0.5) or 0.0) * 1e-9,
        p95=(durations.quantile(0.95) or 0.0) * 1e-9,
        longest=durations.most * 1e-9,
        share=totals.nanoseconds / all_nanoseconds if all_nanoseconds else 0.0,
        rows=totals.rows,
        errors=sum(totals.errors.values()),
        error_types=dict(totals.errors),
        caller=totals.caller,
    )


def _pools(snapshots: Sequence[Snapshot]) -> tuple[Pool, ...]:
    by_name: dict[str, list[PoolTotals]] = {}
    for snapshot in snapshots:
        for name, totals in snapshot.pools.items():
            if totals.active():
                by_name.setdefault(name, []).append(totals)
    pools = [_pool(name, totals) for name, totals in by_name.items()]
    return tuple(sorted(pools, key=lambda pool: (-pool.timeouts, -pool.waited, pool.name)))


def _pool(name: str, totals: Sequence[PoolTotals]) -> Pool:
    waits = reduce(add, (one.waits for one in totals))
    limits = [one.most for one in totals if one.most is not None]
    return Pool(
        name=name,
        processes=len(totals),
        most=max(limits) if limits else None,
        peak=max(one.peak for one in totals),
        used=sum(one.used for one in totals),
        checkouts=waits.count,
        waited=waits.total,
        p95_wait=waits.quantile(0.95) or 0.0,
        longest_wait=waits.most,
        timeouts=sum(one.timeouts for one in totals),
        invalidations=sum(one.invalidations for one in totals),
        created=sum(one.created for one in totals),
    )


def _caches(snapshots: Sequence[Snapshot]) -> tuple[Cache, ...]:
    by_name: dict[tuple[str, str], CacheTotals] = {}
    for snapshot in snapshots:
        for key, totals in snapshot.caches.items():
            by_name[key] = by_name.get(key, CacheTotals()) + totals
    caches = [_cache(name, tier, totals) for (name, tier), totals in by_name.items()]
    return tuple(sorted(caches, key=lambda cache: (-cache.requests, cache.name, cache.tier)))


def _cache(name: str, tier: str, totals: CacheTotals) -> Cache:
    hits, misses = totals.hits, totals.misses
    requests = hits + misses + totals.bypasses + totals.errors
    ratio = hits / (hits + misses) if hits + misses else None
    return Cache(name, tier, requests, hits, misses, totals.bypasses, totals.errors, ratio)


def _errors(queries: Sequence[QueryTotals]) -> tuple[Error, ...]:
    failed: dict[str, list[tuple[int, QueryTotals]]] = {}
    for totals in queries:
        for kind, calls in totals.errors.items():
            failed.setdefault(kind, []).append((calls, totals))
    errors = [_error(kind, queries_of_it) for kind, queries_of_it in failed.items()]
    return tuple(sorted(errors, key=lambda error: (-error.calls, error.type)))


def _error(kind: str, failed: Sequence[tuple[int, QueryTotals]]) -> Error:
    _, worst = max(failed, key=lambda one: (one[0], one[1].namespace, one[1].fingerprint))
    return Error(kind, sum(calls for calls, _ in failed), len(failed), worst.summary, worst.caller)
