"""What a rule is: a function from a finished trace to what it found there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dbvitals_processors.findings import Example, Finding
from dbvitals_processors.query_span import Caller, QuerySpan
from dbvitals_processors.traces import Trace


@dataclass(frozen=True)
class Limits:
    """From where on something is worth a finding; times in nanoseconds.

    Attributes:
        repeats: queries of one kind, one after another under one span, that are a loop.
        writes: the same for INSERT, UPDATE and DELETE, of which a unit of work has several in good faith.
        breath: a longer pause between two queries is no part of a loop: somebody polls, or waits for work.
        bulk: rows that each query of a loop returns on average; with more it fetches in chunks, as it should.
        page: rows of each query, all the same, from which on a loop with LIMIT leafs through pages.
        rows_served: rows of one query that a request can make sense of.
        rows: the same for anything else: jobs and scripts may read a lot.
        idle: a pause in a transaction in which a span shows what was done instead.
        idle_unseen: the same without such a span; a busy interpreter has shorter ones by itself.
        wait: all waits for connections in one request.
        wait_share: their share of the request, from which on they are its cause.
    """

    repeats: int = 5
    writes: int = 20
    breath: int = 250_000_000
    bulk: int = 100
    page: int = 10
    rows_served: int = 1_000
    rows: int = 100_000
    idle: int = 100_000_000
    idle_unseen: int = 500_000_000
    wait: int = 100_000_000
    wait_share: float = 0.5


Rule = Callable[[Trace, Limits], Iterable[Finding]]


def finding(rule: str, advice: str, trace: Trace, queries: Sequence[QuerySpan], wasted: int) -> Finding:
    """One occurrence of ``rule`` in a trace: the ``queries`` of it, of which the first names the kind."""
    first, number = queries[0], len(queries)
    rows = sum(query.rows or 0 for query in queries)
    example = Example(f"{trace.trace_id:032x}", number, rows, wasted)
    return Finding(
        rule, advice, first.namespace, first.fingerprint, first.summary, caller_of(queries), 1, number, wasted, example
    )


def caller_of(queries: Iterable[QuerySpan]) -> Caller | None:
    """Where most of the queries that say so come from."""
    known = sorted(query.caller for query in queries if query.caller is not None)
    return max(known, key=known.count) if known else None
