from __future__ import annotations

from typing import cast

import pytest
from sqlglot import exp
from sqlglot.optimizer.scope import traverse_scope

from dbvitals_processors.hints.model import Catalogue
from dbvitals_processors.hints.parsing import parse
from dbvitals_processors.hints.reading import Term
from dbvitals_processors.hints.terms import ELSEWHERE, Resolver, term_of, why_not_immutable


def looked_at(expression: str, shop: Catalogue, alias: str = "orders") -> tuple[Term | None, str | None]:
    """The term that a selected expression is, and why it is none."""
    tree = parse(f"SELECT {expression} FROM orders", "postgresql")
    scope = list(traverse_scope(tree))[-1]
    node = cast("exp.Select", tree).expressions[0].unalias()
    table = shop.find(alias)
    assert table is not None
    return term_of(node, alias, scope, Resolver(shop, "postgres", {}, {})), why_not_immutable(node, table)


@pytest.mark.parametrize(
    "expression, sql, columns",
    [
        ("status", "status", {"status"}),
        ("((orders.status))", "status", {"status"}),
        ("STATUS", "status", {"status"}),
        ('"Group"', '"Group"', {"Group"}),
        ("lower(orders.number)", "lower(number)", {"number"}),
        ("LOWER(Number)", "lower(number)", {"number"}),
        ("data ->> 'colour'", "(data ->> 'colour')", {"data"}),
        ("coalesce(note, number)", "coalesce(note, number)", {"note", "number"}),
        ("user_id % 10", "(user_id % 10)", {"user_id"}),
        ("to_tsvector('english', note)", "to_tsvector('english', note)", {"note"}),
        ("date_trunc('day', created_at)", None, set()),
    ],
)
def test_what_an_index_can_hold_is_written_as_the_database_would(
    shop: Catalogue, expression: str, sql: str | None, columns: set[str]
) -> None:
    term, _ = looked_at(expression, shop)
    assert (term.sql if term else None, set(term.columns) if term else set()) == (sql, columns)


@pytest.mark.parametrize(
    "expression, reason",
    [
        ("random()", "not known to be immutable"),
        ("my_function(note)", "my_function() is not known to be immutable"),
        ("soundex(note)", "soundex is not known to be immutable"),
        ("to_tsvector(note)", "fixed configuration"),
        ("placed_at::date", "time zone"),
        ("date_trunc('day', placed_at)", "time zone"),
        ("extract(year FROM placed_at)", "time zone"),
        ("placed_at::text", "time zone"),
        ("note::date", "time zone"),
        ("lower(note || :b)", "it holds a bind"),
    ],
)
def test_what_no_index_can_hold_has_a_reason(shop: Catalogue, expression: str, reason: str) -> None:
    term, why = looked_at(expression, shop)
    assert term is None
    assert why is not None
    assert reason in why


@pytest.mark.parametrize("expression", ["shipped_on::timestamp", "date_trunc('month', shipped_on)", "total::int"])
def test_what_depends_on_no_time_zone_can_be_held(shop: Catalogue, expression: str) -> None:
    assert looked_at(expression, shop)[1] is None


def test_the_same_expression_is_the_same_term_however_it_is_written(shop: Catalogue) -> None:
    assert looked_at("LOWER( orders.note )", shop)[0] == looked_at("lower(note)", shop)[0]


def test_columns_of_an_outer_query_are_elsewhere(shop: Catalogue) -> None:
    tree = parse("SELECT 1 FROM users u WHERE EXISTS (SELECT 1 FROM orders o WHERE o.user_id = u.id)", "postgresql")
    inner = next(iter(traverse_scope(tree)))
    assert Resolver(shop, "postgres", {}, {}).aliases(inner.expression.args["where"], inner) == {"o", ELSEWHERE}
