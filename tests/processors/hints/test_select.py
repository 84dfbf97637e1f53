from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dbvitals_processors.hints.costs import Configuration, Costs, Studied
from dbvitals_processors.hints.model import Candidate, Catalogue, Key, TableName, WorkloadQuery
from dbvitals_processors.hints.parsing import parse, read
from dbvitals_processors.hints.select import Selection, select
from dbvitals_processors.hints.study import variants
from dbvitals_processors.hints.worth import Rules

ORDERS, USERS = TableName("public", "orders"), TableName("public", "users")
NONE: Configuration = frozenset()


def index(*columns: str, table: TableName = ORDERS, where: str = "") -> Candidate:
    return Candidate(table, tuple(Key(one, one) for one in columns), (), where)


A, B, AB, ABC, U = (
    index("user_id"),
    index("status"),
    index("user_id", "status"),
    index("user_id", "status", "total"),
    index("email", table=USERS),
)
Rows = Sequence[tuple[Configuration, float]]


def chosen(
    shop: Catalogue, table_planner: Any, costs: Mapping[str, Rows], *, upkeep: float = 0.0, **rest: Any
) -> Selection:
    """Selected for queries with these costs, each asked for once an hour; ``upkeep`` is that of one index."""
    planner = table_planner(costs, sizes=rest.pop("sizes", {}))
    reading = read(parse("SELECT * FROM orders JOIN users ON users.id = user_id", "postgresql"), shop)
    studied = []
    for name, rows in costs.items():
        by = {
            one: max(before_of(rows) - cost for used, cost in rows if one in used) for used, _ in rows for one in used
        }
        reach = {v: max(saved for one, saved in by.items() if v in variants(one)) for one in by for v in variants(one)}
        packages = tuple(used for used, _ in rows if used)
        best = min(cost for _, cost in rows)
        query, promising = WorkloadQuery(name, name), frozenset(reach)
        studied.append(Studied(query, reading, promising, promising, packages, before_of(rows), best, reach))
    return select(Costs(planner, studied), Rules(planner.size, lambda some: upkeep * len(some), **rest))


def before_of(rows: Rows) -> float:
    return next(cost for used, cost in rows if not used)


def one(*used: Candidate, cost: float) -> tuple[Configuration, float]:
    return frozenset(used), cost


def test_what_serves_is_chosen_with_what_it_saves(shop: Catalogue, table_planner: Any) -> None:
    found = chosen(shop, table_planner, {"q": [one(cost=1000), one(A, cost=10)]}, upkeep=5)
    assert found.chosen == {A}
    assert found.gains == {A: 985.0}


def test_two_that_help_only_together_are_chosen_together(shop: Catalogue, table_planner: Any) -> None:
    found = chosen(shop, table_planner, {"q": [one(cost=1000), one(A, U, cost=10)]})
    assert found.chosen == {A, U}


def test_one_that_serves_two_queries_makes_its_prefix_superfluous(shop: Catalogue, table_planner: Any) -> None:
    costs = {"q": [one(cost=1000), one(A, cost=10), one(AB, cost=10)], "r": [one(cost=1000), one(AB, cost=5)]}
    found = chosen(shop, table_planner, costs)
    assert found.chosen == {AB}
    assert A in dict(found.refused)


def test_the_simpler_one_is_taken_where_it_saves_nearly_as_much(shop: Catalogue, table_planner: Any) -> None:
    costs = {"q": [one(cost=1000), one(AB, cost=99.9), one(A, cost=100)]}
    assert chosen(shop, table_planner, costs, sizes={AB: 2_000_000}).chosen == {A}


def test_a_budget_is_kept_to(shop: Catalogue, table_planner: Any) -> None:
    costs = {"q": [one(cost=1000), one(A, cost=10)], "r": [one(cost=900), one(U, cost=10)]}
    for budget, names in ((3_000_000, {A, U}), (1_500_000, {A}), (500_000, set())):
        assert chosen(shop, table_planner, costs, budget=budget).chosen == names


def test_under_a_budget_two_small_ones_may_beat_a_large_one(shop: Catalogue, table_planner: Any) -> None:
    costs = {
        "q": [one(cost=1000), one(A, cost=10)],
        "r": [one(cost=800), one(U, cost=10)],
        "s": [one(cost=800), one(B, cost=10)],
    }
    sizes = {A: 2_000_000, U: 1_000_000, B: 1_000_000}
    assert chosen(shop, table_planner, costs, budget=2_000_000, sizes=sizes).chosen == {U, B}


def test_there_are_at_most_as_many_as_are_wanted(shop: Catalogue, table_planner: Any) -> None:
    costs = {"q": [one(cost=1000), one(A, cost=10)], "r": [one(cost=900), one(U, cost=10)]}
    assert chosen(shop, table_planner, costs, most=1).chosen == {A}


def test_upkeep_that_is_dearer_than_the_gain_refuses_an_index(shop: Catalogue, table_planner: Any) -> None:
    found = chosen(shop, table_planner, {"log": [one(cost=1000), one(A, cost=10)]}, upkeep=2_000)
    assert found.chosen == NONE
    assert dict(found.refused)[A] == "its upkeep by writes costs more than it saves"


@pytest.mark.parametrize("saved", [1.0, 40.0])
def test_what_saves_little_is_refused_with_a_reason(shop: Catalogue, table_planner: Any, saved: float) -> None:
    found = chosen(shop, table_planner, {"q": [one(cost=100_000), one(A, cost=100_000 - saved)]})
    assert found.chosen == NONE
    assert dict(found.refused)[A]


def test_the_same_answers_give_the_same_choice(shop: Catalogue, table_planner: Any) -> None:
    costs = {
        "q": [one(cost=1000), one(A, cost=10), one(B, cost=10), one(AB, cost=9), one(ABC, cost=8)],
        "r": [one(cost=1000), one(ABC, cost=10), one(U, A, cost=12)],
        "s": [one(cost=10), one(B, cost=1)],
    }
    first = chosen(shop, table_planner, costs)
    turned = {name: tuple(reversed(rows)) for name, rows in reversed(costs.items())}
    again = chosen(shop, table_planner, turned)
    assert (first.chosen, first.gains) == (again.chosen, again.gains)
