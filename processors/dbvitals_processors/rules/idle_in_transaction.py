"""A connection that is kept, in its transaction, while other work is done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from dbvitals_processors.docket import More
from dbvitals_processors.findings import Finding
from dbvitals_processors.pool_span import PoolSpan
from dbvitals_processors.query_span import QuerySpan
from dbvitals_processors.rules.reading import target
from dbvitals_processors.rules.rule import Limits, finding
from dbvitals_processors.traces import Trace, Work

_is_name = re.compile(r"[A-Za-z_.:{}/ -]{1,60}").fullmatch
"""What may stand in advice: where a span's name has digits or quotes, they may be a value."""


class Pause(NamedTuple):
    """Between two queries, or after the last one."""

    start: int
    end: int
    after: QuerySpan

    @property
    def nanoseconds(self) -> int:
        """How long it was."""
        return self.end - self.start


def idle_in_transaction(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Each long hold of a connection that has a long pause after a query, in which no query of the trace runs.

    SQLAlchemy begins a transaction with the first query on a connection, and its end leaves no span: a connection that
    is kept after ``commit()``, or that has none to end (AUTOCOMMIT), is idle without a transaction, and is told of all
    the same, since nobody else can have it. Which connection a query had is not known either: one that ran on another
    makes the pause shorter, never longer.
    """
    for hold in trace.holds:
        within = [query for query in trace.queries if query.start >= hold.start and query.end <= hold.end]
        pauses = [pause for pause in _pauses(hold, within, trace.more.values()) if _is_long(pause, trace, limits)]
        if pauses:
            longest = max(pauses, key=attrgetter("nanoseconds"))
            wasted = sum(pause.nanoseconds for pause in pauses)
            before = _work_within(longest, trace)
            during = before.name if before is not None and _is_name(before.name) else "other work"
            idled = f"{wasted / max(1, hold.end - hold.start):.0%}"
            table = target(longest.after) or longest.after.summary
            advice = f"Commit after {table}, before {during}: {idled} of the hold was idle"
            yield finding("idle_in_transaction", advice, trace, [longest.after], wasted)


def _pauses(hold: PoolSpan, queries: Iterable[QuerySpan], mores: Iterable[More]) -> Iterator[Pause]:
    """From the end of each query to the start of the next, or to the end of the hold, where nothing runs.

    What was only added up counts as one query that ran all the time.
    """
    last: QuerySpan | None = None
    until = 0
    everything: list[QuerySpan | More] = [*queries, *mores]
    for ran in sorted(everything, key=attrgetter("start")):
        if last is not None and ran.start > until:
            yield Pause(until, ran.start, last)
        if isinstance(ran, QuerySpan) and (last is None or ran.end > until):
            last = ran
        until = max(until, ran.end)
    if last is not None and hold.end > until:
        yield Pause(until, hold.end, last)


def _is_long(pause: Pause, trace: Trace, limits: Limits) -> bool:
    least = limits.idle if _work_within(pause, trace) is not None else limits.idle_unseen
    return pause.nanoseconds >= least


def _work_within(pause: Pause, trace: Trace) -> Work | None:
    """The longest span within a pause, if it takes half of it."""
    within = [work for work in trace.work if work.start >= pause.start and work.end <= pause.end]
    longest = max(within, key=lambda work: work.end - work.start, default=None)
    return longest if longest is not None and 2 * (longest.end - longest.start) >= pause.nanoseconds else None
