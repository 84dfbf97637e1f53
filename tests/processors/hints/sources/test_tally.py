"""Calls are added up under the fingerprint that the instrumentation gives them, however it is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbvitals_processors.hints.sources.sql import fingerprint, is_workload
from dbvitals_processors.hints.sources.tally import Entry, Tally

words = st.sampled_from(
    [
        "a",
        "'x'",
        "'it''s'",
        "'",
        "7",
        "1.5",
        "-7",
        "1e5",
        "t7",
        "7t",
        ".5",
        "E'x'",
        "--",
        "/*",
        "*/",
        '"',
        "`",
        "$$",
        "$1",
        "#",
        "\\",
        "(",
        ")",
        ",",
        "=",
        "é",
        "_1",
        "::int",
        "?",
        ":b",
        "x'ff'",
    ]
    + ["\n", "IN (1, 2)", "date '2024-01-01'"]
)
statements = st.lists(st.lists(words, max_size=8).map(" ".join) | st.lists(words, max_size=8).map("".join), max_size=6)


@given(statements, st.sampled_from(["postgresql", "mysql"]))
def test_the_short_way_to_a_fingerprint_is_the_long_way(texts: list[str], system: str) -> None:
    tally = Tally(system)
    for text in texts:
        sql = f"SELECT {text}"
        expected = fingerprint(sql, system) if is_workload(sql, system) else None
        assert tally._print(sql) == expected, sql


def test_a_part_of_a_call_adds_time_alone() -> None:
    tally = Tally("postgresql")
    tally.add(Entry(0.0, "SELECT a FROM t", 1.0, (), 0))
    assert tally.queries() == []
    tally.add(Entry(7200.0, "SELECT a FROM t;", 1.0))
    [query] = tally.queries()
    assert (query.sql, query.calls, query.seconds) == ("SELECT a FROM t", 0.5, 1.0)


def test_without_times_the_log_is_taken_for_an_hours() -> None:
    tally = Tally("postgresql")
    tally.add(Entry(None, "SELECT a FROM t"))
    assert [(query.calls, query.seconds) for query in tally.queries()] == [(1, None)]
