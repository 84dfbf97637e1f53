from __future__ import annotations

from dataclasses import replace

from dbvitals_processors.hints.checks import checked_by, checks_of
from dbvitals_processors.hints.model import Catalogue, ForeignKey, TableName, WorkloadQuery
from dbvitals_processors.hints.parsing import parse, read


def checks(sql: str, shop: Catalogue) -> list[WorkloadQuery]:
    query = WorkloadQuery("q", sql, 30.0)
    return list(checks_of(query, read(parse(sql, "postgresql"), shop), shop))


def test_a_delete_searches_every_table_that_refers_to_its_own(shop: Catalogue) -> None:
    (one,) = checks("DELETE FROM users WHERE name = 'x'", shop)
    assert one.sql == "SELECT 1 FROM orders WHERE user_id = $1"
    assert one.calls == 30.0
    assert checked_by(one.id) == "q"


def test_other_statements_search_nothing(shop: Catalogue) -> None:
    for sql in ("DELETE FROM orders", "UPDATE users SET name = 'x'", "SELECT * FROM users", "DELETE FROM nowhere"):
        assert checks(sql, shop) == []
    assert checked_by("q") is None


def test_names_are_quoted_where_they_must_be_and_keys_may_have_several_columns(shop: Catalogue) -> None:
    table = TableName("Sales", "Order Lines")
    key = ForeignKey("k", ("Group", "user_id"), TableName("public", "users"), ("a", "b"))
    orders = shop.tables[TableName("public", "orders")]
    known = replace(shop, tables={**shop.tables, table: replace(orders, name=table, foreign_keys=(key,))})
    found = [one.sql for one in checks("DELETE FROM users", known)]
    assert 'SELECT 1 FROM "Sales"."Order Lines" WHERE "Group" = $1 AND user_id = $2' in found
