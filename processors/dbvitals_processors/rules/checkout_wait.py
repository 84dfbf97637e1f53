"""A request that is slow because it waits for connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dbvitals_processors.findings import Example, Finding
from dbvitals_processors.pool_span import PoolSpan
from dbvitals_processors.rules.rule import Limits
from dbvitals_processors.traces import Trace


def checkout_wait(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """A trace that spends most of its time in waiting for connections of one pool.

    Waits that overlap, as those of parallel tasks do, count once.
    """
    root = trace.root
    if root is None:
        return
    by_pool: dict[str, list[PoolSpan]] = {}
    for checkout in trace.checkouts:
        by_pool.setdefault(checkout.pool, []).append(checkout)
    for pool, waits in by_pool.items():
        waited = _covered(waits, root.start, root.end)
        share = waited / max(1, root.end - root.start)
        if waited >= limits.wait and share >= limits.wait_share:
            advice = f"{_advice(pool, waits)}: {share:.0%} of a request was waiting"
            example = Example(f"{trace.trace_id:032x}", len(waits), 0, waited)
            yield Finding("checkout_wait", advice, pool, "", f"pool {pool}", None, 1, len(waits), waited, example)


def _advice(pool: str, waits: Iterable[PoolSpan]) -> str:
    longest = max(waits, key=lambda wait: wait.end - wait.start)
    if longest.new and not longest.failed:
        return f"Keep more connections of pool {pool} open (pool_size)"
    return f"Enlarge pool {pool}, or return connections sooner"


def _covered(waits: Iterable[PoolSpan], start: int, end: int) -> int:
    """Nanoseconds between ``start`` and ``end`` in which anybody waited."""
    covered, until = 0, start
    for wait in waits:
        covered += max(0, min(wait.end, end) - max(wait.start, until))
        until = max(until, wait.end)
    return covered
