from __future__ import annotations

import pytest

from dbvitals_processors.hints.model import Candidate, Catalogue, Key, TableName
from dbvitals_processors.hints.parsing import parse, read
from dbvitals_processors.hints.upkeep import UNITS, Writes, columns_of, upkeep, writes_of

ORDERS = TableName("public", "orders")


def index(*columns: str, where: str = "", include: tuple[str, ...] = (), method: str = "btree") -> Candidate:
    return Candidate(ORDERS, tuple(Key(one, one) for one in columns), include, where, method)  # type: ignore[arg-type]


def paid(shop: Catalogue, *indexes: Candidate, share: float = 0.1, **written: float) -> float:
    """For a hundred inserts, or for updates of a column an hour."""
    inserted = written.pop("inserted", 0.0)
    writes = {ORDERS: Writes(inserted, {frozenset({name}): calls for name, calls in written.items()})}
    return upkeep(indexes, shop, writes, lambda _: share)


def test_an_insert_pays_for_each_row_and_index(shop: Catalogue) -> None:
    assert paid(shop, index("user_id"), inserted=100) == pytest.approx(100 * UNITS)
    assert paid(shop, index("user_id"), index("total"), inserted=100) == pytest.approx(200 * UNITS)


def test_a_partial_index_is_paid_for_by_the_rows_that_it_holds(shop: Catalogue) -> None:
    assert paid(shop, index("user_id", where="gift"), inserted=100) == pytest.approx(10 * UNITS)


def test_inverted_indexes_are_dearer_and_block_ranges_cheaper(shop: Catalogue) -> None:
    plain = paid(shop, index("data"), inserted=100)
    assert paid(shop, index("data", method="gin"), inserted=100) > 5 * plain
    assert paid(shop, index("data", method="brin"), inserted=100) < plain / 10


def test_an_update_of_another_column_pays_nothing(shop: Catalogue) -> None:
    assert paid(shop, index("user_id"), note=100) == 0


@pytest.mark.parametrize(
    "one", [index("note"), index("user_id", include=("note",)), index("user_id", where="note = 'x'")]
)
def test_an_update_that_is_heap_only_no_longer_pays_for_the_old_indexes_too(shop: Catalogue, one: Candidate) -> None:
    share = 0.1 if one.where else 1.0
    assert paid(shop, one, note=100) == pytest.approx(100 * UNITS * (share + 1))


def test_an_update_of_a_column_that_is_indexed_already_pays_for_the_new_ones(shop: Catalogue) -> None:
    assert paid(shop, index("user_id"), index("note"), id=100) == pytest.approx(200 * UNITS)


def test_a_table_that_nobody_writes_to_costs_nothing(shop: Catalogue) -> None:
    assert upkeep([index("user_id")], shop, {}, lambda _: 1.0) == 0


def test_expressions_depend_on_the_columns_in_them(shop: Catalogue) -> None:
    one = Candidate(ORDERS, (Key("lower(note)"),), (), "status = 'new'")
    assert columns_of(one, shop.tables[ORDERS]) == {"note", "status"}


def test_writes_are_counted_by_table_and_columns(shop: Catalogue) -> None:
    texts = {
        "INSERT INTO orders (id) VALUES (1), (2)": 10.0,
        "UPDATE orders SET note = 'x', status = 'y' WHERE id = 1": 5.0,
        "UPDATE orders SET note = 'x' WHERE id = 1": 1.0,
        "DELETE FROM orders": 7.0,
        "SELECT * FROM orders": 9.0,
        "INSERT INTO nowhere VALUES (1)": 3.0,
    }
    found = writes_of((read(parse(sql, "postgresql"), shop), calls) for sql, calls in texts.items())
    assert found == {ORDERS: Writes(20.0, {frozenset({"note", "status"}): 5.0, frozenset({"note"}): 1.0})}
