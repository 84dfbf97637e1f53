"""What a rule is: a function from a finished trace to what it found there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dbvitals_processors.docket import More
from dbvitals_processors.findings import Example, Finding
from dbvitals_processors.query_span import Caller, QuerySpan
from dbvitals_processors.rules.limits import Limits as Limits
from dbvitals_processors.traces import Trace

Rule = Callable[[Trace, Limits], Iterable[Finding]]


def finding(
    rule: str, advice: str, trace: Trace, queries: Sequence[QuerySpan], wasted: int, more: More | None = None
) -> Finding:
    """One occurrence of ``rule`` in a trace: the ``queries`` of it, of which the first names the kind, and ``more``."""
    first, number = queries[0], len(queries)
    rows = sum(query.rows or 0 for query in queries)
    if more is not None:
        number, rows = number + more.number, rows + more.rows
    example = Example(f"{trace.trace_id:032x}", number, rows, wasted)
    return Finding(
        rule, advice, first.namespace, first.fingerprint, first.summary, caller_of(queries), 1, number, wasted, example
    )


def caller_of(queries: Iterable[QuerySpan]) -> Caller | None:
    """Where most of the queries that say so come from."""
    known = sorted(query.caller for query in queries if query.caller is not None)
    return max(known, key=known.count) if known else None
