"""Statements are told apart as the database would do it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvitals_instrumentation import statement
from dbvitals_processors.hints.sources.sql import Unreadable, fingerprint, is_workload, split

HOSTILE = st.text(st.sampled_from("';\"$`/*-#\\\n\tabE(1:%?[]{} é\0")) | st.text()


def texts(sql: str, system: str = "postgresql") -> list[str]:
    return [piece.sql for piece in split(sql, system)]


@pytest.mark.parametrize(
    "sql, statements",
    [
        ("SELECT 1; SELECT 2;", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';' ; SELECT 'it''s;'", ["SELECT ';'", "SELECT 'it''s;'"]),
        ('SELECT ";" FROM t', ['SELECT ";" FROM t']),
        ("-- one; two\nSELECT 1 /* ; /* ; */ ; */;", ["SELECT 1"]),
        ("SELECT $$;$$; SELECT $tag$ $$;$$ $tag$", ["SELECT $$;$$", "SELECT $tag$ $$;$$ $tag$"]),
        (r"SELECT E'\';'; SELECT 2", [r"SELECT E'\';'", "SELECT 2"]),
        ("SELECT a FROM t WHERE b = $1 AND c = :c;", ["SELECT a FROM t WHERE b = $1 AND c = :c"]),
        ("  \n;;-- nothing\n", []),
    ],
)
def test_a_semicolon_ends_a_statement_where_it_is_no_part_of_something(sql: str, statements: list[str]) -> None:
    assert texts(sql) == statements


def test_mysql_has_quotes_and_comments_of_its_own() -> None:
    assert texts('SELECT "it\\";" # ;\n; SELECT `;`', "mysql") == ['SELECT "it\\";"', "SELECT `;`"]


def test_each_statement_knows_its_line() -> None:
    assert [piece.line for piece in split("\nSELECT 1;\n\n-- x\nSELECT\n2")] == [2, 5]


@pytest.mark.parametrize("sql", ["SELECT 'open", 'SELECT "open', "SELECT $$ open"])
def test_what_does_not_end_is_said(sql: str) -> None:
    with pytest.raises(Unreadable, match="a quote or a comment that does not end"):
        split(sql)


@given(HOSTILE, st.sampled_from(["postgresql", "mysql", "sqlite", "oracle.db"]))
def test_any_text_is_split_or_refused(sql: str, system: str) -> None:
    try:
        pieces = split(sql, system)
    except Unreadable:
        return
    for piece in pieces:
        assert piece.sql in sql
        assert 1 <= piece.line <= sql.count("\n") + 1


@given(st.lists(st.sampled_from(["SELECT ';'", "UPDATE t SET a = $$;$$", 'SELECT ";"', "DELETE FROM t WHERE a = $1"])))
def test_statements_that_are_joined_come_apart_again(statements: list[str]) -> None:
    assert texts(";\n-- next;\n".join(statements)) == statements


@pytest.mark.parametrize(
    "sql, wanted",
    [
        ("SELECT a FROM orders", True),
        ("  ( select 1 )", True),
        ("WITH x AS (SELECT 1) SELECT * FROM x", True),
        ("/* hint */ INSERT INTO t VALUES (1)", True),
        ("DELETE FROM t", True),
        ("SELECT * FROM pg_stat_activity JOIN users ON true", True),
        ("BEGIN", False),
        ("SET search_path = x", False),
        ("COPY t FROM stdin", False),
        ("EXPLAIN SELECT a FROM orders", False),
        ("CREATE INDEX ON t (a)", False),
        ("SELECT * FROM pg_catalog.pg_class c JOIN pg_namespace n ON true", False),
        ('SELECT * FROM "pg_catalog"."pg_class"', False),
        ("SELECT * FROM information_schema.tables", False),
        ("SELECT hypopg_reset()", False),
        ("SELECT 1 /* dbvitals */", False),
        ("", False),
    ],
)
def test_utilities_and_the_catalogue_are_no_workload(sql: str, wanted: bool) -> None:
    assert is_workload(sql) is wanted


def test_fingerprints_are_those_of_the_instrumentation() -> None:
    assert fingerprint("SELECT a FROM t WHERE b = $1") == statement.parse("select a from t where b = 7").fingerprint
    assert fingerprint('SELECT "x"', "mysql") == statement.parse('SELECT "y"', double_quotes="string").fingerprint
