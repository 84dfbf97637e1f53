"""The same query with the same parameters, though nothing was written meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from dbvitals_processors.findings import Finding
from dbvitals_processors.query_span import QuerySpan
from dbvitals_processors.rules.loops import loops
from dbvitals_processors.rules.reading import is_read, is_single, is_write, target
from dbvitals_processors.rules.rule import Limits, finding
from dbvitals_processors.traces import Trace

Same = tuple[str, str, str]


def duplicate(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Each query that was asked with the same parameters before, in the same trace.

    A write to a table ends what was known of it, and one that names no table ends everything. Left out are loops, which
    are advised to ask but once, and polling: three or more with a pause before each.
    """
    looping = {(loop.queries[0].namespace, loop.queries[0].fingerprint) for loop in loops(trace, limits)}
    for queries in _asked_again(trace):
        first = queries[0]
        if (first.namespace, first.fingerprint) in looping or _polls(queries, limits):
            continue
        advice = f"Ask {target(first)} once and keep the answer: {len(queries)} times with the same parameters"
        yield finding("duplicate", advice, trace, queries, sum(query.nanoseconds for query in queries[1:]))


def _asked_again(trace: Trace) -> list[list[QuerySpan]]:
    asked: dict[Same, list[QuerySpan]] = {}
    again: list[list[QuerySpan]] = []
    for query in trace.queries:
        if is_write(query):
            table = target(query)
            for same in [same for same, queries in asked.items() if not table or table in queries[0].summary.split()]:
                del asked[same]
        elif query.parameters_hash is not None and is_single(query) and is_read(query):
            queries = asked.setdefault((query.namespace, query.fingerprint, query.parameters_hash), [])
            queries.append(query)
            if len(queries) == 2:
                again.append(queries)
    return again


def _polls(queries: list[QuerySpan], limits: Limits) -> bool:
    pauses = [later.start - earlier.end for earlier, later in pairwise(queries)]
    return len(pauses) > 1 and min(pauses) > limits.breath
