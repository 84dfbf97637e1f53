from __future__ import annotations

from typing import Any

from dbvitals_processors.hints.candidates import candidates
from dbvitals_processors.hints.costs import Studied
from dbvitals_processors.hints.model import Candidate, Catalogue, Key, TableName, WorkloadQuery
from dbvitals_processors.hints.parsing import parse, read
from dbvitals_processors.hints.study import study, variants

ORDERS = TableName("public", "orders")


def index(*columns: str, include: tuple[str, ...] = ()) -> Candidate:
    return Candidate(ORDERS, tuple(Key(one, one) for one in columns), include)


def studied(sql: str, costs: list[Any], shop: Catalogue, table_planner: Any) -> tuple[Studied, int]:
    planner = table_planner({"q": costs})
    return study(WorkloadQuery("q", sql), read(parse(sql, "postgresql"), shop), planner, shop), planner.what_if_calls


BY_STATUS = "SELECT * FROM orders WHERE status = :s AND gift = :g"


def test_what_the_planner_chooses_is_promising_and_then_what_it_chooses_without_that(
    shop: Catalogue, table_planner: Any
) -> None:
    costs = [
        (frozenset(), 1000.0),
        (frozenset({index("status", "gift")}), 10.0),
        (frozenset({index("gift")}), 100.0),
        (frozenset({index("status")}), 990.0),
    ]
    found, _ = studied(BY_STATUS, costs, shop, table_planner)
    assert (found.before, found.best) == (1000.0, 10.0)
    assert found.packages == (frozenset({index("status", "gift")}), frozenset({index("gift")}))
    assert found.promising == {index("status", "gift"), index("status"), index("gift")}
    assert found.promising <= found.possible | {index("status")}


def test_what_saves_little_is_not_promising(shop: Catalogue, table_planner: Any) -> None:
    found, calls = studied(BY_STATUS, [(frozenset(), 1000.0), (frozenset({index("gift")}), 960.0)], shop, table_planner)
    assert not found.promising
    assert calls == 2


def test_a_query_without_candidates_is_asked_for_once(shop: Catalogue, table_planner: Any) -> None:
    for sql in ("SELECT * FROM states WHERE name = 'x'", "SELECT * FROM orders", "SELECT 1"):
        found, calls = studied(sql, [(frozenset(), 10.0)], shop, table_planner)
        assert (found.possible, calls) == (frozenset(), 1)


def test_an_index_has_simpler_variants() -> None:
    assert variants(index("a", "b", include=("c",))) == {
        index("a", "b", include=("c",)),
        index("a", "b"),
        index("a"),
    }


def test_all_candidates_of_all_tables_are_possible(shop: Catalogue, table_planner: Any) -> None:
    sql = "SELECT * FROM orders o JOIN users u ON u.id = o.user_id WHERE u.email = :e"
    found, _ = studied(sql, [(frozenset(), 10.0)], shop, table_planner)
    reading = read(parse(sql, "postgresql"), shop)
    assert found.possible == {one for access in reading.accesses for one in candidates(access, shop)}
    assert {one.table.name for one in found.possible} == {"orders", "users"}
