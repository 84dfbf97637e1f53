"""The same query again and again under one span."""

from __future__ import annotations

from collections.abc import Iterator

from dbvitals_processors.findings import Finding
from dbvitals_processors.rules.loops import loops
from dbvitals_processors.rules.reading import target, verb
from dbvitals_processors.rules.rule import Limits, caller_of, finding
from dbvitals_processors.traces import Trace


def n_plus_one(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Each loop, with the time that one query instead would save."""
    for loop in loops(trace, limits):
        number, first = loop.number, loop.queries[0]
        caller = caller_of(loop.queries)
        where = f" in {caller.function.partition('.<locals>')[0]}" if caller is not None else ""
        if loop.writes:
            advice = f"Send {verb(first)} {target(first)}{where} once with a list of parameters, not {number} times"
        elif loop.relationship is not None:
            advice = f"Load {loop.relationship} eagerly for the loop{where}: 1 query, not {number}"
        else:
            advice = f"Fetch {target(first)} for the loop{where} by one WHERE … IN: 1 query, not {number}"
        yield finding("n_plus_one", advice, trace, loop.queries, loop.wasted, loop.more)
