from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbvitals_processors.hints.binds import split
from dbvitals_processors.hints.model import Catalogue, Unplannable
from dbvitals_processors.hints.parsing import as_query, parse, read
from dbvitals_processors.hints.reading import Access, Reading


def reading(sql: str, shop: Catalogue, system: str = "postgresql") -> Reading:
    return read(parse(sql, system), shop)


def access(sql: str, shop: Catalogue) -> Access:
    (found,) = reading(sql, shop).accesses
    return found


@pytest.mark.parametrize(
    "sql, reason",
    [
        ("SELECT * FROM t WHERE a = 'hush", "a quote or a comment does not end"),
        ("SELECT * FROM t WHERE (a = 'hush'", "Expecting ) in line 1"),
        ("SELECT *\nFROM t 'hush' 'hush' hush 77", "something unexpected in line 2"),
        ("SELECT FROM WHERE 'hush'", "cannot be parsed"),
        ("SELECT 'hush'; SELECT 'hush'", "2 statements"),
        ("-- hush", "no statement"),
        ("SELECT " + "(" * 9_000 + "'hush'" + ")" * 9_000, "nested too deeply"),
        ("SELECT " + "date(" * 40 + "'hush'" + ")" * 40, "nested too deeply"),
        ("SELECT " + "ARRAY[" * 40 + "'hush'" + "]" * 40, "nested too deeply"),
        ("SELECT 'hush'" + "," * 300_000, "too long to be read (300,013 characters)"),
        ("SELECT 'hush'" + ",1" * 50_000, "too long to be read (100,002 words)"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason_that_repeats_nothing(sql: str, reason: str) -> None:
    with pytest.raises(Unplannable) as refused:
        parse(sql, "postgresql")
    assert reason in str(refused.value)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("sql", ["SELECT 1;", "/* x */ SELECT 1 ; -- y", ";; SELECT 1", "EXPLAIN SELECT 1", "VACUUM"])
def test_one_statement_is_one_with_what_stands_around_it(sql: str) -> None:
    assert parse(sql, "postgresql") is not None


_SOME = """
SELECT FROM WHERE AND OR NOT IN ( ) , a b.c 'x' "q" :p ? $1 %s = <> LIKE IS NULL :: int [ ] JOIN ON USING ORDER BY GROUP
LIMIT 5 EXISTS UPDATE SET DELETE INSERT INTO VALUES WITH AS * CASE WHEN THEN END -> ->> ~ @> ; ' " /* -- $$ DATE ARRAY
INTERVAL CAST OVER UNION ALL DISTINCT orders users status orders.id"""
_WORDS = st.sampled_from(_SOME.split())


@settings(max_examples=300, deadline=None)
@given(sql=st.one_of(st.lists(_WORDS, max_size=14).map(" ".join), st.text(max_size=40)))
def test_any_text_is_read_or_refused(shop: Catalogue, sql: str) -> None:
    for system in ("postgresql", "mysql", "sqlite"):
        split(sql, system)
        with suppress(Unplannable):
            read(parse(sql, system), Catalogue(system, shop.tables))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders WHERE " + " AND ".join(["status = 'a'"] * 3_000),
        "SELECT * FROM orders WHERE " + " OR ".join(f"user_id = {n}" for n in range(3_000)),
        "SELECT * FROM orders WHERE user_id IN (" + ", ".join(map(str, range(5_000))) + ")",
        "SELECT " + "(" * 30 + "status" + ")" * 30 + " FROM orders",
    ],
)
def test_long_conditions_are_read(shop: Catalogue, sql: str) -> None:
    began = time.process_time()
    reading(sql, shop)
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "sql, kind, written, changed, rows",
    [
        ("SELECT 1", "select", None, set(), 1),
        ("INSERT INTO orders (id) VALUES (1), (2), (3)", "insert", "orders", set(), 3),
        ("INSERT INTO orders SELECT * FROM users WHERE name = 'x'", "insert", "orders", set(), 1),
        ("UPDATE orders SET status = 'x', note = note || 'y' WHERE id = 1", "update", "orders", {"status", "note"}, 1),
        ("DELETE FROM orders o WHERE o.user_id = 5", "delete", "orders", set(), 1),
        ("CREATE TABLE x (a int)", "other", None, set(), 1),
        ("WITH d AS (SELECT 1) DELETE FROM orders WHERE id IN (SELECT * FROM d)", "delete", "orders", set(), 1),
    ],
)
def test_what_a_statement_changes_is_known(
    shop: Catalogue, sql: str, kind: str, written: str | None, changed: set[str], rows: int
) -> None:
    found = reading(sql, shop)
    assert (found.kind, found.written.name.name if found.written else None) == (kind, written)
    assert (set(found.changed), found.rows) == (changed, rows)


@pytest.mark.parametrize(
    "sql, columns",
    [
        ("UPDATE orders SET note = 'x' WHERE user_id = 1", ["user_id"]),
        ("DELETE FROM orders WHERE user_id = 1 AND note = 'x'", ["user_id", "note"]),
        ("INSERT INTO users SELECT * FROM orders WHERE user_id = 1", ["user_id"]),
        ("SELECT * FROM orders WHERE user_id = 1 FOR UPDATE OF orders SKIP LOCKED", ["user_id"]),
        ("SELECT * FROM (SELECT * FROM orders WHERE user_id = 1) x", ["user_id"]),
        ("WITH x AS (SELECT * FROM orders WHERE user_id = 1) SELECT * FROM x", ["user_id"]),
        ("SELECT 1 FROM recent WHERE EXISTS (SELECT 1 FROM orders WHERE user_id = recent.id)", ["user_id"]),
        ("SELECT * FROM states WHERE 1 = 2 UNION ALL SELECT user_id FROM orders WHERE user_id = 1", ["user_id"]),
        ("SELECT * FROM public.orders o WHERE O.USER_ID = 1", ["user_id"]),
    ],
)
def test_conditions_are_found_wherever_they_stand(shop: Catalogue, sql: str, columns: list[str]) -> None:
    found = [one for one in reading(sql, shop).accesses if one.table.name.name == "orders"]
    assert [p.term.sql for one in found for p in one.predicates] == columns


def test_rows_that_an_update_joins_are_found_on_both_sides(shop: Catalogue) -> None:
    sql = "UPDATE orders SET note = 'x' FROM users u WHERE u.id = orders.user_id AND u.email = :e"
    found = {one.alias: [p.term.sql for p in one.predicates] for one in reading(sql, shop).accesses}
    assert found == {"orders": ["user_id"], "u": ["id", "email"]}


def test_mysql_may_name_the_table_that_it_deletes_from_twice(shop: Catalogue) -> None:
    tree = parse("DELETE FROM o USING orders AS o, users AS u WHERE u.id = o.user_id", "mysql")
    query = as_query(tree)
    assert query is not None
    assert query.sql() == "SELECT * FROM orders AS o, users AS u WHERE u.id = o.user_id"


@pytest.mark.parametrize(
    "order, found",
    [
        ("placed_at", [("placed_at", False, None)]),
        ("placed_at DESC, id", [("placed_at", True, None), ("id", False, None)]),
        ("placed_at DESC NULLS LAST", [("placed_at", True, False)]),
        ("2", [("status", False, None)]),
        ("s", [("status", False, None)]),
        ("lower(note)", [("lower(note)", False, None)]),
        ("random()", []),
        ("status, random()", [("status", False, None)]),
    ],
)
def test_the_order_is_read(shop: Catalogue, order: str, found: list[tuple[str, bool, bool | None]]) -> None:
    one = access(f"SELECT id, status AS s FROM orders ORDER BY {order} LIMIT 5", shop)
    assert [(o.term.sql, o.descending, o.nulls_first) for o in one.order] == found
    assert one.limited


def test_an_order_over_several_tables_is_only_its_first_column(shop: Catalogue) -> None:
    sql = "SELECT 1 FROM orders o JOIN users u ON u.id = o.user_id ORDER BY o.placed_at, u.name"
    assert {one.alias: [o.term.sql for o in one.order] for one in reading(sql, shop).accesses} == {
        "o": ["placed_at"],
        "u": [],
    }


@pytest.mark.parametrize(
    "sql, groups",
    [
        ("SELECT status, count(*) FROM orders GROUP BY status", ["status"]),
        ("SELECT status, count(*) FROM orders GROUP BY 1", ["status"]),
        ("SELECT DISTINCT status, gift FROM orders", ["status", "gift"]),
        ("SELECT DISTINCT ON (user_id) * FROM orders", ["user_id"]),
        ("SELECT random() FROM orders GROUP BY 1", []),
    ],
)
def test_groups_are_read(shop: Catalogue, sql: str, groups: list[str]) -> None:
    assert [one.sql for one in access(sql, shop).groups] == groups


def test_an_aggregate_reads_all_rows_in_spite_of_a_limit(shop: Catalogue) -> None:
    assert not access("SELECT count(*) FROM orders LIMIT 1", shop).limited
    assert access("SELECT count(*) OVER () FROM orders LIMIT 1", shop).limited
    assert [one.sql for one in access("SELECT max(placed_at) FROM orders", shop).extremes] == ["placed_at"]
    assert access("SELECT max(placed_at) FROM orders GROUP BY user_id", shop).extremes == ()


def test_needed_columns_are_all_where_a_star_asks_for_them(shop: Catalogue) -> None:
    assert access("SELECT status FROM orders WHERE user_id = 1", shop).needed == {"status", "user_id"}
    assert access("SELECT count(*) FROM orders WHERE user_id = 1", shop).needed == {"user_id"}
    assert access("SELECT * FROM orders", shop).needed is None
    assert access("SELECT o.* FROM orders o", shop).needed is None


def test_tables_that_nobody_knows_are_named(shop: Catalogue) -> None:
    assert reading("SELECT * FROM nowhere JOIN orders USING (id)", shop).unknown == ("nowhere",)
