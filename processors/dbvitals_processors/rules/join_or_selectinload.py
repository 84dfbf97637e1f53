"""A query in a loop over the rows of another one, which could have brought them along."""

from __future__ import annotations

from collections.abc import Iterator

from dbvitals_processors.findings import Finding
from dbvitals_processors.query_span import QuerySpan
from dbvitals_processors.rules.loops import Loop, loops
from dbvitals_processors.rules.reading import has_condition, is_read, is_single, target
from dbvitals_processors.rules.rule import Limits, finding
from dbvitals_processors.traces import Trace

MOST_ROWS_PER_QUERY = 20
"""Rows of the first query for each one in the loop; of more, the loop does not look like a walk over them."""


def join_or_selectinload(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Each loop that loads a relationship of SQLAlchemy's ORM lazily, or looks up something for each row of a query."""
    for loop in loops(trace, limits):
        number = loop.number
        if loop.relationship is not None:
            parent = loop.relationship.partition(".")[0]
            advice = f"Add selectinload({loop.relationship}) to the query for {parent}: 1 query, not {number}"
        else:
            source = _source(trace, loop)
            if source is None:
                continue
            advice = f"Join {target(loop.queries[0])} to the query for {target(source)}: 1 query, not {number + 1}"
        yield finding("join_or_selectinload", advice, trace, loop.queries, loop.wasted, loop.more)


def _source(trace: Trace, loop: Loop) -> QuerySpan | None:
    """The query whose rows the loop goes through: the last one before it that had as many."""
    first, number = loop.queries[0], loop.number
    if loop.writes or not has_condition(first):
        return None
    before = (
        query
        for query in reversed(trace.queries)
        if query.start < first.start
        and query.fingerprint != first.fingerprint
        and query.parent_id == first.parent_id
        and query.namespace == first.namespace
        and is_single(query)
        and is_read(query)
    )
    return next((query for query in before if number <= (query.rows or 0) <= number * MOST_ROWS_PER_QUERY), None)
