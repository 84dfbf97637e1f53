from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dbvitals_processors.hints.advise import read
from dbvitals_processors.hints.model import Catalogue, Column, Index, Key, Remark, Table, TableName, WorkloadQuery
from dbvitals_processors.hints.unhelped import unhelped


def _columns(**types: str) -> dict[str, Column]:
    return {name: Column(name, kind, distinct=50_000) for name, kind in types.items()}


ORDERS = Table(
    TableName("public", "orders"),
    {
        **_columns(
            id="bigint",
            user_id="bigint",
            placed_at="timestamp with time zone",
            paid_at="timestamp with time zone",
            number="character varying(20)",
            note="text",
            tags="text[]",
            data="jsonb",
        ),
        "status": Column("status", "text", distinct=4, common=(("done", 0.9), ("new", 0.05), ("paid", 0.05))),
        "gift": Column("gift", "boolean", distinct=2, common=(("f", 0.7), ("t", 0.3))),
    },
    rows=200_000,
    primary_key=("id",),
    indexes=(Index("orders_pkey", (Key("id", "id"),), unique=True, constraint=True),),
)
USERS = Table(
    TableName("public", "users"),
    _columns(id="bigint", email="text", name="text", created_at="timestamp without time zone"),
    rows=50_000,
    primary_key=("id",),
)
TINY = Table(TableName("public", "states"), _columns(id="bigint", name="text"), rows=40)


def catalogue(system: str = "postgresql", *, has: str = "", could: str = "pg_trgm") -> Catalogue:
    tables = {one.name: one for one in (ORDERS, USERS, TINY)}
    return Catalogue(system, tables, ("public",), frozenset(has.split()), frozenset(could.split()))


def said(
    sql: str, *samples: Mapping[str, Any] | Sequence[Any], known: Catalogue | None = None, calls: float = 60
) -> list[Remark]:
    known = known or catalogue()
    query = WorkloadQuery("q", sql, calls, parameters=samples)
    return unhelped(query, read(query, known), known)


def kinds(sql: str, *samples: Any, known: Catalogue | None = None) -> list[str]:
    return [one.kind for one in said(sql, *samples, known=known)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders WHERE id = :id",
        "SELECT * FROM orders WHERE user_id = :u AND note LIKE '%x%' AND status <> 'done' ORDER BY random()",
        "SELECT * FROM orders WHERE lower(number) = lower(:n)",
        "SELECT * FROM orders WHERE data ->> 'colour' = :c",
        "SELECT * FROM orders WHERE data @> :d AND tags && :t",
        "SELECT * FROM orders WHERE note LIKE 'x%'",
        "SELECT * FROM orders WHERE note NOT LIKE '%x%' LIMIT 5",
        "SELECT * FROM orders WHERE status <> 'new'",
        "SELECT * FROM orders WHERE status = 'done' ORDER BY id LIMIT 50",
        "SELECT * FROM orders WHERE status = 'new'",
        "SELECT * FROM orders WHERE status = :s",
        "SELECT * FROM orders WHERE id IN (SELECT orders.id FROM users WHERE users.id = :u AND users.name LIKE '%y')",
        "SELECT * FROM orders WHERE (placed_at, id) > (:p, :i) ORDER BY placed_at, id LIMIT 10",
        "SELECT * FROM orders ORDER BY id LIMIT 10 OFFSET 20",
        "SELECT * FROM orders WHERE :n IS NOT NULL OR number = :n",
        "SELECT max(placed_at) FROM orders",
        "SELECT * FROM states WHERE name LIKE '%x%' OR lower(name) = 'x' ORDER BY random()",
        "SELECT count(*) FROM states",
        "SELECT * FROM nowhere WHERE f(x) = 3",
        "INSERT INTO orders (id) VALUES (1)",
        "UPDATE orders SET status = 'x' WHERE id = 3",
        "BEGIN",
    ],
)
def test_nothing_is_said_where_nothing_helps_or_need_be(sql: str) -> None:
    assert said(sql) == []


class TestAFunctionOnAColumn:
    @pytest.mark.parametrize(
        "condition",
        [
            "date(placed_at) = :d",
            "placed_at::date = :d",
            "date_trunc('day', placed_at) = :d",
            "CAST(placed_at AS date) BETWEEN :a AND :b",
            "to_char(placed_at, 'YYYY-MM') = '2025-06'",
            "extract(year FROM placed_at) = :y",
            "(placed_at AT TIME ZONE 'UTC')::date = :d",
        ],
    )
    def test_of_time_is_a_range(self, condition: str) -> None:
        (remark,) = said(f"SELECT * FROM orders WHERE {condition}")
        assert remark.kind == "function on a column"
        assert remark.subject == "q"
        assert "Compare orders.placed_at itself with a range" in remark.advice

    def test_that_takes_a_part_of_a_time_needs_a_column(self) -> None:
        assert "at a fixed time zone" in said("SELECT * FROM orders WHERE extract(dow FROM placed_at) = 3")[0].advice

    def test_that_is_arithmetic_goes_to_the_other_side(self) -> None:
        (remark,) = said("SELECT * FROM orders WHERE placed_at + interval '1 day' > now()")
        assert remark.advice == "Move the arithmetic to the other side, and compare orders.placed_at itself"

    def test_that_is_not_known_might_be_immutable(self) -> None:
        (remark,) = said("SELECT * FROM orders WHERE soundslike(note) = :x")
        assert remark.advice.startswith("Declare soundslike() IMMUTABLE")

    def test_of_full_text_needs_a_configuration(self) -> None:
        (remark,) = said("SELECT * FROM orders WHERE to_tsvector(note) @@ plainto_tsquery(:q)")
        assert "to_tsvector('…', orders.note)" in remark.advice

    def test_that_has_a_bind_in_it_cannot_be_in_an_index(self) -> None:
        assert "Write what is bound" in said("SELECT * FROM orders WHERE data ->> :key = :v")[0].advice


class TestATypeThatDiffers:
    def test_is_cast_on_the_other_side(self) -> None:
        (remark,) = said("SELECT * FROM orders WHERE id::text = :x")
        assert remark.advice == "Cast the other side, not orders.id: its index holds it as it is"

    def test_is_told_by_samples(self) -> None:
        assert kinds("SELECT * FROM orders WHERE id = :x", {"x": 5.5}) == ["implicit cast"]
        assert kinds("SELECT * FROM orders WHERE id = 5.0") == ["implicit cast"]
        assert kinds("SELECT * FROM orders WHERE id = :x", {"x": 5}, {"x": None}) == []
        assert kinds("SELECT * FROM orders WHERE number = :x", {"x": 5}) == []

    def test_is_a_number_for_text_on_mysql(self) -> None:
        table = Table(TableName("", "t"), _columns(code="varchar(20)", id="int"), rows=90_000)
        known = Catalogue("mysql", {table.name: table}, ())
        assert kinds("SELECT * FROM t WHERE code = 123", known=known) == ["implicit cast"]
        assert kinds("SELECT * FROM t WHERE code IN (%s)", [7], known=known) == ["implicit cast"]
        assert kinds("SELECT * FROM t WHERE code = '123'", known=known) == []
        assert kinds("SELECT * FROM t WHERE id = '123'", known=known) == []


class TestAPattern:
    SQL = "SELECT * FROM orders WHERE note LIKE '%needle%'"

    def test_is_served_by_trigrams_that_can_be_had(self) -> None:
        (remark,) = said(self.SQL)
        assert remark.kind == "pattern"
        assert remark.advice.endswith("CREATE EXTENSION pg_trgm")

    def test_asks_for_more_where_trigrams_are_there_and_do_not_help(self) -> None:
        assert "three letters" in said(self.SQL, known=catalogue(has="pg_trgm"))[0].advice

    def test_asks_to_install_them_where_they_cannot_be_had(self) -> None:
        assert "Install pg_trgm" in said(self.SQL, known=catalogue(could=""))[0].advice

    @pytest.mark.parametrize("system, word", [("mysql", "FULLTEXT"), ("sqlite", "FTS5")])
    def test_has_other_means_elsewhere(self, system: str, word: str) -> None:
        known = Catalogue(system, {TableName("", "t"): Table(TableName("", "t"), _columns(x="text"), rows=90_000)}, ())
        assert word in said("SELECT * FROM t WHERE x LIKE '%needle%'", known=known)[0].advice

    def test_may_be_bound_and_within_an_or(self) -> None:
        sql = "SELECT * FROM users WHERE email ILIKE :p OR name ILIKE :p LIMIT 9"
        assert [("users.email" in one.advice, "users.name" in one.advice) for one in said(sql, {"p": "%needle%"})] == [
            (True, False),
            (False, True),
        ]

    def test_that_begins_with_text_is_one_if_case_does_not_matter(self) -> None:
        assert kinds("SELECT * FROM users WHERE name ILIKE 'x%'") == ["pattern"]


def test_value_in_a_column_of_arrays_is_written_as_containment() -> None:
    (remark,) = said("SELECT * FROM orders WHERE :x = ANY (tags)")
    assert remark.advice.startswith("Write orders.tags @> ARRAY[value]")


@pytest.mark.parametrize(
    "condition", ["status <> 'done'", "NOT status = 'done'", "status NOT IN ('done', 'new')", "status != :s"]
)
def test_a_negation_that_leaves_little_is_remarked(condition: str) -> None:
    (remark,) = said(f"SELECT * FROM orders WHERE {condition}", {"s": "done"})
    assert remark.kind == "negation"
    assert "orders.status" in remark.advice
    assert "leaves 10% of" in remark.advice or "leaves 5% of" in remark.advice


def test_an_or_across_tables_is_united() -> None:
    joined = "SELECT * FROM orders o JOIN users u ON u.id = o.user_id WHERE"
    (remark,) = said(f"{joined} (o.number = :q OR u.email = :q)")
    assert remark.kind == "OR across tables"
    assert "orders.number or users.email" in remark.advice
    either = "SELECT * FROM orders o JOIN users u ON u.id = o.user_id OR u.id = o.id WHERE o.gift"
    assert "OR in a join" in kinds(either)
    assert kinds("SELECT * FROM orders WHERE number = :q OR note = :q") == []


def test_a_filter_that_may_be_off_is_left_out() -> None:
    (remark,) = said("SELECT * FROM orders WHERE (:n::text IS NULL OR number = :n)")
    assert remark.kind == "optional filter"
    assert "orders.number" in remark.advice


def test_columns_compared_with_each_other_are_a_partial_index() -> None:
    (remark,) = said("SELECT * FROM orders WHERE paid_at > placed_at")
    assert remark.kind == "columns compared"
    assert "orders.paid_at and orders.placed_at" in remark.advice


def test_not_in_a_large_query_is_not_exists() -> None:
    (remark,) = said("SELECT email FROM users WHERE id NOT IN (SELECT user_id FROM orders WHERE user_id = 3)")
    assert remark.kind == "NOT IN (SELECT …)"


@pytest.mark.parametrize(
    "sql, samples",
    [
        ("SELECT * FROM orders ORDER BY placed_at, id LIMIT 50 OFFSET 5000", ()),
        ("SELECT * FROM orders ORDER BY placed_at, id LIMIT %s OFFSET %s", ([50, 0], [50, 1000])),
    ],
)
def test_deep_pages_are_fetched_by_key(sql: str, samples: tuple[Any, ...]) -> None:
    (remark,) = said(sql, *samples)
    assert remark.kind == "deep OFFSET"
    assert "the last row's placed_at, id" in remark.advice


def test_random_order_draws_from_a_sample() -> None:
    (remark,) = said("SELECT * FROM orders ORDER BY random() LIMIT 3")
    assert remark.kind == "random order"
    assert "orders TABLESAMPLE" in remark.advice


class TestAllOfATable:
    def test_is_taken_in_pages(self) -> None:
        (remark,) = said("SELECT id, note FROM orders", calls=12)
        assert remark.kind == "whole table"
        assert remark.advice.endswith("it reads all 200,000 rows of orders, 12 times an hour")

    def test_is_kept_as_a_result_where_it_is_a_report(self) -> None:
        assert "Keep the result" in said("SELECT status, count(*), sum(id) FROM orders GROUP BY 1 LIMIT 5")[0].advice

    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT count(*) FROM orders",
            "SELECT count(*) FROM (SELECT id FROM orders) AS x",
            "SELECT count(1) FROM orders",
        ],
    )
    def test_is_counted_by_estimate(self, sql: str) -> None:
        (remark,) = said(sql)
        assert remark.kind == "count of everything"
        assert remark.advice.endswith("SELECT reltuples::bigint FROM pg_class WHERE oid = 'orders'::regclass")

    @pytest.mark.parametrize("sql", ["UPDATE orders SET note = ''", "DELETE FROM orders"])
    def test_is_changed_in_batches(self, sql: str) -> None:
        assert kinds(sql) == ["whole table"]


@pytest.mark.parametrize(
    "condition, samples, share",
    [
        ("status = 'done'", (), "90%"),
        ("status = :s", ({"s": "done"},), "90%"),
        ("gift", (), "30%"),
        ("gift = :g", (), "30%"),
    ],
)
def test_a_common_value_is_named_by_its_share(condition: str, samples: tuple[Any, ...], share: str) -> None:
    (remark,) = said(f"SELECT count(*) FROM orders WHERE {condition}", *samples)
    assert remark.kind == "common value"
    assert f"{share} of 200,000 rows" in remark.advice


def test_a_value_that_is_common_only_at_times_is_left_alone() -> None:
    assert said("SELECT count(*) FROM orders WHERE status = :s", {"s": "done"}, {"s": "new"}) == []


def test_no_value_of_the_workload_is_repeated() -> None:
    texts = [
        said("SELECT * FROM orders WHERE status <> 'done' AND note ~ 'hush' AND data ->> 'secret' = f(note)"),
        said("SELECT * FROM orders WHERE (status = 'hush' OR note = :n) ORDER BY id OFFSET 77777", {"n": "hush"}),
        said("SELECT * FROM orders WHERE soundslike(note, 'hush') = 'hush' AND 'hush' = ANY (tags)"),
    ]
    assert all(texts)
    assert not any(
        word in one.advice for found in texts for one in found for word in ("hush", "done", "77777", "secret")
    )
