from __future__ import annotations

from typing import Any

import pytest

from dbvitals_processors.hints.explain.expressions import is_folding, saving
from dbvitals_processors.hints.model import Candidate, Catalogue, Key, TableName

USERS = TableName("public", "users")
LOWER = Candidate(USERS, (Key("lower(email)"),))


def plan(condition: str, cost: float = 400.0, index: str = LOWER.name) -> dict[str, Any]:
    below = {"Node Type": "Bitmap Index Scan", "Index Name": index, "Index Cond": condition, "Total Cost": 9.0}
    return {
        "Node Type": "Bitmap Heap Scan", "Relation Name": "users", "Alias": "u", "Total Cost": cost, "Plans": [below],
    }  # fmt: skip


@pytest.mark.parametrize(
    "key, found",
    [
        (Key("lower(email)"), True),
        (Key("upper(email)"), True),
        (Key("md5(email)"), False),
        (Key("email", "email"), False),
    ],
)
def test_only_expressions_that_fold_case_are_looked_at(key: Key, found: bool) -> None:
    assert is_folding(Candidate(USERS, (key,))) is found


def test_a_unique_column_makes_its_folded_form_a_look_up_of_one_row(shop: Catalogue) -> None:
    rows = {
        "users AS u WHERE (email = 'x'::text)": 1.0,
        "users AS u WHERE (lower(email) = 'x'::text)": 250.0,
    }
    saved = saving(plan("(lower(email) = 'x'::text)"), LOWER.name, shop.tables[USERS], rows.__getitem__)
    assert saved == 400 - 8


def test_nothing_is_saved_where_the_plan_has_another_index_or_the_column_tells_less(shop: Catalogue) -> None:
    users = shop.tables[USERS]
    assert saving(plan("(lower(email) = 'x'::text)", index="other"), LOWER.name, users, lambda _: 1.0) == 0
    assert saving(plan("(email = 'x'::text)"), LOWER.name, users, lambda _: 1.0) == 0
    common = {"users AS u WHERE (email = 'x'::text)": 900.0, "users AS u WHERE (lower(email) = 'x'::text)": 250.0}
    assert saving(plan("(lower(email) = 'x'::text)"), LOWER.name, users, common.__getitem__) == 0
