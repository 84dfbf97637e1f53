from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dbvitals_processors.hints.model import Catalogue
from dbvitals_processors.hints.parsing import parse, read
from dbvitals_processors.hints.reading import Access


def asked(condition: str, shop: Catalogue, system: str = "postgresql", **fixed: Any) -> Access:
    """What ``SELECT * FROM orders WHERE …`` asks; ``b1="x"`` is a bind that always has one value."""
    known = replace(shop, system=system)
    constants = {int(name[1:]) - 1: value for name, value in fixed.items()}
    found = read(parse(f"SELECT * FROM orders WHERE {condition}", system), known, constants).accesses
    return next(one for one in found if one.alias == "orders")


def operators(condition: str, shop: Catalogue, system: str = "postgresql", **fixed: Any) -> list[tuple[str, str]]:
    return [(one.term.sql, one.operator) for one in asked(condition, shop, system, **fixed).predicates]


@pytest.mark.parametrize(
    "condition, found",
    [
        ("status = 'new'", [("status", "eq")]),
        ("'new' = status", [("status", "eq")]),
        ("user_id > 5 AND user_id <= :b", [("user_id", "range")] * 2),
        ("user_id BETWEEN :a AND :b", [("user_id", "range")]),
        ("status IN ('new', 'paid')", [("status", "in")]),
        ("status IN ('new')", [("status", "eq")]),
        ("user_id = ANY(:ids)", [("user_id", "in")]),
        ("user_id IN (SELECT id FROM users)", [("user_id", "eq")]),
        ("deleted_at IS NULL", [("deleted_at", "null")]),
        ("gift", [("gift", "true")]),
        ("gift = true", [("gift", "true")]),
        ("NOT gift", [("gift", "false")]),
        ("gift IS FALSE", [("gift", "false")]),
        ("note LIKE 'a%'", [("note", "prefix")]),
        ("note LIKE '%a'", [("note", "infix")]),
        ("note LIKE 'a!%%' ESCAPE '!'", [("note", "prefix")]),
        ("note ~ 'a'", [("note", "infix")]),
        ("lower(note) LIKE lower('A%')", [("lower(note)", "prefix")]),
        ("data @> '{}'", [("data", "contains")]),
        ("data ? 'k'", [("data", "has_key")]),
        ("tags && ARRAY['x']", [("tags", "overlaps")]),
        ("words @@ to_tsquery('x')", [("words", "match")]),
        ("(placed_at, id) > (:p, :i)", [("placed_at", "row_range")]),
        ("(user_id, status) = (1, 'new')", [("user_id", "eq"), ("status", "eq")]),
        ("(user_id = 1 OR user_id = 2)", [("user_id", "in")]),
        ("lower(number) = :n", [("lower(number)", "eq")]),
    ],
)
def test_conditions_are_what_an_index_might_serve(shop: Catalogue, condition: str, found: list[Any]) -> None:
    assert operators(condition, shop) == found


@pytest.mark.parametrize("system", ["postgresql", "mysql", "sqlite"])
@pytest.mark.parametrize("condition", ["deleted_at IS NOT NULL", "NOT deleted_at IS NULL", "NOT (deleted_at IS NULL)"])
def test_what_is_not_null_is_never_read_as_null(shop: Catalogue, system: str, condition: str) -> None:
    (one,) = asked(condition, shop, system).predicates
    assert (one.operator, one.sql) == ("notnull", "deleted_at IS NOT NULL")


@pytest.mark.parametrize("system", ["postgresql", "mysql", "sqlite"])
@pytest.mark.parametrize(
    "condition",
    [
        "note NOT LIKE 'a%'",
        "NOT note LIKE 'a%'",
        "note NOT LIKE 'a%' ESCAPE '!'",
        "status NOT IN ('new', 'paid')",
        "user_id NOT IN (SELECT id FROM users)",
        "user_id NOT BETWEEN 1 AND 5",
        "gift IS NOT TRUE",
        "gift IS NOT FALSE",
        "status <> 'new'",
        "NOT status = 'new'",
        "note NOT REGEXP 'a'",
        "NOT (status = 'new' AND gift)",
        "status IS DISTINCT FROM 'new'",
    ],
)
def test_what_is_negated_asks_for_nothing(shop: Catalogue, system: str, condition: str) -> None:
    found = asked(f"{condition} AND id > 0", shop, system)
    assert [one.term.sql for one in found.predicates] == ["id"]


@pytest.mark.parametrize("condition", ["note NOT ILIKE 'a%'", "note !~ 'a'", "note !~~ 'a%'", "note !~~* 'a%'"])
def test_what_postgresql_negates_by_an_operator_asks_for_nothing(shop: Catalogue, condition: str) -> None:
    assert operators(condition, shop) == []


@pytest.mark.parametrize(
    "condition, fixed, sql",
    [
        ("status = 'it''s'", {}, "status = 'it''s'"),
        ("status IN ('new', 'paid', 'new')", {}, "status IN ('new', 'paid')"),
        ("status = :s", {"b1": "new"}, "status = 'new'"),
        ("status = :s", {"b1": "o'x"}, "status = 'o''x'"),
        ("status = :s", {}, ""),
        ("user_id > 5", {}, ""),
        ("gift IS TRUE", {}, "gift IS TRUE"),
        ("NOT gift", {}, "NOT gift"),
        ("gift", {}, "gift"),
        ("deleted_at IS NULL", {}, "deleted_at IS NULL"),
        ('"Group" = 5', {}, '"Group" = 5'),
    ],
)
def test_only_constants_make_the_predicate_of_a_partial_index(
    shop: Catalogue, condition: str, fixed: dict[str, Any], sql: str
) -> None:
    (one,) = asked(condition, shop, **fixed).predicates
    assert one.sql == sql


def test_lists_of_binds_are_constants_where_all_samples_hold_few_values(shop: Catalogue) -> None:
    tree = parse("SELECT * FROM orders WHERE status IN (:a, :b)", "postgresql")
    few = read(tree, shop, {}, {0: ["new", "paid"], 1: ["paid"]}).accesses[0].predicates[0]
    many = read(tree, shop, {}, {0: list("abcdefg"), 1: ["x"]}).accesses[0].predicates[0]
    assert few.sql == "status IN ('new', 'paid')"
    assert many.sql == ""


def test_each_branch_of_an_or_is_kept_and_what_all_demand_is_taken_out(shop: Catalogue) -> None:
    found = asked("(gift AND user_id = 1) OR (gift AND note = 'x')", shop)
    assert [one.term.sql for one in found.predicates] == ["gift"]
    assert [[p.term.sql for p in branch] for branch in found.alternatives[0]] == [["user_id"], ["note"]]


def test_an_or_with_a_branch_that_nothing_serves_is_no_alternative(shop: Catalogue) -> None:
    assert asked("user_id = 1 OR total <> 5", shop).alternatives == ()


@pytest.mark.parametrize(
    "condition, reason",
    [
        ("placed_at::date = :d", "time zone"),
        ("soundex(note) = :s", "not known to be immutable"),
        ("placed_at > shipped_on", "compares columns of one table"),
        ("'x' = ANY(tags)", "ANY(column)"),
    ],
)
def test_what_no_index_serves_as_it_stands_has_its_reason(shop: Catalogue, condition: str, reason: str) -> None:
    ((_, why),) = asked(condition, shop).opaque
    assert reason in why


def test_joins_ask_each_table_for_its_side(shop: Catalogue) -> None:
    sql = "SELECT * FROM orders o JOIN users u ON u.id = o.user_id AND u.name = :n WHERE o.status = 'new'"
    found = {one.alias: one for one in read(parse(sql, "postgresql"), shop).accesses}
    assert [(p.term.sql, p.value.kind) for p in found["o"].predicates] == [("status", "constant"), ("user_id", "join")]
    assert [(p.term.sql, p.value.kind) for p in found["u"].predicates] == [("id", "join"), ("name", "bind")]
