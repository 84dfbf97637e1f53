"""Each query by itself: which of its candidates the planner would use, and what the best of them would save."""

from __future__ import annotations

from dbvitals_processors.hints.candidates import LEAST_ROWS, candidates
from dbvitals_processors.hints.costs import Studied
from dbvitals_processors.hints.model import Candidate, Catalogue, Planner, WorkloadQuery
from dbvitals_processors.hints.reading import Reading

ROUNDS = 4
LEAST_GAIN = 0.05
"""Share of its cost that a query must be able to save to be worth any index."""


def study(query: WorkloadQuery, reading: Reading, planner: Planner, catalogue: Catalogue) -> Studied:
    """Ask the planner for the query with all its candidates, then again without those that it chose, and so on.

    What is chosen in some round is promising; the rest is never looked at again.

    Raises:
        Unplannable: the database refuses the query.
    """
    before = planner.estimate(query).cost
    possible = frozenset(
        candidate
        for access in reading.accesses
        if access.table.rows >= LEAST_ROWS
        for candidate in candidates(access, catalogue)
    )
    left, packages, best = possible, [], before
    reach: dict[Candidate, float] = {}
    for number in range(ROUNDS if possible else 0):
        found = planner.estimate(query, left)
        if not found.used or before - found.cost < LEAST_GAIN * before:
            break
        if number == 0:
            best = found.cost
        elif before - found.cost < 0.2 * (before - best):
            break
        packages.append(found.used)
        for variant in (variant for one in found.used for variant in variants(one)):
            reach[variant] = max(reach.get(variant, 0.0), before - found.cost)
        left = left - found.used
    return Studied(query, reading, possible, frozenset(reach), tuple(dict.fromkeys(packages)), before, best, reach)


def variants(candidate: Candidate) -> frozenset[Candidate]:
    """A candidate, and simpler ones that may do as well: fewer keys, nothing included."""
    found = {candidate}
    if candidate.include:
        found.add(
            Candidate(candidate.table, candidate.keys, (), candidate.where, candidate.method, candidate.stands_for)
        )
    for length in range(1, len(candidate.keys)):
        shorter = Candidate(
            candidate.table, candidate.keys[:length], (), candidate.where, candidate.method, candidate.stands_for
        )
        found.add(shorter)
    return frozenset(found)
