"""The set of indexes that is worth most to the whole workload.

Greedy by gain, or by gain for each byte under a budget, over single candidates and over the sets that the planner chose
together for a query (a join may need two); then each chosen index is exchanged for a simpler or another one, or left
out, while that does not hurt. The cost is always that of the set: interactions are the planner's to judge.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from dbvitals_processors.hints.costs import NONE, Configuration, Costs, Studied
from dbvitals_processors.hints.model import Candidate
from dbvitals_processors.hints.study import variants

HALF = 0.5
SHARE = 0.01
"""An index must take a query to less than half of its cost, or save this share of the workload."""
LEAST_SHARE = 2e-6
"""Share of the workload below which nobody would notice."""
LEAST_LEFT = 0.02
"""Share of what the workload costs with all indexes below which an index is not worth its being there."""
SIMPLER = 0.02
"""Share of an index's gain that may be given up for a smaller one."""
MOST_MERGED = 40
MOST_ALTERNATIVES = 12
_EPSILON = 1e-6


@dataclass(frozen=True)
class Rules:
    """What the selection must keep to.

    Attributes:
        size: bytes of a candidate.
        upkeep: of a set, in planner's units an hour.
        budget: bytes for all indexes together; ``None`` for no limit.
        most: indexes at most.
        least_gain: share of the cost of the queries an index serves that it must save.
    """

    size: Callable[[Candidate], int]
    upkeep: Callable[[Configuration], float]
    budget: int | None = None
    most: int | None = None
    least_gain: float = 0.05


@dataclass(frozen=True)
class Selection:
    """The chosen indexes, and why others were not."""

    chosen: Configuration = NONE
    refused: tuple[tuple[Candidate, str], ...] = ()
    gains: dict[Candidate, float] = field(default_factory=dict)


def select(costs: Costs, rules: Rules) -> Selection:
    """Choose; deterministic for the same answers of the planner."""
    return _Selector(costs, rules).select()


class _Selector:
    def __init__(self, costs: Costs, rules: Rules) -> None:
        self._costs = costs
        self._rules = rules
        self._pool = self._candidates()
        self._workload = costs.total(NONE)
        self._least = sum(one.query.calls * one.best for one in costs.queries)
        self._reasons: dict[Candidate, str] = {}

    def select(self) -> Selection:
        starts: list[Callable[[float, int], float]] = [lambda gain, size: gain / size**0.15]
        if self._rules.budget is not None:
            starts = [lambda gain, size: gain / size, lambda gain, size: gain / size**0.5, *starts]
        best, least = NONE, float("inf")
        for score in starts:
            chosen = self._greedy(score)
            if self._rules.budget is not None:
                chosen = self._improved(chosen)
            cost = self._objective(chosen)
            if cost < least - _EPSILON * abs(least if least < float("inf") else 1):
                best, least = chosen, cost
        best = self._worthwhile(self._simplified(best))
        gains = {one: self._loss(one, best) for one in best}
        refused = ((c, self._reasons.get(c, "a smaller one saves nearly as much")) for c in self._pool if c not in best)
        return Selection(best, tuple(refused), gains)

    # --- candidates ---------------------------------------------------------------------------------------------

    def _candidates(self) -> list[Candidate]:
        pool = {one for studied in self._costs.queries for one in studied.promising}
        pool |= {variant for merged in _merged(pool) for variant in variants(merged)}
        budget = self._rules.budget
        return sorted((c for c in pool if budget is None or self._rules.size(c) <= budget), key=lambda one: one.id)

    def _moves(self) -> list[Configuration]:
        moves = {frozenset({one}) for one in self._pool}
        pool = set(self._pool)
        for studied in self._costs.queries:
            for package in studied.packages:
                if 1 < len(package) <= 4 and package <= pool:
                    moves.add(package)
        return sorted(moves, key=lambda move: sorted(one.id for one in move))

    # --- value --------------------------------------------------------------------------------------------------

    def _objective(self, configuration: Configuration) -> float:
        return self._costs.total(configuration) + self._rules.upkeep(configuration)

    def _bytes(self, configuration: Iterable[Candidate]) -> int:
        return sum(map(self._rules.size, configuration))

    def _fits(self, configuration: Configuration) -> bool:
        budget, most = self._rules.budget, self._rules.most
        return (budget is None or self._bytes(configuration) <= budget) and (most is None or len(configuration) <= most)

    def _concerned(self, changed: Iterable[Candidate]) -> list[Studied]:
        found = {id(one): one for candidate in changed for one in self._costs.concerned(candidate)}
        return list(found.values())

    def _gain(self, before: Configuration, after: Configuration) -> float:
        """What a change saves: only queries that it concerns are asked for."""
        changed = before ^ after
        queries = self._concerned(changed)
        saved = self._costs.total(before, queries) - self._costs.total(after, queries)
        return saved - self._paid(before, after)

    def _paid(self, before: Configuration, after: Configuration) -> float:
        tables = {one.table for one in before ^ after}
        first, second = (frozenset(c for c in one if c.table in tables) for one in (before, after))
        return self._rules.upkeep(second) - self._rules.upkeep(first)

    def _bound(self, move: Configuration) -> float:
        """More than a move can ever save."""
        return sum(one.query.calls * (one.before - one.best) for one in self._concerned(move))

    # --- search -------------------------------------------------------------------------------------------------

    def _greedy(self, score: Callable[[float, int], float]) -> Configuration:
        """Lazily: a move's value is asked for again only when it comes to the top of the heap."""
        chosen = NONE
        heap = []
        for number, move in enumerate(self._moves()):
            bound = self._bound(move)
            if bound > 0:
                heap.append((-score(bound, max(self._bytes(move), 1)), number, -1, move))
        heapq.heapify(heap)
        steps = 0
        while heap:
            _, number, asked, move = heapq.heappop(heap)
            added = move - chosen
            if not added:
                continue
            if not self._fits(chosen | added):
                self._note(added, f"it does not fit beside the others ({self._bytes(added) / 1e6:,.0f} MB)")
                continue
            if asked == steps:
                chosen |= added
                steps += 1
                continue
            reason, gain = self._why_not(added, chosen | added)
            if reason is not None:
                self._note(added, reason)
                continue
            heapq.heappush(heap, (-score(gain, max(self._bytes(added), 1)), number, steps, move))
        return chosen

    def _note(self, added: Configuration, reason: str) -> None:
        for one in added if len(added) == 1 else ():
            self._reasons[one] = reason

    def _improved(self, chosen: Configuration) -> Configuration:
        """Exchange one for another while that saves something; at most a few sweeps."""
        for _ in range(2):
            changed = False
            for old in sorted(chosen, key=lambda one: one.id):
                without = chosen - {old}
                best, most = chosen, _EPSILON * self._workload
                for new in self._alternatives(old):
                    if new in chosen:
                        continue
                    other = without | {new}
                    if self._fits(other):
                        gain = self._gain(chosen, other)
                        if gain > most:
                            best, most = other, gain
                if best is not chosen:
                    chosen, changed = best, True
            if not changed:
                break
        return chosen

    def _alternatives(self, old: Candidate) -> list[Candidate]:
        """Others that could serve the queries that one serves, the smallest first."""
        names = {one.query.id for one in self._costs.concerned(old)}
        found = [
            one
            for one in self._pool
            if one.table == old.table and one != old and any(q.query.id in names for q in self._costs.concerned(one))
        ]
        return sorted(found, key=lambda one: (self._rules.size(one), one.id))[:MOST_ALTERNATIVES]

    def _simplified(self, chosen: Configuration) -> Configuration:
        """Leave out what others make superfluous, and take smaller indexes that save nearly as much."""
        for one in sorted(chosen, key=lambda one: (-self._rules.size(one), one.id)):
            loss = self._loss(one, chosen)
            if loss <= 0:
                chosen -= {one}
                continue
            for other in self._alternatives(one):
                simpler = _simpler(other, one) and self._rules.size(other) <= self._rules.size(one)
                if other in chosen or not (simpler or self._much_smaller(other, one)):
                    continue
                exchanged = chosen - {one} | {other}
                if -self._gain(chosen, exchanged) <= SIMPLER * loss:
                    chosen = exchanged
                    break
        return chosen

    def _much_smaller(self, one: Candidate, other: Candidate) -> bool:
        """Such as a partial index in place of a full one, which also costs fewer writes."""
        return self._rules.size(one) < 0.5 * self._rules.size(other) and len(one.keys) <= len(other.keys) + 1

    def _loss(self, one: Candidate, chosen: Configuration) -> float:
        return self._gain(chosen - {one}, chosen)

    def _worthwhile(self, chosen: Configuration) -> Configuration:
        """Without those that are not worth their being there, now that the others are."""
        for one in sorted(chosen, key=lambda one: (self._loss(one, chosen), one.id)):
            reason, _ = self._why_not(frozenset({one}), chosen)
            if reason is not None:
                self._reasons[one] = reason
                chosen -= {one}
        return chosen

    def _why_not(self, added: Configuration, chosen: Configuration) -> tuple[str | None, float]:
        """What speaks against having some of the chosen, if anything does; and what they save."""
        without = chosen - added
        served, before, after, unindexed, halves = 0, 0.0, 0.0, 0.0, False
        for one in self._concerned(added):
            first, second = self._costs.of(one, without), self._costs.of(one, chosen)
            before, after = before + first, after + second
            if second < 0.99 * first:
                served += 1
                unindexed += one.query.calls * one.before
                halves = halves or second <= HALF * first
        gain = before - after - self._paid(without, chosen)
        if not served:
            return "the planner would not use it beside the others", gain
        if gain <= 0:
            return "its upkeep by writes costs more than it saves", gain
        if gain < LEAST_SHARE * self._workload:
            return "what it would save is too little to be noticed", gain
        if gain < self._rules.least_gain * unindexed and gain < LEAST_LEFT * self._least:
            return (
                f"beside the others it saves less than {self._rules.least_gain:.0%} of the queries that it serves",
                gain,
            )
        if gain < SHARE * self._workload and not halves:
            return f"it halves no query's cost and saves less than {SHARE:.0%} of the workload", gain
        return None, gain


def _simpler(one: Candidate, other: Candidate) -> bool:
    return len(one.keys) + len(one.include) < len(other.keys) + len(other.include)


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
