from __future__ import annotations

from typing import Any

import pytest

from dbvitals_processors.hints.explain.inverted import bitmap_cost, conjuncts, saving, serves
from dbvitals_processors.hints.model import Candidate, Catalogue, Key, Table, TableName

ORDERS = TableName("public", "orders")
SETTINGS = {
    "seq_page_cost": 1.0,
    "random_page_cost": 4.0,
    "cpu_tuple_cost": 0.01,
    "cpu_index_tuple_cost": 0.005,
    "cpu_operator_cost": 0.0025,
}


def gin(sql: str, opclass: str = "", column: str | None = None) -> Candidate:
    return Candidate(ORDERS, (Key(sql, column, opclass=opclass),), (), "", "gin")


TRIGRAMS, DOCUMENT, TAGS = (
    gin("note", "gin_trgm_ops", "note"),
    gin("data", "jsonb_path_ops", "data"),
    gin("tags", "", "tags"),
)


@pytest.fixture
def orders(shop: Catalogue) -> Table:
    return shop.tables[ORDERS]


@pytest.mark.parametrize(
    "candidate, condition, found",
    [
        (TRIGRAMS, "(note ~~ '%abc%'::text)", True),
        (TRIGRAMS, "(note ~~* '%abc%'::text)", True),
        (TRIGRAMS, "(note ~ 'abc'::text)", True),
        (TRIGRAMS, "(note ~~ '%ab%'::text)", False),
        (TRIGRAMS, "(note !~~ '%abc%'::text)", False),
        (TRIGRAMS, "(number ~~ '%abc%'::text)", False),
        (TRIGRAMS, "(note = 'abc'::text)", False),
        (DOCUMENT, "(data @> '{\"a\": 1}'::jsonb)", True),
        (DOCUMENT, "(data = '{}'::jsonb)", False),
        (TAGS, "(tags && '{x}'::text[])", True),
        (TAGS, "(data @> '{}'::jsonb)", False),
    ],
)
def test_an_index_serves_its_own_operators_on_its_own_column(
    orders: Table, candidate: Candidate, condition: str, found: bool
) -> None:
    assert serves(candidate, condition, orders) is found


def test_filters_are_split_where_postgresql_joins_them() -> None:
    assert list(conjuncts("((a = 1) AND (b ~~ 'x) AND (y'::text))")) == ["(a = 1)", "(b ~~ 'x) AND (y'::text)"]
    assert list(conjuncts("(a = 1)")) == ["(a = 1)"]
    assert list(conjuncts("((a = 1) OR (b = 2))")) == ["((a = 1) OR (b = 2))"]


def test_few_rows_cost_little_and_all_rows_cost_as_much_as_the_table(orders: Table) -> None:
    few, many, all_ = (bitmap_cost(rows, orders, SETTINGS) for rows in (10, 10_000, 200_000))
    assert few < 100 < many < all_
    assert bitmap_cost(0, orders, SETTINGS) < few


def plan(condition: str, kind: str = "Seq Scan") -> dict[str, Any]:
    return {"Node Type": kind, "Relation Name": "orders", "Alias": "o", "Filter": condition, "Total Cost": 6_500.0}


def test_what_is_saved_is_the_scan_less_the_bitmap(orders: Table) -> None:
    asked: list[str] = []

    def rows_of(source: str) -> float:
        asked.append(source)
        return 20.0

    saved = saving(plan("(note ~~ '%abc%'::text)"), TRIGRAMS, orders, SETTINGS, rows_of)
    assert asked == ["orders AS o WHERE (note ~~ '%abc%'::text)"]
    assert saved == pytest.approx(6_500 - bitmap_cost(20, orders, SETTINGS))


def test_nothing_is_saved_where_nothing_is_served_or_all_rows_are_found(orders: Table) -> None:
    assert saving(plan("(total = 5)"), TRIGRAMS, orders, SETTINGS, lambda _: 1.0) == 0
    assert saving(plan("(note ~~ '%abc%'::text)"), TRIGRAMS, orders, SETTINGS, lambda _: 200_000.0) == 0
