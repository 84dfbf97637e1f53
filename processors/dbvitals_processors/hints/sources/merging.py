"""Several sightings of one statement become one ``WorkloadQuery``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dbvitals_processors.hints.model import Parameters, WorkloadQuery

HOUR = 3600.0
SHORTEST = 60.0
"""Seconds that a rate is taken over at least, where nobody knows how long was watched before and after."""


def per_hour(seconds: float, *, shortest: float = SHORTEST) -> float:
    """What a count over so many seconds is multiplied with."""
    return HOUR / max(seconds, shortest)


def merge(queries: Iterable[WorkloadQuery]) -> list[WorkloadQuery]:
    """One query an id, in order of first appearance: calls and seconds added up.

    The text is the first one's. Only samples of that same text are kept: another text's binds may be others.
    """
    merged: dict[str, WorkloadQuery] = {}
    for query in queries:
        known = merged.get(query.id)
        merged[query.id] = query if known is None else _both(known, query)
    return list(merged.values())


def costliest_first(queries: Iterable[WorkloadQuery]) -> list[WorkloadQuery]:
    """By measured time, then by calls, then by id."""
    return sorted(queries, key=lambda query: (-(query.seconds or 0.0), -query.calls, query.id))


def _both(one: WorkloadQuery, other: WorkloadQuery) -> WorkloadQuery:
    seconds = one.seconds if other.seconds is None else other.seconds + (one.seconds or 0.0)
    parameters: tuple[Parameters, ...] = one.parameters
    if other.sql == one.sql:
        parameters += other.parameters
    return replace(one, calls=one.calls + other.calls, seconds=seconds, parameters=parameters)
