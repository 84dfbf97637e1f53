"""A query that fetches many more rows than anybody can make sense of."""

from __future__ import annotations

from collections.abc import Iterator

from dbvitals_processors.findings import Finding
from dbvitals_processors.query_span import QuerySpan
from dbvitals_processors.rules.reading import has_condition, is_read, target
from dbvitals_processors.rules.rule import Limits, finding
from dbvitals_processors.traces import Trace


def too_many_rows(trace: Trace, limits: Limits) -> Iterator[Finding]:
    """Each query with too many rows: in the answer to a request that is fewer than in a job or a script.

    Wasted is the share of its time that goes to the rows beyond; what the application does with them comes on top.
    """
    serves = trace.root is not None and trace.root.serves
    most = limits.rows_served if serves else limits.rows
    for query in trace.queries:
        rows = query.rows or 0
        if rows > most and is_read(query):
            wasted = query.nanoseconds * (rows - most) // rows
            yield finding("too_many_rows", _advice(query, rows), trace, [query], wasted)


def _advice(query: QuerySpan, rows: int) -> str:
    if not has_condition(query):
        return f"Filter, LIMIT or aggregate {target(query)} in the database: it sent {rows:,} rows"
    return f"Page {target(query)} with LIMIT, or aggregate in the database: it sent {rows:,} rows"
