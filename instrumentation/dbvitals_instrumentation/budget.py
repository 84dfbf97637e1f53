"""Which fingerprints keep metric series of their own: those that cost most; the rest shares ``other``.

A metric series once begun stays for the life of the process, so series are given out with care: the first ``limit``
fingerprints get one each. A fingerprint among the rest that comes to cost twice what the cheapest holder has cost
takes its place (the holder's series stays as it is and it joins ``other``), up to ``limit`` times in a process. So
there are never more than twice ``limit``. The costs of the rest are kept for ``4 * limit`` of them; when another one
comes, the cheaper half is forgotten.
"""

from __future__ import annotations

import threading

from dbvitals_instrumentation import fork


class Cost:
    """What one fingerprint has cost, in nanoseconds, and whether it has series of its own."""

    __slots__ = ("admitted", "fingerprint", "next_look", "total")

    def __init__(self, fingerprint: str, admitted: bool) -> None:
        self.fingerprint = fingerprint
        self.admitted = admitted
        self.total = 0
        self.next_look = 0


class Budget:
    """Admits fingerprints to series of their own; safe to use from many threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._promotions_left = limit
        self._costs: dict[str, Cost] = {}
        self._admitted = 0
        self._cheapest = 0  # what the cheapest holder has cost at least: it only grows
        self._lock = threading.Lock()
        fork.renew_lock(self)

    def cost_of(self, fingerprint: str) -> Cost:
        """The account of a fingerprint, opened at its first call."""
        with self._lock:
            cost = self._costs.get(fingerprint)
            if cost is None:
                cost = Cost(fingerprint, self._admitted < self._limit)
                self._admitted += cost.admitted
                if len(self._costs) - self._admitted >= 4 * self._limit:
                    self._forget_cheaper_half()
                self._costs[fingerprint] = cost
            return cost

    def admits(self, fingerprint: str) -> bool:
        """Whether a fingerprint has series of its own now."""
        cost = self._costs.get(fingerprint)
        return cost is not None and cost.admitted

    def charge(self, cost: Cost, nanoseconds: int) -> bool:
        """Add to an account; true where the fingerprint has series of its own."""
        cost.total += nanoseconds
        return cost.admitted or (cost.total > cost.next_look and self.promote(cost))

    def promote(self, cost: Cost) -> bool:
        """Give series to a fingerprint among the rest, if it has come to cost enough; whether it has them now."""
        with self._lock:
            cost.next_look = 2 * cost.total
            if self._promotions_left == 0 or cost.admitted or cost.total < 2 * self._cheapest:
                return cost.admitted
            cheapest = min((each for each in self._costs.values() if each.admitted), key=lambda each: each.total)
            self._cheapest = cheapest.total
            if cost.total >= 2 * cheapest.total:
                cheapest.admitted, cost.admitted = False, True
                self._costs.setdefault(cost.fingerprint, cost)
                self._promotions_left -= 1
            return cost.admitted

    def _forget_cheaper_half(self) -> None:
        rest = sorted((each for each in self._costs.values() if not each.admitted), key=lambda each: each.total)
        for each in rest[: len(rest) // 2 + 1]:
            del self._costs[each.fingerprint]
