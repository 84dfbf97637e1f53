from __future__ import annotations

from typing import Any

from dbvitals_processors.hints.advise import Options, advise
from dbvitals_processors.hints.model import Candidate, Key, TableName, WorkloadQuery

ORDERS = TableName("public", "orders")
BY_TOTAL = Candidate(ORDERS, (Key("total", "total"),))
QUERY = WorkloadQuery("by total", "SELECT * FROM orders WHERE total = :t", 60.0)
COSTS = {"by total": [(frozenset[Candidate](), 5_000.0), (frozenset({BY_TOTAL}), 8.0)]}


def test_a_hint_says_what_to_build_and_what_that_saves(table_planner: Any) -> None:
    advice = advise(table_planner(COSTS), [QUERY])
    (hint,) = advice.hints
    assert hint.ddl == "CREATE INDEX CONCURRENTLY orders_total_idx ON orders (total)"
    assert (hint.gain, hint.upkeep, hint.bytes) == (60 * 4_992.0, 0.0, 1_000_000)
    (served,) = hint.served
    assert (served.query, served.before, served.after) == (QUERY, 5_000.0, 8.0)
    assert (advice.cost_before, advice.cost_after, advice.queries) == (300_000.0, 480.0, 1)


def test_what_cannot_be_read_is_refused_by_its_name_and_the_rest_goes_on(table_planner: Any) -> None:
    advice = advise(table_planner(COSTS), [WorkloadQuery("odd", "SELECT FROM 'hush' WHERE 'hush"), QUERY])
    assert [(one.query, "hush" in one.reason) for one in advice.refusals if one.query] == [("odd", False)]
    assert len(advice.hints) == 1


def test_what_is_dismissed_is_refused_with_the_reason_given(table_planner: Any) -> None:
    advice = advise(table_planner(COSTS), [QUERY], Options(dismissed=((BY_TOTAL.id, "bought a faster disk"),)))
    assert not advice.hints
    assert [one.reason for one in advice.refusals if one.what == BY_TOTAL.id] == ["dismissed: bought a faster disk"]


def test_inserts_of_the_workload_pay_for_an_index(table_planner: Any) -> None:
    log = WorkloadQuery("log", "INSERT INTO orders (total) VALUES (:t)", 1_000_000.0)
    rare = WorkloadQuery("by total", QUERY.sql, 1.0)
    costs = {**COSTS, "log": [(frozenset[Candidate](), 0.01)]}
    advice = advise(table_planner(costs), [rare, log])
    assert not advice.hints
    assert ("its upkeep by writes costs more than it saves") in [one.reason for one in advice.refusals]


def test_a_delete_asks_for_the_index_that_its_foreign_key_needs(table_planner: Any) -> None:
    by_user = Candidate(ORDERS, (Key("user_id", "user_id"),))
    costs = {
        "gone": [(frozenset[Candidate](), 10.0)],
        "gone: foreign key orders_user": [(frozenset[Candidate](), 5_000.0), (frozenset({by_user}), 9.0)],
    }
    advice = advise(table_planner(costs), [WorkloadQuery("gone", "DELETE FROM users WHERE id = :i", 10.0)])
    assert [hint.candidate for hint in advice.hints] == [by_user]


def test_the_advice_is_the_same_every_time_and_in_any_order(table_planner: Any) -> None:
    other = WorkloadQuery("other", "SELECT * FROM orders WHERE total > :t ORDER BY user_id", 6.0)
    costs = {**COSTS, "other": [(frozenset[Candidate](), 7_000.0), (frozenset({BY_TOTAL}), 700.0)]}
    found = [
        advise(table_planner(costs), some, clock=lambda: 0.0)
        for some in ([QUERY, other], [QUERY, other], [other, QUERY])
    ]
    assert found[0] == found[1]
    assert found[0].hints == found[2].hints
