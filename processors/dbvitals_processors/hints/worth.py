"""What a set of indexes is worth to the whole workload, and what speaks against having one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dbvitals_processors.hints.candidates import existing_like_keys
from dbvitals_processors.hints.costs import NONE, Costs, Studied
from dbvitals_processors.hints.model import Candidate, Configuration

HALF = 0.5
NOTABLE = 0.02
"""An index must take a query to less than half of its cost, or save this share of what the workload costs at best."""
DOUBLE = 0.05
"""The same for one that begins as an existing index does, and adds columns to it alone."""
AS_GOOD = 1.02
"""Times its best cost: a query that costs no more than this has what it needs."""
SERVED = 0.6
"""Share of its cost: a query that costs no more than this is served by some index."""
LEAST_SHARE = 2e-6
"""Share of the workload below which nobody would notice."""


@dataclass(frozen=True)
class Rules:
    """What the selection must keep to.

    Attributes:
        size: bytes of a candidate.
        upkeep: of a set, in planner's units an hour.
        budget: bytes for all indexes together; ``None`` for no limit.
        most: indexes at most.
        least_gain: share of the cost of the queries an index serves that it must save.
        most_calls: questions to the planner after which the search looks no further for better sets.
    """

    size: Callable[[Candidate], int]
    upkeep: Callable[[Configuration], float]
    budget: int | None = None
    most: int | None = None
    least_gain: float = 0.05
    most_calls: int = 1_500


class Worth:
    """Judges sets; all in planner's units an hour."""

    def __init__(self, costs: Costs, rules: Rules) -> None:
        self.costs = costs
        self.rules = rules
        self.workload = costs.total(NONE)
        self._asked = costs.planner.what_if_calls
        self.at_best = sum(one.query.calls * one.best for one in costs.queries)

    def objective(self, configuration: Configuration) -> float:
        """What the workload and the upkeep of the indexes cost."""
        return self.costs.total(configuration) + self.rules.upkeep(configuration)

    def bytes(self, configuration: Iterable[Candidate]) -> int:
        """What they take, all together."""
        return sum(map(self.rules.size, configuration))

    def fits(self, configuration: Configuration) -> bool:
        """Whether they are within the budget and not too many."""
        budget, most = self.rules.budget, self.rules.most
        return (budget is None or self.bytes(configuration) <= budget) and (most is None or len(configuration) <= most)

    @property
    def patient(self) -> bool:
        """Whether the planner may still be asked for the sake of a better set."""
        return self.costs.planner.what_if_calls - self._asked < self.rules.most_calls

    def gain(self, before: Configuration, after: Configuration) -> float:
        """What a change saves: only queries that it concerns are asked for."""
        pairs = (self._pair(one, before, after) for one in self.concerned(before ^ after))
        return sum(first - second for first, second in pairs) - self._paid(before, after)

    def _pair(self, one: Studied, before: Configuration, after: Configuration) -> tuple[float, float]:
        """An hour of a query before and after a change; more indexes are not asked for where it can hardly gain.

        That is where it costs no more than at its best, or is served already and the new ones are not its own.
        """
        if before <= after:
            first = self.costs.of(one, before)
            own = not one.promising.isdisjoint(after - before)
            enough = AS_GOOD * one.best if own else SERVED * one.before
            return first, first if first <= enough * one.query.calls else self.costs.of(one, after)
        if after <= before:
            return self._pair(one, after, before)[::-1]
        return self.costs.of(one, before), self.costs.of(one, after)

    def loss(self, one: Candidate, chosen: Configuration) -> float:
        """What would be lost without one of the chosen."""
        return self.gain(chosen - {one}, chosen)

    def bound(self, move: Configuration) -> float:
        """About the most that a move can save: what the sets that it was chosen in did for their queries."""
        total = 0.0
        for one in self.concerned(move):
            reach = max((one.reach.get(candidate, 0.0) for candidate in move), default=0.0)
            merged = one.promising.isdisjoint(move)  # of two that may each have been for this query
            total += one.query.calls * (0.5 * (one.before - one.best) if merged else reach)
        return total

    def is_hopeless(self, added: Configuration, chosen: Configuration) -> bool:
        """Whether the queries that a move is for have nearly all that they need, so that it need not be tried."""
        saved = 0.0
        concerned = self.concerned(added)
        for one in [one for one in concerned if not one.promising.isdisjoint(added)] or concerned:
            now, best = self.costs.of(one, chosen), one.query.calls * one.best
            if best <= HALF * now:
                return False
            saved += max(0.0, now - best)
        return saved < NOTABLE * self.at_best

    def concerned(self, changed: Iterable[Candidate]) -> list[Studied]:
        """The queries whose plan any of them could change."""
        return list({id(one): one for candidate in changed for one in self.costs.concerned(candidate)}.values())

    def why_not(
        self, added: Configuration, chosen: Configuration, *, finally_: bool = False
    ) -> tuple[str | None, float]:
        """What speaks against having some of the chosen, if anything does; and what they save.

        Args:
            finally_: ask with all of the chosen, not only with those that are likely to concern a query.
        """
        without = chosen - added
        served, before, after, unindexed, halves = 0, 0.0, 0.0, 0.0, False
        for one in self.concerned(added):
            if finally_:
                first, second = (one.query.calls * self.costs.whole(one, c).cost for c in (without, chosen))
            else:
                first, second = self._pair(one, without, chosen)
            before, after = before + first, after + second
            if second < 0.99 * first:
                served += 1
                unindexed += one.query.calls * one.before
                halves = halves or second <= HALF * first
        gain = before - after - self._paid(without, chosen)
        notable = gain >= NOTABLE * self.at_best
        least = self.rules.least_gain
        catalogue = self.costs.planner.catalogue()
        twin = next(filter(None, (existing_like_keys(one, catalogue.tables[one.table]) for one in added)), None)
        if not served:
            return "the planner would not use it beside the others", gain
        if gain <= 0:
            return "its upkeep by writes costs more than it saves", gain
        if gain < LEAST_SHARE * self.workload:
            return "what it would save is too little to be noticed", gain
        if not notable and gain < least * unindexed:
            return f"beside the others it saves less than {least:.0%} of the queries that it serves", gain
        if not notable and not halves:
            return f"it halves no query's cost and saves less than {NOTABLE:.0%} of the workload at its best", gain
        if twin is not None and gain < DOUBLE * self.at_best:
            return f"{twin} has the same keys, and the added columns save too little", gain
        return None, gain

    def _paid(self, before: Configuration, after: Configuration) -> float:
        tables = {one.table for one in before ^ after}
        first, second = (frozenset(c for c in one if c.table in tables) for one in (before, after))
        return self.rules.upkeep(second) - self.rules.upkeep(first)
