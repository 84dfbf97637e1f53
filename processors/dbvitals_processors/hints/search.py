"""The search for the set of indexes that is worth most: greedy, then by exchanges.

Greedy by gain, or by gain for each byte under a budget, over single candidates and over the sets that the planner chose
together for a query (a join may need two). Under a budget the order in which the greedy fills it matters too much: so
each index that was left out is tried in the place of those that give least for their bytes, and what becomes free is
filled again, while that is better.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from dbvitals_processors.hints.costs import NONE
from dbvitals_processors.hints.model import Candidate, Configuration
from dbvitals_processors.hints.worth import Worth

Score = Callable[[float, int], float]

_EPSILON = 1e-6
_SWEEPS = 3
_FILLERS = 24
_BY_GAIN: Score = lambda gain, size: gain / size**0.15  # noqa: E731 — a tie breaker: of two alike, the smaller
_BY_BOTH: Score = lambda gain, size: gain / size**0.5  # noqa: E731
_BY_DENSITY: Score = lambda gain, size: gain / size  # noqa: E731


class Search:
    """Searches among moves: sets of candidates that are taken together. Deterministic.

    Attributes:
        reasons: why single candidates were left out.
    """

    def __init__(self, worth: Worth, moves: Sequence[Configuration]) -> None:
        self._worth = worth
        self._moves = moves
        self.reasons: dict[Candidate, str] = {}

    def best(self) -> Configuration:
        """The best set that was found."""
        if self._worth.rules.budget is None:
            return self._greedy(_BY_GAIN)
        starts = dict.fromkeys(self._greedy(score) for score in (_BY_DENSITY, _BY_BOTH, _BY_GAIN))
        first, *others = sorted(starts, key=lambda one: (self._worth.objective(one), sorted(c.id for c in one)))
        best = self._exchanged(first)
        for other in others if self._worth.patient else ():
            found = self._exchanged(other)
            if self._worth.objective(found) < self._worth.objective(best):
                best = found
        return best

    def _greedy(self, score: Score) -> Configuration:
        """Lazily: a move's value is asked for again only when it comes to the top of the heap."""
        worth, chosen, steps = self._worth, NONE, 0
        heap = []
        for number, move in enumerate(self._moves):
            bound = worth.bound(move)
            if bound > 0:
                heap.append((-score(bound, max(worth.bytes(move), 1)), number, -1, move))
        heapq.heapify(heap)
        while heap:
            _, number, asked, move = heapq.heappop(heap)
            added = move - chosen
            if not added:
                continue
            if not worth.fits(chosen | added):
                self._note(added, f"it does not fit beside the others ({worth.bytes(added) / 1e6:,.0f} MB)")
            elif asked == steps:
                chosen |= added
                steps += 1
            elif worth.is_hopeless(added, chosen):
                self._note(added, "the queries that it would serve have what they need by others")
            else:
                reason, gain = worth.why_not(added, chosen | added)
                if reason is None:
                    heapq.heappush(heap, (-score(gain, max(worth.bytes(added), 1)), number, steps, move))
                else:
                    self._note(added, reason)
        return chosen

    def _note(self, added: Configuration, reason: str) -> None:
        for one in added if len(added) == 1 else ():
            self.reasons[one] = reason

    def _exchanged(self, chosen: Configuration) -> Configuration:
        """Try each candidate that was left out in the place of others."""
        ranked = self._ranked()
        for _ in range(_SWEEPS):
            before = chosen
            for move in ranked:
                if move <= chosen or not self._worth.patient:
                    continue
                trial = self._filled(self._made_room(chosen, move), ranked)
                if trial != chosen and self._worth.gain(chosen, trial) > _EPSILON * self._worth.workload:
                    chosen = trial
            if chosen == before:
                break
        return chosen

    def _ranked(self) -> list[Configuration]:
        """Moves by what they save alone for each byte."""
        found = []
        for number, move in enumerate(self._moves):
            gain = self._worth.gain(NONE, move)
            if gain > 0 and self._worth.fits(move):
                found.append((-gain / max(1, self._worth.bytes(move)), number, move))
        return [move for _, _, move in sorted(found, key=lambda one: one[:2])]

    def _made_room(self, chosen: Configuration, move: Configuration) -> Configuration:
        """The move with as many of the chosen as there is room for: those that give least for their bytes give way."""
        worth = self._worth
        trial = chosen | move
        while not worth.fits(trial):
            rest = sorted(trial - move, key=lambda one: one.id)
            trial -= {min(rest, key=lambda one: worth.loss(one, trial) / worth.rules.size(one))}
        return trial

    def _filled(self, chosen: Configuration, ranked: Sequence[Configuration]) -> Configuration:
        """With what still fits and saves something."""
        worth = self._worth
        for move in ranked[:_FILLERS]:
            more = chosen | move
            if more != chosen and worth.fits(more) and worth.gain(chosen, more) > _EPSILON * worth.workload:
                chosen = more
        return chosen
