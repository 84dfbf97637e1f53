from __future__ import annotations

from dataclasses import replace
from typing import Any

from dbvitals_processors.hints.explain.size import PAGE, build_seconds, index_bytes
from dbvitals_processors.hints.model import Candidate, Catalogue, Key, TableName

ORDERS = TableName("public", "orders")


def size(shop: Catalogue, *columns: str, share: float = 1.0, rows: float = 200_000, **rest: Any) -> int:
    table = replace(shop.tables[ORDERS], rows=rows)
    return index_bytes(Candidate(ORDERS, tuple(Key(one, one) for one in columns), **rest), table, share)


def test_more_keys_take_more_and_equal_keys_less(shop: Catalogue) -> None:
    assert size(shop, "status") < size(shop, "user_id") < size(shop, "user_id", "total") < size(shop, "note", "total")


def test_a_partial_index_takes_its_share_and_an_included_column_its_width(shop: Catalogue) -> None:
    whole = size(shop, "id")
    assert abs(size(shop, "id", where="gift", share=0.1) - whole * 0.1) < whole * 0.05
    assert size(shop, "status", include=("total",)) > 2 * size(shop, "status")


def test_the_least_is_a_page_with_its_root(shop: Catalogue) -> None:
    assert size(shop, "id", rows=0) == size(shop, "id", rows=10) == 2 * PAGE


def test_block_ranges_are_tiny_and_inverted_indexes_are_not(shop: Catalogue) -> None:
    assert size(shop, "placed_at", method="brin") < 10 * PAGE
    assert size(shop, "note", method="gin") > size(shop, "user_id")


def test_building_takes_longer_for_more() -> None:
    assert 0 < build_seconds(2 * PAGE, 10) < build_seconds(10**8, 10**6) < 10
