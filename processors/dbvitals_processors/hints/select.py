"""The set of indexes that is worth most to the whole workload, without any that is not worth its being there.

The cost is always that of the set: interactions are the planner's to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dbvitals_processors.hints.candidates import existing_like_keys
from dbvitals_processors.hints.costs import NONE, Costs
from dbvitals_processors.hints.model import Candidate, Configuration
from dbvitals_processors.hints.search import Search
from dbvitals_processors.hints.study import variants
from dbvitals_processors.hints.worth import Rules, Worth

SIMPLER = 0.02
"""Share of an index's gain that may be given up for a smaller one."""
SIMPLER_LEFT = 0.003
"""And share of what the workload costs at best: a little is much for a query that is asked all the time."""
MOST_MERGED = 24
MOST_ALTERNATIVES = 12


@dataclass(frozen=True)
class Selection:
    """The chosen indexes with what each saves beside the others, and why others were not."""

    chosen: Configuration = NONE
    refused: tuple[tuple[Candidate, str], ...] = ()
    gains: dict[Candidate, float] = field(default_factory=dict)


def select(costs: Costs, rules: Rules) -> Selection:
    """Choose; deterministic for the same answers of the planner."""
    worth = Worth(costs, rules)
    pool = _pool(costs, rules)
    search = Search(worth, _moves(costs, pool))
    best = _worthwhile(_simplified(search.best(), worth, pool), worth, search.reasons)
    reasons = ((one, search.reasons.get(one, "a smaller one saves nearly as much")) for one in pool if one not in best)
    return Selection(best, tuple(reasons), {one: worth.loss(one, best) for one in best})


def _pool(costs: Costs, rules: Rules) -> list[Candidate]:
    pool = {one for studied in costs.queries for one in studied.promising}
    pool |= {variant for merged in _merged(pool) for variant in variants(merged)}
    tables = costs.planner.catalogue().tables
    pool = {one for one in pool if existing_like_keys(one, tables[one.table], covering=True) is None}
    return sorted((c for c in pool if rules.budget is None or rules.size(c) <= rules.budget), key=lambda one: one.id)


def _moves(costs: Costs, pool: Sequence[Candidate]) -> list[Configuration]:
    known = set(pool)
    moves = {frozenset({one}) for one in pool}
    for studied in costs.queries:
        moves |= {package for package in studied.packages if 1 < len(package) <= 4 and package <= known}
    return sorted(moves, key=lambda move: sorted(one.id for one in move))


def _simplified(chosen: Configuration, worth: Worth, pool: Sequence[Candidate]) -> Configuration:
    """Leave out what others make superfluous, and take smaller indexes that save nearly as much."""
    size = worth.rules.size
    for one in sorted(chosen, key=lambda one: (-size(one), one.id)):
        loss = worth.loss(one, chosen)
        if loss <= 0:
            chosen -= {one}
            continue
        for other in _alternatives(one, worth, pool):
            if other in chosen or not (_simpler(other, one, worth) or _much_smaller(other, one, worth)):
                continue
            exchanged = chosen - {one} | {other}
            if -worth.gain(chosen, exchanged) <= min(SIMPLER * loss, SIMPLER_LEFT * worth.at_best):
                chosen = exchanged
                break
    return chosen


def _alternatives(old: Candidate, worth: Worth, pool: Sequence[Candidate]) -> list[Candidate]:
    """Others that could serve the queries that one serves, the smallest first."""
    names = {one.query.id for one in worth.costs.concerned(old)}
    found = [
        one
        for one in pool
        if one.table == old.table and one != old and any(q.query.id in names for q in worth.costs.concerned(one))
    ]
    return sorted(found, key=lambda one: (worth.rules.size(one), one.id))[:MOST_ALTERNATIVES]


def _simpler(one: Candidate, other: Candidate, worth: Worth) -> bool:
    fewer = len(one.keys) + len(one.include) < len(other.keys) + len(other.include)
    return fewer and worth.rules.size(one) <= worth.rules.size(other)


def _much_smaller(one: Candidate, other: Candidate, worth: Worth) -> bool:
    """Such as a partial index in place of a full one, which also costs fewer writes."""
    return worth.rules.size(one) < 0.5 * worth.rules.size(other) and len(one.keys) <= len(other.keys) + 1


def _worthwhile(chosen: Configuration, worth: Worth, reasons: dict[Candidate, str]) -> Configuration:
    """Without those that are not worth their being there, now that the others are."""
    for one in sorted(chosen, key=lambda one: (worth.loss(one, chosen), one.id)):
        reason, _ = worth.why_not(frozenset({one}), chosen, finally_=True)
        if reason is not None:
            reasons[one] = reason
            chosen -= {one}
    return chosen


def _merged(pool: Iterable[Candidate]) -> Sequence[Candidate]:
    """Indexes that do the work of two on the same table which begin with the same key."""
    plain = sorted((c for c in pool if c.method == "btree" and not c.where), key=lambda one: one.id)
    found: dict[Candidate, None] = {}
    for one in plain:
        for other in plain:
            if one is other or one.table != other.table or one.keys[0] != other.keys[0]:
                continue
            rest = tuple(key for key in other.keys if key not in one.keys)
            if rest and not one.include and not other.include and len(one.keys) + len(rest) <= 4:
                found.setdefault(Candidate(one.table, one.keys + rest))
            keys = {key.column for key in one.keys}
            if one.keys[: len(other.keys)] == other.keys and (one.include or other.include):
                include = tuple(sorted(({*one.include, *other.include}) - keys))
                found.setdefault(Candidate(one.table, one.keys, include))
    return [one for one in found if one not in set(plain)][:MOST_MERGED]
