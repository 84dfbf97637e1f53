"""Series go to the fingerprints that cost most, and never to more than twice the limit."""

from __future__ import annotations

import random

from dbvitals_instrumentation.budget import Budget


def test_the_first_fingerprints_are_admitted_until_the_limit() -> None:
    budget = Budget(2)
    assert [budget.charge(budget.cost_of(name), 10) for name in ("a", "b", "c")] == [True, True, False]


def test_one_that_comes_to_cost_twice_the_cheapest_takes_its_place() -> None:
    budget = Budget(2)
    a, b, c = (budget.cost_of(name) for name in "abc")
    budget.charge(a, 1000)
    budget.charge(b, 10)
    assert budget.charge(c, 15) is False
    assert budget.charge(c, 30) is True
    assert (budget.admits("a"), budget.admits("b"), budget.admits("c")) == (True, False, True)
    assert budget.charge(b, 1) is False


def test_places_change_hands_a_limited_number_of_times_and_accounts_are_bounded() -> None:
    budget, chance = Budget(5), random.Random(3)
    ever: set[str] = set()
    for number in range(2000):
        cost = budget.cost_of(f"q{chance.randrange(500)}")
        if budget.charge(cost, number):
            ever.add(cost.fingerprint)
    assert len(ever) <= 10
    assert sum(budget.admits(f"q{n}") for n in range(500)) == 5
    assert len(budget._costs) <= 5 * 5


def test_a_fingerprint_keeps_its_account() -> None:
    budget = Budget(1)
    assert budget.cost_of("a") is budget.cost_of("a")
