"""Literals of a call become binds; what belongs to the statement stays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvitals_processors.hints import binds
from dbvitals_processors.hints.sources.literals import MOST_LITERALS, bound
from dbvitals_processors.hints.sources.sql import fingerprint


@pytest.mark.parametrize(
    "sql, text, values",
    [
        ("SELECT a FROM t WHERE b = 'it''s' AND c = 5", "SELECT a FROM t WHERE b = $1 AND c = $2", ("it's", 5)),
        ("SELECT a FROM t WHERE b > -5 AND c - 5 > 1.5", "SELECT a FROM t WHERE b > $1 AND c - $2 > $3", (-5, 5, 1.5)),
        ("SELECT a FROM t WHERE b IN (1, 2) LIMIT 10", "SELECT a FROM t WHERE b IN ($1, $2) LIMIT $3", (1, 2, 10)),
        ("SELECT a FROM t WHERE lower(b) = lower('Bob')", "SELECT a FROM t WHERE lower(b) = lower($1)", ("Bob",)),
        ("SELECT a FROM t WHERE b = '1'::numeric(10,2)", "SELECT a FROM t WHERE b = $1::numeric(10,2)", ("1",)),
        ("INSERT INTO t (a, b) VALUES (1, 'x')", "INSERT INTO t (a, b) VALUES ($1, $2)", (1, "x")),
        ("SELECT date - 5 FROM t", "SELECT date - $1 FROM t", (5,)),
    ],
)
def test_values_become_binds(sql: str, text: str, values: tuple[Any, ...]) -> None:
    assert bound(sql) == (text, values)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a->>'key', b#>>'{a,b}' FROM t",
        "SELECT a FROM t WHERE b ? 'key'",
        "SELECT a FROM t WHERE b > now() - interval '1 day'",
        "SELECT a FROM t WHERE b > timestamp with time zone '2024-01-01'",
        "SELECT a FROM t WHERE date_trunc('day', b) IS NULL",
        "SELECT a, b FROM t GROUP BY 1, 2 ORDER BY 2 DESC, 1",
        "SELECT CAST(a AS varchar(10)) FROM t",
        "SELECT a AT TIME ZONE 'UTC' FROM t",
        "SELECT a FROM t WHERE b = E'\\n' OR b = $$x$$ OR c = x'ff'",
        "SELECT 1_000, .5 FROM t",
        "SELECT a FROM t WHERE b = true AND c IS NULL",
        "SELECT a FROM t WHERE b = $1 AND c = 5",
        "SELECT 'open",
    ],
)
def test_what_belongs_to_the_statement_stays(sql: str) -> None:
    assert bound(sql) == (sql, ())


def test_order_by_position_ends_with_its_clause() -> None:
    assert bound("SELECT a FROM t ORDER BY 1 LIMIT 7").values == (7,)
    assert bound("SELECT * FROM (SELECT a FROM t ORDER BY 1) x WHERE a = 7").values == (7,)


def test_mysql_has_question_marks() -> None:
    assert bound('SELECT a FROM t WHERE b = "x" AND c > now() - INTERVAL 7 DAY LIMIT 5, 10', "mysql") == (
        "SELECT a FROM t WHERE b = ? AND c > now() - INTERVAL 7 DAY LIMIT ?, ?",
        ("x", 5, 10),
    )


def test_a_large_import_stays_as_it_is() -> None:
    sql = f"INSERT INTO t VALUES {', '.join(f'({number})' for number in range(MOST_LITERALS + 1))}"
    assert bound(sql) == (sql, ())


@given(st.text(st.sampled_from("'\"$`/*-#\\\n abeE(1.:%?[],=<)") | st.characters()))
def test_any_text_comes_out_with_as_many_values_as_binds(sql: str) -> None:
    text, values = bound(sql)
    assert text == sql or values


@given(st.text(), st.integers(), st.floats(0, 1e9, allow_nan=False))
def test_the_values_put_back_are_the_statement(word: str, number: int, real: float) -> None:
    word = word.replace("\\", "").replace("\0", "")
    literal = "'" + word.replace("'", "''") + "'"
    sql = f"SELECT a FROM t WHERE b = {literal} AND c = {number} AND d <= {real:f}"
    text, values = bound(sql)
    assert text == "SELECT a FROM t WHERE b = $1 AND c = $2 AND d <= $3"
    assert values == (word, number, float(f"{real:f}"))
    assert fingerprint(text) == fingerprint(sql)
    assert binds.split(text).values(values) == values
