from __future__ import annotations

from typing import Any

import pytest

from dbvitals_processors.hints.audit import WEEK, audit
from dbvitals_processors.hints.model import (
    Candidate,
    Catalogue,
    Column,
    ForeignKey,
    Index,
    Key,
    Remark,
    Table,
    TableName,
)

NOW = 1_760_000_000.0
ORDERS = TableName("public", "orders")
USERS = TableName("public", "users")


def index(name: str, *columns: str, **more: Any) -> Index:
    more.setdefault("bytes", 10_000_000)
    more.setdefault("scans", 5)
    return Index(name, tuple(Key(column, column) for column in columns), **more)


def table(name: TableName = ORDERS, *indexes: Index, **more: Any) -> Table:
    columns = {one: Column(one, "bigint", distinct=50_000) for one in ("id", "user_id", "status", "placed_at")}
    more.setdefault("rows", 100_000.0)
    return Table(name, more.pop("columns", columns), indexes=indexes, **more)


def catalogue(*tables: Table, **more: Any) -> Catalogue:
    more.setdefault("since", NOW - 5 * WEEK)
    return Catalogue(more.pop("system", "postgresql"), {one.name: one for one in tables}, **more)


def said(*tables: Table, advised: tuple[Candidate, ...] = (), **more: Any) -> list[Remark]:
    return audit(catalogue(*tables, **more), advised, now=NOW)


def kinds(remarks: list[Remark]) -> list[tuple[str, str]]:
    return [(one.kind, one.subject) for one in remarks]


def test_a_database_in_order_has_no_remarks() -> None:
    assert said(table(ORDERS, index("orders_pkey", "id", unique=True, constraint=True), primary_key=("id",))) == []


def test_catalogues_that_know_little_make_no_rule_fail() -> None:
    for system in ("postgresql", "mysql", "mariadb", "sqlite"):
        bare = Table(TableName("", "t"), {}, 50_000.0, indexes=(Index("a", (Key("lower(x)"),)), Index("b", ())))
        other = Table(TableName("", "u"), {}, foreign_keys=(ForeignKey("fk", ("x",), TableName("", "t"), ("y",)),))
        assert said(bare, other, system=system, since=None) == []


class TestAnUnusedIndex:
    unused = index("orders_status_idx", "status", scans=0)

    def test_is_named_with_its_size_and_the_statement(self) -> None:
        (remark,) = said(table(ORDERS, self.unused))
        assert remark.kind == "unused index"
        assert remark.subject == "public.orders_status_idx"
        assert "10 MB" in remark.advice
        assert "since 2025-09-04" in remark.advice
        assert remark.advice.endswith("DROP INDEX CONCURRENTLY orders_status_idx")

    @pytest.mark.parametrize("since", [None, NOW - WEEK + 60], ids=["unknown", "six days"])
    def test_is_not_judged_by_young_statistics(self, since: float | None) -> None:
        assert said(table(ORDERS, self.unused), since=since) == []

    @pytest.mark.parametrize(
        "more", [{"unique": True}, {"constraint": True}, {"bytes": 8192}, {"scans": None}, {"scans": 1}], ids=str
    )
    def test_may_stay_for_a_reason(self, more: dict[str, Any]) -> None:
        assert said(table(ORDERS, index("i", "status", **{"scans": 0, **more}))) == []

    def test_is_kept_where_a_foreign_key_needs_it(self) -> None:
        key = ForeignKey("fk", ("user_id",), USERS, ("id",))
        behind = index("orders_user_id_idx", "user_id", scans=0)
        assert said(table(ORDERS, behind, foreign_keys=(key,)), table(USERS)) == []

    def test_is_kept_where_a_shorter_one_goes_for_its_sake(self) -> None:
        found = said(table(ORDERS, index("short", "status"), index("long", "status", "placed_at", scans=0)))
        assert kinds(found) == [("overlapping index", "public.short")]

    def test_is_dropped_as_mysql_spells_it(self) -> None:
        (remark,) = said(table(TableName("", "orders"), self.unused), system="mysql")
        assert remark.advice.endswith("DROP INDEX orders_status_idx ON orders")


class TestTheSameIndexTwice:
    def test_costs_the_one_that_is_used_less(self) -> None:
        (remark,) = said(table(ORDERS, index("a", "status", scans=3), index("b", "status", scans=900)))
        assert (remark.kind, remark.subject) == ("duplicate index", "public.a")
        assert remark.advice == "Drop it, b is the same: DROP INDEX CONCURRENTLY a"

    def test_a_constraint_stays(self) -> None:
        found = said(table(ORDERS, index("key", "status", unique=True, constraint=True, scans=0), index("b", "status")))
        assert kinds(found) == [("duplicate index", "public.b")]

    def test_of_two_constraints_no_statement_is_given(self) -> None:
        more: dict[str, Any] = {"unique": True, "constraint": True}
        (remark,) = said(table(ORDERS, index("a", "id", **more), index("b", "id", **more)))
        assert "DROP" not in remark.advice

    def test_read_backwards_is_the_same(self) -> None:
        back = Index("b", (Key("status", "status", descending=True, nulls_first=True),), scans=9, bytes=10)
        assert kinds(said(table(ORDERS, index("a", "status", scans=3), back))) == [("duplicate index", "public.a")]

    @pytest.mark.parametrize(
        "other",
        [
            {"where": "(status > 3)"},
            {"method": "hash"},
            {"valid": False},
            {"definition": 'CREATE INDEX b ON orders USING btree (status COLLATE "C")'},
        ],
        ids=str,
    )
    def test_one_that_differs_is_no_duplicate(self, other: dict[str, Any]) -> None:
        found = said(table(ORDERS, index("a", "status"), index("b", "status", **other)))
        assert not any(one.kind == "duplicate index" for one in found)

    def test_another_operator_class_is_no_duplicate(self) -> None:
        like = Index("b", (Key("status", "status", opclass="text_pattern_ops"),), scans=9)
        assert said(table(ORDERS, index("a", "status"), like)) == []


def test_of_the_first_characters_of_a_text_one_index_is_not_another() -> None:
    short, long = (Index(f"i{n}", (Key(f"`status`({n})", "status"),), scans=9) for n in (10, 100))
    assert said(table(ORDERS, short, long), system="mysql") == []


class TestAnOverlappingIndex:
    def test_is_one_that_another_begins_with(self) -> None:
        (remark,) = said(table(ORDERS, index("a", "user_id"), index("ab", "user_id", "status", bytes=20_000_000)))
        assert (remark.kind, remark.subject) == ("overlapping index", "public.a")
        assert "ab begins with its keys (10 MB; the other 20 MB): DROP INDEX CONCURRENTLY a" in remark.advice

    @pytest.mark.parametrize(
        "short",
        [
            index("a", "user_id", unique=True),
            index("a", "status"),
            index("a", "user_id", where="(status = 3)"),
            index("a", "user_id", include=("placed_at",)),
            index("a", "user_id", bytes=1_000_000),
        ],
        ids=["unique", "second key", "partial", "includes more", "far smaller"],
    )
    def test_may_be_worth_having(self, short: Index) -> None:
        assert said(table(ORDERS, short, index("ab", "user_id", "status"))) == []

    def test_may_be_one_that_an_advised_index_makes_superfluous(self) -> None:
        advised = Candidate(ORDERS, (Key("user_id", "user_id"), Key("placed_at", "placed_at", True)))
        (remark,) = said(table(ORDERS, index("a", "user_id")), advised=(advised,))
        assert remark.kind == "superseded index"
        assert f"once {advised.name} is built" in remark.advice


class TestAForeignKeyWithoutAnIndex:
    key = ForeignKey("orders_user_id_fkey", ("user_id",), USERS, ("id",))

    def test_is_remarked_with_what_it_is_for(self) -> None:
        (remark,) = said(table(ORDERS, foreign_keys=(self.key,)), table(USERS))
        assert (remark.kind, remark.subject) == ("foreign key", "public.orders (user_id)")
        assert "if rows of users are ever deleted" in remark.advice
        assert remark.advice.endswith("CREATE INDEX CONCURRENTLY orders_user_id_idx ON orders (user_id)")

    def test_gets_a_partial_index_where_most_refer_to_nothing(self) -> None:
        columns = {"user_id": Column("user_id", "bigint", null_share=0.8)}
        (remark,) = said(table(ORDERS, columns=columns, foreign_keys=(self.key,)), table(USERS))
        assert remark.advice.endswith("ON orders (user_id) WHERE user_id IS NOT NULL")

    @pytest.mark.parametrize(
        "served",
        [
            index("i", "user_id", "status"),
            index("i", "user_id", where="(user_id IS NOT NULL)"),
            index("i", "user_id", method="hash"),
        ],
        ids=["longer", "not null", "hash"],
    )
    def test_is_content_with_what_finds_all_rows(self, served: Index) -> None:
        assert said(table(ORDERS, served, foreign_keys=(self.key,)), table(USERS)) == []

    @pytest.mark.parametrize(
        "useless",
        [
            index("i", "status", "user_id"),
            index("i", "user_id", where="(status = 3)"),
            index("i", "user_id", method="gin"),
        ],
        ids=["second", "partial", "gin"],
    )
    def test_is_not_content_with_less(self, useless: Index) -> None:
        found = said(table(ORDERS, useless, foreign_keys=(self.key,)), table(USERS))
        assert ("foreign key", "public.orders (user_id)") in kinds(found)

    def test_is_not_said_again_beside_a_hint(self) -> None:
        tables = table(ORDERS, foreign_keys=(self.key,)), table(USERS)
        whole = Candidate(ORDERS, (Key("user_id", "user_id"), Key("placed_at", "placed_at")))
        part = Candidate(ORDERS, (Key("user_id", "user_id"),), where="status = 3")
        assert said(*tables, advised=(whole,)) == []
        assert kinds(said(*tables, advised=(part,))) == [("foreign key", "public.orders (user_id)")]

    def test_matters_on_large_tables_that_refer_to_more_than_a_list(self) -> None:
        assert said(table(ORDERS, rows=9_999, foreign_keys=(self.key,)), table(USERS)) == []
        assert said(table(ORDERS, foreign_keys=(self.key,)), table(USERS, rows=200)) == []

    def test_of_two_columns_may_stand_on_one_that_tells_enough(self) -> None:
        key = ForeignKey("fk", ("status", "user_id"), USERS, ("status", "id"))
        assert said(table(ORDERS, index("i", "user_id"), foreign_keys=(key,)), table(USERS)) == []
        assert said(table(ORDERS, index("i", "user_id", "status"), foreign_keys=(key,)), table(USERS)) == []

    def test_of_a_partition_is_its_parents(self) -> None:
        part = table(TableName("public", "orders_2025"), foreign_keys=(self.key,))
        whole = table(ORDERS, kind="partitioned", foreign_keys=(self.key,))
        (remark,) = said(part, whole, table(USERS, columns={"id": Column("id", "bigint")}))
        assert remark.subject == "public.orders (user_id)"
        assert "CONCURRENTLY" not in remark.advice


def test_an_invalid_index_is_rebuilt_and_what_a_reindex_left_is_dropped() -> None:
    found = said(table(ORDERS, index("a", "status", valid=False), index("a_ccnew1", "status", valid=False)))
    assert kinds(found) == [("invalid index", "public.a"), ("invalid index", "public.a_ccnew1")]
    assert found[0].advice.endswith("REINDEX INDEX CONCURRENTLY a")
    assert found[1].advice.endswith("DROP INDEX CONCURRENTLY a_ccnew1")


def test_an_invisible_index_of_mysql_is_dropped() -> None:
    (remark,) = said(table(TableName("", "orders"), index("a", "status", valid=False)), system="mysql")
    assert remark.advice.endswith("DROP INDEX a ON orders")


def test_missing_and_stale_statistics_are_gathered() -> None:
    missing = said(table(ORDERS, analyzed=False))
    assert missing == [Remark("missing statistics", "public.orders", "Gather them for 100,000 rows: ANALYZE orders")]
    stale = said(table(ORDERS, stale_share=0.35))
    assert stale == [
        Remark("stale statistics", "public.orders", "Renew them, 35% of the rows have changed: ANALYZE orders")
    ]
    assert said(table(ORDERS, stale_share=0.2)) == []
    assert said(table(ORDERS, rows=10, analyzed=False)) == []
    assert said(table(ORDERS, analyzed=False), system="mysql")[0].advice.endswith("ANALYZE TABLE orders")


def test_a_partitioned_table_as_a_whole_needs_statistics_of_its_own() -> None:
    whole = table(ORDERS, kind="partitioned", rows=0, analyzed=False)
    (remark,) = said(whole, table(TableName("public", "orders_2025")))
    assert (remark.kind, remark.subject) == ("missing statistics", "public.orders")


def test_a_bloated_index_is_rebuilt() -> None:
    large = index("i", "status", bytes=600_000_000)
    (remark,) = said(table(ORDERS, large, rows=5_000_000))
    assert remark.kind == "bloated index"
    assert remark.advice == ("Rebuild it, it takes 600 MB where 112 MB would do: REINDEX INDEX CONCURRENTLY i")
    assert said(table(ORDERS, index("i", "status", bytes=200_000_000), rows=5_000_000)) == []


def test_names_that_need_it_are_quoted_and_schemas_named() -> None:
    (remark,) = said(table(TableName("Shop", "Order"), index("Status", "status", valid=False)))
    assert remark.subject == "Shop.Status"
    assert remark.advice.endswith('REINDEX INDEX CONCURRENTLY "Shop"."Status"')
