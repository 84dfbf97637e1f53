"""Logs of real servers (in ``logs/``), and what else a log may look like."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dbvitals_processors.hints.model import AdvisorError, WorkloadQuery
from dbvitals_processors.hints.sources import tally
from dbvitals_processors.hints.sources.logs import read
from dbvitals_processors.hints.sources.sql import fingerprint

LOGS = Path(__file__).parent / "logs"
BY_STATUS = "SELECT id\nFROM orders\n\tWHERE status = $1 AND id = $2 -- ; a comment"


def log(folder: Path, *lines: str) -> Path:
    path = folder / "server.log"
    path.write_text("\n".join(lines) + "\n")
    return path


def found(path: Path, table: str = "orders") -> dict[str, WorkloadQuery]:
    return {query.sql: query for query in read(path) if table in query.sql}


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["postgresql.log", "postgresql.csv", "postgresql.json"])
def test_postgresql_writes_the_same_in_three_ways(name: str) -> None:
    queries = found(LOGS / name)
    assert set(queries) == {
        BY_STATUS,
        "SELECT note FROM orders WHERE status = $1 ORDER BY 1 LIMIT $2",
        "UPDATE orders SET note = $1 WHERE id = $2",
        "SELECT count(*) FROM orders WHERE id > $1",
    }
    by_status = queries[BY_STATUS]
    assert by_status.id == fingerprint(BY_STATUS)
    assert by_status.calls == 6 * 60  # the log is shorter than a minute
    assert by_status.seconds == pytest.approx(0.000022 * 60)
    assert len(by_status.parameters) == tally.SAMPLES
    assert set(map(tuple, by_status.parameters)) <= {
        ("pending", "0"), ("sh'ipped", "1"), (None, "2"), ("paid", "3"), ("pending", "4"), ("x\ny", "5")
    }  # fmt: skip
    noted = queries["SELECT note FROM orders WHERE status = $1 ORDER BY 1 LIMIT $2"]
    assert noted.parameters == (("pending", 5), ("it's", 5))


def test_all_statements_but_utilities_are_there_most_expensive_first() -> None:
    queries = read(LOGS / "postgresql.log")
    assert [query.seconds for query in queries] == sorted((query.seconds for query in queries), reverse=True)
    assert not any(query.sql.startswith(("BEGIN", "SET", "CREATE", "COMMIT")) for query in queries)


def test_statement_and_time_that_are_logged_apart_come_together() -> None:
    queries = found(LOGS / "log_statement.log")
    assert queries[BY_STATUS].calls == 6 * 60
    assert queries[BY_STATUS].seconds == pytest.approx(0.000168 * 60)
    assert len(queries[BY_STATUS].parameters) == tally.SAMPLES
    failed = queries["SELECT nothing FROM orders"]
    assert (failed.calls, failed.seconds) == (60, None)


@pytest.mark.parametrize(
    "prefix",
    [
        "2024-01-01 12:00:00.123 UTC [77] ",
        "2024-01-01 12:00:00 UTC:10.0.0.1(5432):app@shop:[77]:",
        "1704110400.123 77 db=shop,user=app ",
        "Jan  1 12:00:00 host postgres[77]: [5-1] ",
        "",
    ],
)
def test_any_prefix_will_do(tmp_path: Path, prefix: str) -> None:
    path = log(
        tmp_path,
        f"{prefix}LOG:  duration: 1500.0 ms  execute S_1/C_2: SELECT a",
        "\tFROM t WHERE b = $1",
        f"{prefix}DETAIL:  Parameters: $1 = 'x, $2 = ''y'''",
        f"{prefix}LOG:  checkpoint starting: time",
        "a line of somebody else",
    )
    rate = 60 if prefix else 1
    sql = "SELECT a\nFROM t WHERE b = $1"
    assert read(path) == [WorkloadQuery(fingerprint(sql), sql, rate, 1.5 * rate, (("x, $2 = 'y'",),))]


def test_the_rate_is_over_the_logs_own_time_whatever_it_tells_of(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "2024-01-01 10:00:00 UTC [1] LOG:  checkpoint starting: time",
        "2024-01-01 11:00:00 UTC [7] LOG:  duration: 500 ms  statement: SELECT a FROM t",
        "2024-01-01 12:00:00 UTC [7] LOG:  duration: 500 ms  statement: select a from t;",
        "2024-01-01 14:00:00 UTC [1] LOG:  checkpoint starting: time",
    )
    assert read(path) == [WorkloadQuery(fingerprint("SELECT a FROM t"), "SELECT a FROM t", 0.5, 0.25)]


def test_parse_bind_and_plans_are_no_calls_and_a_fetch_is_part_of_one(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "LOG:  duration: 100 ms  parse a: SELECT a FROM t",
        "LOG:  duration: 100 ms  bind a: SELECT a FROM t",
        "LOG:  duration: 100 ms  execute a: SELECT a FROM t",
        "LOG:  duration: 100 ms  execute fetch from a: SELECT a FROM t",
        "LOG:  duration: 100 ms  plan:",
        "\tQuery Text: SELECT a FROM t",
    )
    assert [(query.calls, query.seconds) for query in read(path)] == [(1, 0.2)]


def test_several_statements_in_one_message_are_told_apart(tmp_path: Path) -> None:
    path = log(tmp_path, "LOG:  duration: 100 ms  statement: BEGIN; SELECT a FROM t; SELECT ';' FROM u; COMMIT")
    assert {(query.sql, query.calls, query.seconds) for query in read(path)} == {
        ("SELECT a FROM t", 1, None),
        ("SELECT $1 FROM u", 1, None),
    }


def test_one_database_can_be_chosen(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "12:00 app@shop LOG:  duration: 1 ms  statement: SELECT a FROM t",
        "12:00 app@blog LOG:  duration: 1 ms  statement: SELECT b FROM t",
        "12:00 LOG:  duration: 1 ms  statement: SELECT c FROM t",
    )
    assert {query.sql for query in read(path, database="shop")} == {"SELECT a FROM t", "SELECT c FROM t"}


def test_calls_that_differ_in_literals_are_samples_of_one_statement(tmp_path: Path) -> None:
    calls = [f"LOG:  duration: 1 ms  statement: SELECT a FROM t WHERE b = 'x{number}'" for number in range(100)]
    [query] = read(log(tmp_path, *calls))
    assert (query.sql, query.calls) == ("SELECT a FROM t WHERE b = $1", 100)
    values = [values[0] for values in query.parameters]
    assert len(set(values)) == tally.SAMPLES
    assert set(values) != {f"x{number}" for number in range(tally.SAMPLES)}  # not the first ones: any of all


def test_beyond_many_statements_the_cheapest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "MOST_STATEMENTS", 20)
    path = log(tmp_path, *(f"LOG:  duration: {number}0 ms  statement: SELECT a FROM t{number}" for number in range(50)))
    queries = read(path)
    assert len(queries) <= 20
    assert queries[0].sql == "SELECT a FROM t49"


# --- MySQL, MariaDB --------------------------------------------------------------------------------------------------


def test_the_slow_log_of_mariadb() -> None:
    queries = found(LOGS / "mariadb-slow.log")
    assert [(sql, query.calls, query.parameters) for sql, query in queries.items()] == [
        (
            "SELECT id\nFROM orders\n# a comment\nWHERE status = ? AND id = ?",
            180.0,
            (("pending", 0), ("sh'ipped", 1), ("pending", 2)),
        ),
        ("SELECT note FROM orders WHERE status = ? LIMIT ?, ?", 60.0, (("it;s", 5, 10),)),
        ("UPDATE orders SET note = ? WHERE id = ?", 60.0, (("a'b", 5),)),
    ]
    assert queries["UPDATE orders SET note = ? WHERE id = ?"].seconds == pytest.approx(0.000047 * 60)


def test_the_slow_log_of_mysql(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "/usr/sbin/mysqld, Version: 8.0.36 (MySQL Community Server - GPL). started with:",
        "Tcp port: 3306  Unix socket: /var/run/mysqld/mysqld.sock",
        "Time                 Id Command    Argument",
        "# Time: 2024-01-01T12:00:00.000000Z",
        "# User@Host: app[app] @ localhost []  Id:     8",
        "# Query_time: 2.500000  Lock_time: 0.000001 Rows_sent: 1  Rows_examined: 100000",
        "use shop;",
        "SET timestamp=1704110400;",
        "SELECT a",
        "  FROM t WHERE b = 'x';",
        "# Time: 2024-01-01T14:00:00.000000Z",
        "# User@Host: app[app] @ localhost []  Id:     8",
        "# Query_time: 0.500000  Lock_time: 0.000001 Rows_sent: 1  Rows_examined: 100000",
        "SET timestamp=1704117600;",
        "SELECT a FROM t WHERE b = 'y';",
        "# Time: 2024-01-01T14:00:00.000000Z",
        "# User@Host: app[app] @ localhost []  Id:     8",
        "# Query_time: 0.000001  Lock_time: 0.000000 Rows_sent: 0  Rows_examined: 0",
        "SET timestamp=1704117600;",
        "# administrator command: Quit;",
    )
    [query] = read(path)
    assert (query.calls, query.seconds) == (1.0, 1.5)
    assert query.id == fingerprint("select a from t where b = ?")
    assert read(path, database="shop") == [query]
    with pytest.raises(AdvisorError, match="no statements in it"):
        read(path, database="blog")


# --- files -----------------------------------------------------------------------------------------------------------


def test_packed_logs_and_folders_are_read_as_one(tmp_path: Path) -> None:
    plain = (LOGS / "postgresql.log").read_bytes()
    (tmp_path / "postgresql.log.1").write_bytes(plain)
    (tmp_path / "postgresql.log.2.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "empty").touch()
    once, twice = found(LOGS / "postgresql.log"), found(tmp_path)
    assert {sql: query.calls for sql, query in twice.items()} == {sql: 2 * query.calls for sql, query in once.items()}


def test_what_is_no_log_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(AdvisorError, match="cannot be read: No such file"):
        read(tmp_path / "none.log")
    with pytest.raises(AdvisorError, match="no log that is known here"):
        read(log(tmp_path, "hello"))
    with pytest.raises(AdvisorError, match="no statements in it: set log_min_duration_statement = 0"):
        read(log(tmp_path, "LOG:  checkpoint starting: time"))
    (tmp_path / "server.log").write_bytes(gzip.compress(b"LOG:  x" * 1000)[:-10])
    with pytest.raises(AdvisorError, match="cannot be read"):
        read(tmp_path / "server.log")
    with pytest.raises(AdvisorError, match="several database systems"):
        read(LOGS)


LINES = st.lists(
    st.sampled_from(
        [
            "2024-01-01 12:00:00 UTC [7] LOG:  duration: 1.5 ms  statement: SELECT 'x'",
            "2024-99-99 99:99:99 [x] LOG:  duration: 1.5 ms",
            "LOG:  execute a: SELECT $1; SELECT",
            "DETAIL:  parameters: $1 = 'x', $3 = NULL",
            "\tFROM t;",
            "LOG:  duration: 9e9 ms  execute fetch from a: SELECT",
            "Foo 99 12:00:00 LOG:  statement: SELECT '",
            "# Time: 999999 99:99:99",
            "# Query_time: 1.5",
            "# User@Host: a",
            "SET timestamp=99999999999;",
            "use x;",
            "SELECT 'a;",
            '{"timestamp": "x", "error_severity": "LOG", "message": "duration: 1 ms  statement: SELECT 1", "pid": []}',
            '2024-01-01 12:00:00 UTC,"a","b",1,"c",d,1,"SELECT",x,3/0,0,LOG,00000,"duration: 1 ms  statement: SELECT 1"'
            + "," * 12,
            '"',
        ]
    )
    | st.text(),
    max_size=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
@example(["LOG:  duration: 1 ms  statement: SELECT a FROM t WHERE b = '\ud83d'"])
def test_any_text_is_read_or_refused(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "any.log"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        queries = read(path)
    except AdvisorError:
        return
    assert all(query.calls > 0 for query in queries)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    for start in (b"", b"\x1f\x8b", b"LOG:  x\n", b"# Time: 1\n"):
        (tmp_path / "any.log").write_bytes(start + content)
        with pytest.raises(AdvisorError):
            read(tmp_path / "any.log")
