"""A workload in files, as people write them and as ``dbvitals run`` does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbvitals.report.json import write as write_report
from dbvitals.report.model import merge as merge_report
from dbvitals.snapshot import Snapshot, to_json
from dbvitals_processors.hints.model import AdvisorError, WorkloadQuery
from dbvitals_processors.hints.sources.files import read_workload
from dbvitals_processors.hints.sources.sql import fingerprint
from dbvitals_processors.sketch import Sketch
from dbvitals_processors.workload import QueryTotals


def lines(folder: Path, *entries: Any) -> Path:
    path = folder / "workload.jsonl"
    path.write_text("\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries))
    return path


def refusal(path: Path) -> str | None:
    """What is said of a file, ``None`` where it holds a workload."""
    try:
        return None if read_workload(path) else "nothing, and no word"
    except AdvisorError as error:
        return str(error)


# --- JSON Lines ----------------------------------------------------------------------------------------------------


def test_a_line_is_a_statement(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        "# a comment, then an empty line",
        "",
        "-- and another",
        {
            "id": "orders",
            "sql": "SELECT * FROM orders WHERE day = :day AND n = :n;",
            "calls": 120,
            "total_seconds": 4.5,
            "parameters": [{"day": "2024-01-01", "n": 1}, {"day": None, "n": True}],
        },
        {"name": "users", "sql": "UPDATE users SET a = $1", "parameters": [[1.5]]},
        {"sql": "SELECT a FROM t WHERE b = %s"},
    )
    assert read_workload(path) == [
        WorkloadQuery(
            "orders",
            "SELECT * FROM orders WHERE day = :day AND n = :n",
            120.0,
            4.5,
            ({"day": "2024-01-01", "n": 1}, {"day": None, "n": True}),
        ),
        WorkloadQuery("users", "UPDATE users SET a = $1", 1.0, None, ([1.5],)),
        WorkloadQuery(fingerprint("SELECT a FROM t WHERE b = ?"), "SELECT a FROM t WHERE b = %s"),
    ]


def test_the_same_statement_is_one_query_with_the_samples_of_all_its_lines(tmp_path: Path) -> None:
    sql = "SELECT a FROM t WHERE b = :b"
    path = lines(
        tmp_path,
        {"sql": sql, "calls": 2, "total_seconds": 1, "parameters": [{"b": 1}]},
        {"sql": sql, "calls": 3, "parameters": [{"b": 2}]},
        {"sql": sql.lower(), "calls": 4, "parameters": [{"b": 3}]},
    )
    assert read_workload(path) == [WorkloadQuery(fingerprint(sql), sql, 9.0, 1.0, ({"b": 1}, {"b": 2}))]


def test_statements_that_differ_in_literals_are_samples_of_one(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"sql": "SELECT a FROM t WHERE b = 'x'", "calls": 2},
        {"sql": "SELECT a FROM t WHERE b = 'y'"},
        {"sql": "SELECT c FROM t WHERE b = 'y'"},
    )
    one, other = read_workload(path)
    assert (one.sql, one.calls, one.parameters) == ("SELECT a FROM t WHERE b = $1", 3.0, (("x",), ("y",)))
    assert (other.sql, other.parameters) == ("SELECT c FROM t WHERE b = 'y'", ())


def test_names_keep_statements_apart_that_differ_in_literals(tmp_path: Path) -> None:
    path = lines(tmp_path, {"sql": "SELECT 'x'", "id": "x"}, {"sql": "SELECT 'y'", "id": "y"})
    assert [(query.id, query.sql) for query in read_workload(path)] == [("x", "SELECT 'x'"), ("y", "SELECT 'y'")]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("SELECT 1", "no JSON"),
        ('{"sql": "SELECT 1"', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('["SELECT 1"]', "no JSON object"),
        ('{"calls": 1}', '"sql" must be the text of a statement'),
        ('{"sql": " "}', '"sql" must be the text of a statement'),
        ('{"sql": "SELECT 1", "calls": "many"}', '"calls" must be a number an hour, more than 0'),
        ('{"sql": "SELECT 1", "calls": 0}', '"calls" must be a number an hour, more than 0'),
        ('{"sql": "SELECT 1", "calls": NaN}', '"calls" must be a number an hour, more than 0'),
        ('{"sql": "SELECT 1", "calls": true}', '"calls" must be a number an hour, more than 0'),
        ('{"sql": "SELECT 1", "calls": 1' + "0" * 400 + "}", "int too large to convert to float"),
        ('{"sql": "SELECT 1", "total_seconds": -1}', '"total_seconds" must be a number an hour'),
        ('{"sql": "SELECT 1", "id": []}', '"id" must be a text'),
        (
            '{"sql": "SELECT 1", "parameters": {"a": 1}}',
            '"parameters" must be a list of samples, each an object by name or a list by position',
        ),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_what_is_expected(tmp_path: Path, line: str, reason: str) -> None:
    path = lines(tmp_path, "# first", {"sql": "SELECT 1"}, line)
    with pytest.raises(AdvisorError) as error:
        read_workload(path)
    assert str(error.value).startswith(f'{path}:3: {reason}; one object a line is expected: {{"sql": "SELECT …"')


def test_a_name_belongs_to_one_statement(tmp_path: Path) -> None:
    path = lines(
        tmp_path, {"sql": "SELECT 1", "id": "x"}, {"sql": "SELECT 1", "id": "x"}, {"sql": "SELECT a", "id": "x"}
    )
    with pytest.raises(AdvisorError, match=r':3: the id "x" is another statement\'s, of line 1$'):
        read_workload(path)


def test_files_that_are_not_there_or_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(AdvisorError, match=r"none\.jsonl: cannot be read: No such file"):
        read_workload(tmp_path / "none.jsonl")
    with pytest.raises(AdvisorError, match="no statements in it"):
        read_workload(lines(tmp_path, "# nothing"))
    with pytest.raises(AdvisorError, match=r"a folder of \.sql files is expected"):
        read_workload(tmp_path)
    with pytest.raises(AdvisorError, match="cannot be read"):
        read_workload("a\0b")
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(AdvisorError, match="UTF-8 is expected"):
        read_workload(tmp_path / "latin.sql")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.text().map(str.encode), st.sampled_from(["a.jsonl", "a.json", "a.sql", "a.txt"]))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in (refusal(tmp_path / name) or name)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(
            ["sql", "calls", "id", "parameters", "total_seconds", "format", "started", "until", "queries", "pid"]
        ),
        json_values,
    )
)
def test_any_object_is_read_or_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    path = lines(tmp_path, entry)
    assert path.name in (refusal(path) or path.name)


# --- SQL -----------------------------------------------------------------------------------------------------------


def test_a_file_of_sql_has_statements_between_semicolons(tmp_path: Path) -> None:
    path = tmp_path / "workload.sql"
    path.write_text("-- orders\nSELECT ';' FROM a;\n\nDELETE FROM b WHERE c = $1;\nSELECT ';' FROM a;")
    assert [(query.id, query.sql, query.calls) for query in read_workload(path)] == [
        (fingerprint("SELECT ';' FROM a"), "SELECT ';' FROM a", 2.0),
        (fingerprint("DELETE FROM b WHERE c = $1"), "DELETE FROM b WHERE c = $1", 1.0),
    ]


def test_a_folder_has_a_statement_a_file_in_natural_order(tmp_path: Path) -> None:
    for name in ("q10.sql", "q2.sql", "q1.sql", "Q3.sql", "notes.txt"):
        (tmp_path / name).write_text(f"SELECT '{name}';\n")
    (tmp_path / "q15.sql").write_text("CREATE VIEW v AS SELECT 1; SELECT * FROM v;")
    assert [(query.id, query.calls) for query in read_workload(tmp_path)] == [
        (name, 1.0) for name in ("q1", "q2", "Q3", "q10", "q15", "q15-2")
    ]


def test_an_open_quote_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("SELECT 'open")
    with pytest.raises(AdvisorError, match=r"a\.sql: a quote or a comment that does not end"):
        read_workload(tmp_path)


# --- recordings ------------------------------------------------------------------------------------------------------


def totals(text: str, calls: int, *, namespace: str = "shop", key: str = "") -> QueryTotals:
    its_print = key or fingerprint(text)
    return QueryTotals(
        namespace, its_print, "postgresql", "s", text, calls, calls * 500_000_000, 0, {}, {}, Sketch()
    )  # fmt: skip


ORDERS, USERS = "SELECT a FROM orders WHERE b = ?", "SELECT a FROM users WHERE b IN (?)"


def recorded() -> list[Snapshot]:
    one = [totals(ORDERS, 10), totals("BEGIN", 99), totals("", 5, key="other")]
    other = [totals(ORDERS, 20), totals(USERS, 30, namespace="people|public")]
    return [
        Snapshot(7, 1000.0, 1900.0, one, {}, {}, {}),
        Snapshot(8, 1900.0, 2800.0, other, {}, {}, {}, final=True),
    ]


def record(folder: Path) -> Path:
    for snapshot in recorded():
        (folder / f"{snapshot.pid}.json").write_text(json.dumps(to_json(snapshot)))
    (folder / "other.json").write_text("{}")
    return folder


def test_a_folder_that_was_recorded_into_is_read_as_rates_over_its_time(tmp_path: Path) -> None:
    assert read_workload(record(tmp_path)) == [
        WorkloadQuery(fingerprint(USERS), USERS, 60.0, 30.0),
        WorkloadQuery(fingerprint(ORDERS), ORDERS, 60.0, 30.0),
    ]


def test_a_snapshot_alone_has_its_own_time(tmp_path: Path) -> None:
    record(tmp_path)
    assert read_workload(tmp_path / "7.json") == [WorkloadQuery(fingerprint(ORDERS), ORDERS, 40.0, 20.0)]


def test_the_report_as_json_says_the_same(tmp_path: Path) -> None:
    write_report(merge_report(recorded()), tmp_path / "report.json")
    (tmp_path / "folder").mkdir()
    reported, snapshots = read_workload(tmp_path / "report.json"), read_workload(record(tmp_path / "folder"))
    assert [(query.id, query.sql, query.calls) for query in reported] == [
        (query.id, query.sql, query.calls) for query in snapshots
    ]
    assert [query.seconds for query in reported] == pytest.approx([query.seconds for query in snapshots])


@pytest.mark.parametrize("namespace", ["people", "people|public"])
def test_one_database_can_be_chosen(tmp_path: Path, namespace: str) -> None:
    assert [query.sql for query in read_workload(record(tmp_path), namespace=namespace)] == [USERS]


def test_a_recording_of_another_version_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    frame = to_json(recorded()[0])
    (tmp_path / "a.json").write_text(json.dumps({**frame, "format": 99}))
    with pytest.raises(AdvisorError, match=r"a\.json: no recording that can be used: format 99, not 1"):
        read_workload(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps({**frame, "queries": [{}]}))
    with pytest.raises(AdvisorError, match="broken: KeyError"):
        read_workload(tmp_path / "a.json")
