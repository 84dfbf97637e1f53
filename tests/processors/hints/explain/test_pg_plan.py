from __future__ import annotations

import json
from typing import Any

from dbvitals_processors.hints.explain import pg_plan


def node(kind: str, cost: float, *below: dict[str, Any], **rest: Any) -> dict[str, Any]:
    plan = {"Node Type": kind, "Total Cost": cost, "Plan Rows": 10, **rest}
    return {**plan, "Plans": list(below)} if below else plan


SCAN = node("Seq Scan", 900.0, **{"Relation Name": "orders", "Filter": "(note = 'hush'::text)"})
LOOKUP = node(
    "Index Scan", 8.0, **{"Relation Name": "users", "Index Name": "<77>btree_users_email", "Index Cond": "(x)"}
)
JOIN = node("Nested Loop", 1000.0, {**SCAN, "Parent Relationship": "Outer"}, {**LOOKUP, "Parent Relationship": "Inner"})


def test_a_plan_is_loaded_from_text_or_from_what_a_driver_made_of_it() -> None:
    answer = [{"Plan": JOIN}]
    assert pg_plan.loaded(answer) == pg_plan.loaded(json.dumps(answer)) == JOIN


def test_names_of_hypothetical_indexes_become_ours() -> None:
    assert list(pg_plan.index_names(JOIN)) == ["<77>btree_users_email"]
    assert list(pg_plan.index_names(pg_plan.renamed(JOIN, {77: "users_email_idx"}))) == ["users_email_idx"]
    assert list(pg_plan.index_names(pg_plan.renamed(JOIN, {5: "other"}))) == ["<77>btree_users_email"]


def test_a_plan_as_text_has_no_values() -> None:
    assert pg_plan.as_text(JOIN, {77: "users_email_idx"}) == (
        "Nested Loop  (rows 10, cost 1,000)\n"
        "  Seq Scan on orders  (rows 10, cost 900)\n"
        "  Index Scan using users_email_idx on users  (rows 10, cost 8)"
    )


def test_conditions_are_those_of_all_nodes() -> None:
    assert list(pg_plan.conditions(JOIN)) == ["(note = 'hush'::text)", "(x)"]


def test_a_scan_is_charged_less_where_a_limit_stops_it_early() -> None:
    limited = node("Limit", 20.0, {**SCAN, "Parent Relationship": "Outer"})
    (path,) = pg_plan.paths(limited, "orders")
    assert pg_plan.charged(path) == 20.0
    (path,) = pg_plan.paths(node("Limit", 905.0, node("Sort", 905.0, SCAN)), "orders")
    assert pg_plan.charged(path) == 900.0


def test_a_scan_that_a_subquery_repeats_is_no_path() -> None:
    assert not list(pg_plan.paths(node("Result", 1.0, {**SCAN, "Parent Relationship": "SubPlan"}), "orders"))
