from __future__ import annotations

from dataclasses import replace

import pytest

from dbvitals_processors.hints.candidates import candidates, existing_like
from dbvitals_processors.hints.model import Candidate, Catalogue, Index, Key, TableName
from dbvitals_processors.hints.parsing import parse, read
from dbvitals_processors.hints.reading import Access


def access(sql: str, shop: Catalogue) -> Access:
    return read(parse(sql, shop.system), shop).accesses[0]


def proposed(sql: str, shop: Catalogue) -> set[str]:
    """All candidates of the first table, as text behind its name."""
    return {str(one).partition(" ")[2] for one in candidates(access(sql, shop), shop)}


@pytest.mark.parametrize(
    "rest, wanted",
    [
        ("WHERE user_id = :u", "(user_id)"),
        ("WHERE gift = :g AND status = :s", "(status, gift)"),
        ("WHERE user_id = :u AND placed_at > :p", "(user_id, placed_at)"),
        ("WHERE user_id = :u ORDER BY placed_at DESC LIMIT 5", "(user_id, placed_at)"),
        ("WHERE user_id = :u AND status = :s ORDER BY placed_at LIMIT 5", "(user_id, status, placed_at)"),
        ("ORDER BY placed_at DESC, id LIMIT 5", "(placed_at, id DESC)"),
        ("ORDER BY placed_at DESC NULLS LAST LIMIT 5", "(placed_at NULLS FIRST)"),
        ("WHERE (placed_at, id) < (:p, :i) ORDER BY placed_at DESC, id DESC LIMIT 5", "(placed_at, id)"),
        ("WHERE user_id = 5 OR number = 'x'", "(number)"),
        ("WHERE lower(number) = :n", "(lower(number))"),
        ("WHERE data ->> 'colour' = :c", "((data ->> 'colour'))"),
        ("WHERE status = 'new' AND user_id = :u", "(user_id) WHERE status = 'new'"),
        ("WHERE status IN ('new', 'paid') ORDER BY placed_at LIMIT 5", "(placed_at) WHERE status IN ('new', 'paid')"),
        ("WHERE gift AND user_id = :u", "(user_id) WHERE gift"),
        ("WHERE deleted_at IS NOT NULL AND user_id = :u", "(user_id) WHERE deleted_at IS NOT NULL"),
        ("WHERE note LIKE 'a%'", "(note text_pattern_ops)"),
        ("WHERE number LIKE 'a%'", "(number)"),
        ("WHERE note ILIKE '%a%'", "USING gin (note gin_trgm_ops)"),
        ("WHERE data @> :d", "USING gin (data jsonb_path_ops)"),
        ("WHERE data ? 'k'", "USING gin (data)"),
        ("WHERE tags && :t", "USING gin (tags)"),
        ("WHERE words @@ to_tsquery(:q)", "USING gin (words)"),
        ("WHERE to_tsvector('english', note) @@ to_tsquery(:q)", "USING gin (to_tsvector('english', note))"),
    ],
)
def test_the_index_that_serves_is_among_the_candidates(shop: Catalogue, rest: str, wanted: str) -> None:
    assert wanted in proposed(f"SELECT * FROM orders {rest}", shop)


def test_extremes_groups_and_covering_have_theirs(shop: Catalogue) -> None:
    assert "(user_id, placed_at)" in proposed("SELECT max(placed_at) FROM orders WHERE user_id = :u", shop)
    assert "(user_id)" in proposed("SELECT DISTINCT user_id FROM orders", shop)
    assert "(user_id) INCLUDE (total)" in proposed("SELECT total FROM orders WHERE user_id = :u", shop)


@pytest.mark.parametrize(
    "rest",
    [
        "WHERE id = :i",
        "WHERE id = :i AND user_id IN (:u)",
        "WHERE note IS DISTINCT FROM 'x'",
        "WHERE status NOT IN ('new')",
        "WHERE note NOT LIKE 'a%'",
        "WHERE soundex(note) = 'x'",
        "WHERE data = '{}'",
        "",
    ],
)
def test_there_is_none_where_none_can_serve(shop: Catalogue, rest: str) -> None:
    assert not {one for one in proposed(f"SELECT * FROM orders {rest}", shop) if not one.startswith("(user_id")}


def test_what_is_not_null_never_makes_an_index_of_nulls(shop: Catalogue) -> None:
    found = proposed("SELECT * FROM orders WHERE deleted_at IS NOT NULL ORDER BY placed_at LIMIT 5", shop)
    assert not [one for one in found if "IS NULL" in one]


@pytest.mark.parametrize("condition", ["status = 'done'", "NOT gift", "deleted_at IS NULL"])
def test_a_common_value_makes_no_partial_index(shop: Catalogue, condition: str) -> None:
    found = proposed(f"SELECT * FROM orders WHERE {condition} AND user_id = :u", shop)
    assert not [one for one in found if "WHERE" in one]


def test_a_bind_that_is_always_the_same_is_as_good_as_a_constant(shop: Catalogue) -> None:
    tree = parse("SELECT * FROM orders WHERE status = :s AND user_id = :u", "postgresql")
    found = candidates(read(tree, shop, {0: "new"}).accesses[0], shop)
    assert "(user_id) WHERE status = 'new'" in {str(one).partition(" ")[2] for one in found}


def test_trigrams_need_their_extension(shop: Catalogue) -> None:
    bare = replace(shop, extensions=frozenset())
    assert not [one for one in proposed("SELECT * FROM orders WHERE note ILIKE '%a%'", bare) if "gin" in one]


def test_block_ranges_are_for_large_tables_in_the_order_of_their_rows(shop: Catalogue) -> None:
    orders = shop.tables[TableName("public", "orders")]
    column = replace(orders.columns["placed_at"], correlation=0.999)
    table = replace(orders, columns={**orders.columns, "placed_at": column})
    log = replace(shop, tables={table.name: table})
    sql = "SELECT * FROM orders WHERE placed_at > :p"
    assert "USING brin (placed_at)" in proposed(sql, log)
    assert "USING brin (placed_at)" not in proposed(sql, shop)


class TestAnExistingIndex:
    def having(self, shop: Catalogue, *indexes: Index) -> Catalogue:
        orders = shop.tables[TableName("public", "orders")]
        table = replace(orders, indexes=(*orders.indexes, *indexes))
        return replace(shop, tables={table.name: table})

    def test_is_never_proposed_again_nor_what_it_begins_with(self, shop: Catalogue) -> None:
        known = self.having(shop, Index("there", (Key("user_id", "user_id"), Key("placed_at", "placed_at"))))
        found = proposed("SELECT * FROM orders WHERE user_id = :u AND placed_at > :p", known)
        assert "(user_id)" not in found
        assert "(user_id, placed_at)" not in found

    def test_that_is_full_stands_for_a_partial_one_behind_its_constant(self, shop: Catalogue) -> None:
        known = self.having(shop, Index("there", (Key("status", "status"), Key("user_id", "user_id"))))
        found = proposed("SELECT * FROM orders WHERE status = 'new' AND user_id = :u", known)
        assert "(user_id) WHERE status = 'new'" not in found

    @pytest.mark.parametrize(
        "change", [{"valid": False}, {"where": "gift"}, {"method": "hash"}], ids=["invalid", "partial", "hash"]
    )
    def test_that_cannot_serve_hinders_nothing(self, shop: Catalogue, change: dict[str, str]) -> None:
        known = self.having(shop, replace(Index("there", (Key("user_id", "user_id"),)), **change))  # type: ignore[arg-type]
        assert "(user_id)" in proposed("SELECT * FROM orders WHERE user_id = :u", known)

    def test_has_its_name_told(self, shop: Catalogue) -> None:
        known = self.having(shop, Index("there", (Key("user_id", "user_id"),)))
        one = Candidate(TableName("public", "orders"), (Key("user_id", "user_id"),))
        assert existing_like(one, access("SELECT * FROM orders WHERE user_id = :u", known)) == "there"


def test_views_have_no_candidates(shop: Catalogue) -> None:
    assert not read(parse("SELECT * FROM recent WHERE id = 5", "postgresql"), shop).accesses


def test_candidates_are_the_same_every_time(shop: Catalogue) -> None:
    where = "user_id = :u AND status IN ('new', 'paid') AND total > :t"
    sql = f"SELECT * FROM orders WHERE {where} ORDER BY placed_at LIMIT 5"
    first = candidates(access(sql, shop), shop)
    assert first == candidates(access(sql, shop), shop)
    assert len({one.id for one in first}) == len(first) == len({one.name for one in first})
