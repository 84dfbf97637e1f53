"""Finds loops: the same query again and again under one span, one after another.

What only looks like a loop is left out: batches, queries that are tried again, tasks that ask in parallel, pages of a
list, chunks of many rows, polling, the same question with the same parameters (that is a duplicate), locks, catalogues.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dbvitals_processors.docket import More
from dbvitals_processors.query_span import QuerySpan
from dbvitals_processors.rules.limits import Limits
from dbvitals_processors.rules.reading import is_read, is_single, is_write, may_page
from dbvitals_processors.traces import Trace

MOST_AT_ONCE = 1.5
"""Queries that run at the same time on average; where there are more, they are not one after another."""


@dataclass(frozen=True, slots=True)
class Loop:
    """Queries of one kind in the order in which they were asked.

    Attributes:
        relationship: of SQLAlchemy's ORM, where they load one lazily.
        writes: whether they change rows.
        more: those that came after them, and were only added up.
    """

    queries: tuple[QuerySpan, ...]
    relationship: str | None
    writes: bool
    more: More | None = None

    @property
    def number(self) -> int:
        """How many there were."""
        return len(self.queries) + (self.more.number if self.more is not None else 0)

    @property
    def wasted(self) -> int:
        """Nanoseconds that one query instead would save: all but an average one."""
        whole = sum(query.nanoseconds for query in self.queries)
        if self.more is not None:
            whole += self.more.nanoseconds
        return whole - whole // self.number


@lru_cache(maxsize=1)  # three rules ask in turn; a trace is what it is
def loops(trace: Trace, limits: Limits) -> tuple[Loop, ...]:
    """All loops of a trace."""
    kinds: dict[tuple[int, str, str], list[QuerySpan]] = {}
    for query in trace.queries:
        if query.parent_id is not None and is_single(query):
            kinds.setdefault((query.parent_id, query.namespace, query.fingerprint), []).append(query)
    return tuple(
        loop
        for kind, queries in kinds.items()
        if len(queries) >= limits.repeats
        for loop in _loops(queries, trace.more.get(kind), limits)
    )


def _loops(queries: Sequence[QuerySpan], more: More | None, limits: Limits) -> Iterator[Loop]:
    first = queries[0]
    relationship = next((query.relationship for query in queries if query.relationship is not None), None)
    writes = is_write(first)
    if not (writes or is_read(first)):
        return
    least = limits.writes if writes else limits.repeats
    # A lazy load is one whatever happens between two of them.
    for run in [queries] if relationship is not None else _without_pauses(queries, limits.breath):
        if len(run) < least or (not writes and _questions(run) < least) or _at_once(run) > MOST_AT_ONCE:
            continue
        if relationship is None and not writes and (_are_chunks(run, limits) or _are_pages(run, limits)):
            continue
        yield Loop(tuple(run), relationship, writes, more if run[-1] is queries[-1] else None)


def _without_pauses(queries: Iterable[QuerySpan], breath: int) -> Iterator[list[QuerySpan]]:
    run: list[QuerySpan] = []
    for query in queries:
        if run and query.start - max(one.end for one in run[-2:]) > breath:
            yield run
            run = []
        run.append(query)
    yield run


def _questions(run: Sequence[QuerySpan]) -> int:
    """How many different questions were asked; one without a hash may be any."""
    hashes = [query.parameters_hash for query in run]
    return len({told for told in hashes if told is not None}) + hashes.count(None)


def _at_once(run: Sequence[QuerySpan]) -> float:
    """How many of them ran at the same time, on average while any ran."""
    covered, until = 0, 0
    for query in run:
        covered += max(0, query.end - max(query.start, until))
        until = max(until, query.end)
    return sum(query.nanoseconds for query in run) / covered if covered else 1.0


def _are_chunks(run: Sequence[QuerySpan], limits: Limits) -> bool:
    return sum(query.rows or 0 for query in run) >= limits.bulk * len(run)


def _are_pages(run: Sequence[QuerySpan], limits: Limits) -> bool:
    """Each page but the last is full."""
    sizes = {query.rows for query in run[:-1]}
    full = run[0].rows
    return may_page(run[0]) and len(sizes) == 1 and full is not None and full >= limits.page
