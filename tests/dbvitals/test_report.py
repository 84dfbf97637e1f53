from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from dbvitals import report
from dbvitals.report.units import count, percent, seconds
from dbvitals.snapshot import CacheTotals, PoolTotals, Snapshot, UnreadableSnapshot, Waits, from_json, to_json
from dbvitals_processors.findings import Example, Finding
from dbvitals_processors.query_span import Caller, QuerySpan
from dbvitals_processors.trace_rules import RULES
from dbvitals_processors.workload import Workload

BOUNDS = (0.001, 0.01, 0.1, 1.0)


def ask(
    workload: Workload,
    fingerprint: str,
    summary: str,
    text: str,
    took: float,
    *,
    times: int = 1,
    rows: int = 0,
    error: str | None = None,
    caller: Caller | None = None,
) -> None:
    for _ in range(times):
        workload.add(
            QuerySpan(
                "postgresql",
                "shop|public",
                summary.split()[0],
                "",
                summary,
                text,
                fingerprint,
                0,
                round(took * 1e9),
                rows,
                1,
                error,
                None,
                None,
                None,
                caller,
                1,
                2,
                None,
            )
        )


def web(pid: int = 11, started: float = 1000.0) -> Snapshot:
    workload = Workload()
    pages = Caller("list_orders.<locals>.<listcomp>", "/srv/shop/pages.py", 41)
    ask(workload, "a", "SELECT order_items", "SELECT * FROM order_items WHERE order_id = ?", 0.004, times=1200, rows=3,
        caller=pages)  # fmt: skip
    ask(workload, "b", "SELECT orders", "SELECT id FROM orders WHERE customer_id = ?", 0.012, times=40, rows=9)
    ask(workload, "c", "SELECT orders", "SELECT id, placed FROM orders ORDER BY id LIMIT ?", 0.0008, times=60, rows=20,
        caller=Caller("list_orders", "/srv/shop/pages.py", 39))  # fmt: skip
    ask(workload, "d", "INSERT orders", "INSERT INTO orders VALUES (?)", 0.0023, times=9)
    ask(workload, "d", "INSERT orders", "INSERT INTO orders VALUES (?)", 0.0023, times=2, error="23505",
        caller=Caller("Shop.place_order", "/srv/shop/pages.py", 88))  # fmt: skip
    pool = PoolTotals(15, 2, 15, Waits(BOUNDS, (90, 4, 5, 1, 0), 0.9, 0.0001, 0.6), 2, 1, 15)
    caches = {("products", "redis"): CacheTotals(90, 10, 0, 1), ("sessions", "local"): CacheTotals(1, 9)}
    return Snapshot(pid, started, started + 30, tuple(workload.totals()), {"db:5432/shop": pool}, caches, {})


def worker() -> Snapshot:
    workload = Workload()
    ask(workload, "b", "SELECT orders", "SELECT id FROM orders WHERE customer_id = ?", 0.02, times=10, rows=1,
        error="57014", caller=Caller("nightly", "/srv/shop/jobs.py", 7))  # fmt: skip
    pool = PoolTotals(5, 0, 3, Waits(BOUNDS, (10, 0, 0, 0, 0), 0.002, 0.0001, 0.0004), 0, 0, 3)
    caches = {("products", "redis"): CacheTotals(0, 50)}
    return Snapshot(12, 1010.0, 1071.5, tuple(workload.totals()), {"db:5432/shop": pool}, caches, {"pool.connect": 2})


def finding(rule: str, seconds: float, caller: Caller | None = None, **options: object) -> Finding:
    took = round(seconds * 1e9)
    advice = "Add selectinload(Order.items) to the query for Order: 1 query, not 20"
    one = Finding(
        rule,
        advice,
        "shop|public",
        "a",
        "SELECT order_items",
        caller,
        60,
        1200,
        took,
        Example("4bf9", 20, 60, took // 60),
    )
    return replace(one, **options)  # type: ignore[arg-type]


def with_findings(pid: int = 11) -> Snapshot:
    loop = Caller("list_orders.<locals>.<listcomp>", "/srv/shop/pages.py", 41)
    findings = (
        finding("join_or_selectinload", 4.5, loop),
        finding("n_plus_one", 4.5, loop, advice="Load Order.items eagerly for the loop: 1 query, not 20"),
        finding("n_plus_one", 0.5, None, advice="Fetch order_items by one WHERE … IN: 1 query, not 20"),
        finding("checkout_wait", 1.5, None, fingerprint="", summary="pool db:5432/shop", advice="Enlarge pool shop"),
    )
    return replace(web(pid), findings=findings)


def idle() -> Snapshot:
    return Snapshot(13, 990.0, 1020.0, (), {"db:5432/shop": PoolTotals(5)}, {}, {})


def rendered(seen: report.Report, width: int = 80, **options: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, **options)  # type: ignore[arg-type]
    report.terminal.render(seen, console)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().splitlines()


def test_processes_are_added_up() -> None:
    seen = report.merge([web(), worker(), idle()])
    assert (seen.started, seen.duration, seen.processes, seen.watched) == (990.0, pytest.approx(81.5), 2, 3)
    assert (seen.calls, seen.rows, seen.failed) == (1321, 3600 + 360 + 1200 + 10, 12)
    first, second = seen.queries[:2]
    assert (first.fingerprint, first.calls, first.total) == ("a", 1200, pytest.approx(4.8))
    assert (second.fingerprint, second.calls, second.errors) == ("b", 50, 10)
    assert second.total == pytest.approx(0.48 + 0.2)
    assert second.longest == pytest.approx(0.02)
    assert second.p50 == pytest.approx(0.012, rel=0.01)
    assert second.p95 == pytest.approx(0.02, rel=0.01)
    assert sum(query.share for query in seen.queries) == pytest.approx(1)
    (pool,) = seen.pools
    assert (pool.processes, pool.most, pool.peak, pool.used, pool.checkouts) == (2, 15, 15, 2, 110)
    assert (pool.timeouts, pool.invalidations, pool.created) == (2, 1, 18)
    assert pool.waited == pytest.approx(0.902)
    assert 0.01 < pool.p95_wait <= 0.1
    products, sessions = seen.caches
    assert (products.name, products.requests, products.hit_ratio) == ("products", 151, pytest.approx(0.6))
    assert sessions.hit_ratio == pytest.approx(0.1)
    assert [(error.type, error.calls, error.summary) for error in seen.errors] == [
        ("57014", 10, "SELECT orders"),
        ("23505", 2, "INSERT orders"),
    ]
    assert seen.faults == {"pool.connect": 2}


def test_the_order_of_snapshots_does_not_matter() -> None:
    reports = [report.merge(order) for order in permutations([web(), worker(), idle(), with_findings(14)])]
    assert all(one == reports[0] for one in reports)


def test_a_snapshot_survives_its_file() -> None:
    for snapshot in (web(), replace(with_findings(), unjudged=3)):
        assert from_json(json.loads(json.dumps(to_json(snapshot)))) == snapshot


@pytest.mark.parametrize("data", [None, [], {}, {"format": 99}, {"format": 1, "pid": 1}])
def test_what_is_no_snapshot_is_refused(data: object) -> None:
    with pytest.raises(UnreadableSnapshot):
        from_json(data)


def test_a_folder_is_read_as_far_as_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "11-1.json").write_text(json.dumps(to_json(web())))
    (tmp_path / "12-1.json").write_text("{half")
    (tmp_path / "13-1.tmp").write_text("not yet there")
    seen = report.load(tmp_path)
    assert (seen.watched, seen.unreadable, seen.calls) == (1, 1, 1311)


def test_the_report_at_80_columns() -> None:
    assert rendered(report.merge([web(), worker(), idle()])) == [
        "dbvitals · 1.4 min · 2 processes · 1,321 queries in 5.55 s · 12 failed",
        "",
        "Queries by total time          calls   total    mean     p95 share   rows errors",
        "SELECT order_items             1,200  4.80 s 4.00 ms 4.00 ms   86%  3,600      0",
        "  shop/pages.py:41 (list_orders)",
        "SELECT orders                     50  680 ms 13.6 ms 20.0 ms   12%    370     10",
        "  shop/jobs.py:7 (nightly)",
        "  … FROM orders WHERE customer_id = ?",
        "SELECT orders                     60 48.0 ms  800 µs  800 µs    1%  1,200      0",
        "  shop/pages.py:39 (list_orders)",
        "  … FROM orders ORDER BY id LIMIT ?",
        "INSERT orders                     11 25.3 ms 2.30 ms 2.30 ms   <1%      0      2",
        "  shop/pages.py:88 (Shop.place_order)",
        "",
        "Connection pools                    max peak checkouts  waited p95 wait timeouts",
        "db:5432/shop × 2                     15   15       110  902 ms  19.0 ms        2",
        "  18 connections made, 1 invalidated, longest wait 600 ms",
        "",
        "Caches                                 requests    hits  misses errors hit ratio",
        "products (redis)                            151      90      60      1       60%",
        "sessions (local)                             10       1       9      0       10%",
        "",
        "Errors by type                                                calls",
        "57014                                                            10",
        "  SELECT orders, shop/jobs.py:7 (nightly)",
        "23505                                                             2",
        "  INSERT orders, shop/pages.py:88 (Shop.place_order)",
        "",
        "Faults of dbvitals itself, please report them: pool.connect 2×",
    ]


def test_findings_come_first_with_advice_and_caller_and_a_loop_is_told_of_once() -> None:
    assert rendered(report.merge([with_findings(11), with_findings(12)]))[1:12] == [
        "",
        "Findings by time wasted                                    times queries  wasted",
        "N+1: SELECT order_items                                      120   2,400  9.00 s",
        "  shop/pages.py:41 (list_orders)",
        "  Add selectinload(Order.items) to the query for Order: 1 query, not 20",
        "Waits for: pool db:5432/shop                                 120   2,400  3.00 s",
        "  Enlarge pool shop",
        "N+1: SELECT order_items                                      120   2,400  1.00 s",
        "  Fetch order_items by one WHERE … IN: 1 query, not 20",
        "",
        "Queries by total time          calls   total    mean     p95 share   rows errors",
    ]
    wide = rendered(report.merge([with_findings()]), width=160)
    assert wide[2].endswith("wasted  called from")
    assert wide[3].endswith("s  shop/pages.py:41 (list_orders)")
    assert wide[4] == "  Add selectinload(Order.items) to the query for Order: 1 query, not 20"


@pytest.mark.parametrize("rule", [rule.__name__ for rule in RULES])
def test_each_rule_has_a_word_in_the_report(rule: str) -> None:
    snapshot = replace(web(), findings=(finding(rule, 1.0),))
    assert any(line.endswith("1.00 s") and "SELECT order_items" in line for line in rendered(report.merge([snapshot])))


def test_of_many_findings_the_report_says_how_many_there_are() -> None:
    some = tuple(finding("duplicate", 1.0, fingerprint=f"f{number}") for number in range(11))
    assert "… and 3 more" in rendered(report.merge([replace(web(), findings=some)]))


def test_spans_that_nobody_looked_at_are_told_of() -> None:
    lines = rendered(report.merge([replace(web(), unjudged=1200), replace(worker(), unjudged=3)]))
    assert lines[-1] == "1,203 spans came too fast to be looked at for findings."


def test_where_there_is_room_callers_stand_beside_the_numbers() -> None:
    lines = rendered(report.merge([web()]), width=160)
    assert lines[2].endswith("errors  called from")
    assert lines[3].startswith("SELECT order_items")
    assert lines[3].endswith("0  shop/pages.py:41 (list_orders)")


@pytest.mark.parametrize("width", [20, 80, 100, 119, 120, 160, 250])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, rendered(report.merge([web(), worker()]), width=width))) <= max(80, width)


def test_colour_adds_nothing_but_colour() -> None:
    seen = report.merge([web()])
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    with console.capture() as capture:
        report.terminal.render(seen, console)
    coloured = capture.get()
    assert "\x1b[" in coloured
    assert [Text.from_ansi(line).plain for line in coloured.splitlines()] == rendered(seen)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    report.terminal.render(report.merge([web(), worker()]), Console(file=output, width=80))
    output.flush()
    assert b"800 us" in output.buffer.getvalue()  # type: ignore[attr-defined]


def test_what_looks_like_markup_is_text() -> None:
    workload = Workload()
    ask(workload, "a", "SELECT [bold]t[/nope]", "SELECT 1", 0.1)
    seen = report.merge([Snapshot(1, 0.0, 1.0, tuple(workload.totals()), {}, {}, {})])
    assert any("[bold]t[/nope]" in line for line in rendered(seen))


def test_more_queries_than_there_is_room_for_are_added_up() -> None:
    workload = Workload()
    for number in range(20):
        ask(workload, f"f{number:02}", f"SELECT t{number}", "", 1.0 - number / 100)
    lines = rendered(report.merge([Snapshot(1, 0.0, 1.0, tuple(workload.totals()), {}, {}, {})]))
    assert lines[-1] == "… and 8 more queries, 6.76 s in total"


def test_of_pools_caches_and_errors_that_are_not_shown_the_report_says_how_many_there_are() -> None:
    workload = Workload()
    for number in range(11):
        ask(workload, "a", "SELECT t", "", 0.1, error=f"E{number:02}")
    pool = PoolTotals(5, 0, 3, Waits(BOUNDS, (10, 0, 0, 0, 0), 0.002, 0.0001, 0.0004), 0, 0, 3)
    pools = {f"db{number:02}:5432/shop": pool for number in range(10)}
    caches = {(f"cache{number:02}", "redis"): CacheTotals(1) for number in range(9)}
    lines = rendered(report.merge([Snapshot(1, 0.0, 1.0, tuple(workload.totals()), pools, caches, {})]))
    said = [(lines[number - 1], line) for number, line in enumerate(lines) if line.startswith("… and")]
    assert [line for _, line in said] == ["… and 2 more", "… and 1 more", "… and 3 more"]
    assert [before.split()[0] for before, _ in said] == ["3", "cache07", "SELECT"]
    assert not any("more" in line for line in rendered(report.merge([web(), worker()])))


def test_processes_that_were_killed_are_counted_once_they_are_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    ended, went_on = replace(web(gone.pid), final=True), web(gone.pid, started=900.0)
    alive = web(os.getpid())
    for number, snapshot in enumerate((ended, went_on, alive)):
        (tmp_path / f"{number}.json").write_text(json.dumps(to_json(snapshot)))
    assert report.load(tmp_path).killed == 0
    (tmp_path / "4.json").write_text(json.dumps(to_json(web(gone.pid, started=1200.0))))
    seen = report.load(tmp_path)
    assert seen.killed == 1
    assert rendered(seen)[-1] == "1 process was killed; up to a second of what it did may be missing."
    assert rendered(replace(seen, killed=2))[-1] == (
        "2 processes were killed; up to a second of what they did may be missing."
    )


def test_where_no_process_was_watched_the_report_says_so_and_what_to_do(tmp_path: Path) -> None:
    assert rendered(report.load(tmp_path)) == [
        "dbvitals saw nothing: no Python process loaded it. Start the program with the Python that dbvitals is "
        "installed in, without -I, -S or -E, and leave PYTHONPATH as it finds it."
    ]


def test_where_nothing_was_asked_the_report_says_so_and_what_to_do() -> None:
    assert rendered(report.merge([idle()])) == [
        "dbvitals saw nothing: it watched 1 process for 30.0 s, and none sent a query through SQLAlchemy or read a key "
        "through redis-py. Give the program some work (a request, a job) before it ends."
    ]


def test_the_json_holds_the_same_under_stable_keys(tmp_path: Path) -> None:
    seen = report.merge([web(), worker(), idle()])
    report.json.write(seen, tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(data) == [
        "format", "started", "until", "duration", "processes", "watched", "totals", "queries", "pools", "caches",
        "errors", "findings", "unjudged", "faults", "killed", "unreadable",
    ]  # fmt: skip
    assert data["format"] == 1
    assert data["totals"] == {"calls": 1321, "seconds": pytest.approx(5.5533), "rows": 5170, "errors": 12}
    assert data["queries"][0] == {
        "namespace": "shop|public",
        "fingerprint": "a",
        "system": "postgresql",
        "summary": "SELECT order_items",
        "text": "SELECT * FROM order_items WHERE order_id = ?",
        "calls": 1200,
        "rows": 3600,
        "errors": 0,
        "error_types": {},
        "seconds": {
            "total": pytest.approx(4.8),
            "mean": pytest.approx(0.004),
            "p50": pytest.approx(0.004, rel=0.01),
            "p95": pytest.approx(0.004, rel=0.01),
            "max": pytest.approx(0.004),
        },
        "share": pytest.approx(0.864, abs=0.001),
        "caller": {"function": "list_orders.<locals>.<listcomp>", "file": "/srv/shop/pages.py", "line": 41},
    }
    assert list(data["pools"][0]) == [
        "name", "processes", "max", "peak", "used", "checkouts", "timeouts", "invalidations", "created", "wait_seconds",
    ]  # fmt: skip
    assert data["caches"][0] == {
        "name": "products", "tier": "redis", "requests": 151, "hits": 90, "misses": 60, "bypasses": 0, "errors": 1,
        "hit_ratio": pytest.approx(0.6),
    }  # fmt: skip
    assert data["errors"][1] == {
        "type": "23505", "calls": 2, "queries": 1, "summary": "INSERT orders",
        "caller": {"function": "Shop.place_order", "file": "/srv/shop/pages.py", "line": 88},
    }  # fmt: skip


def test_findings_in_the_json_have_stable_keys_and_seconds() -> None:
    data = report.json.to_json(report.merge([with_findings(), with_findings(12)]))
    assert [one["rule"] for one in data["findings"]] == [
        "join_or_selectinload", "n_plus_one", "checkout_wait", "n_plus_one",
    ]  # fmt: skip
    assert data["findings"][0] == {
        "rule": "join_or_selectinload",
        "advice": "Add selectinload(Order.items) to the query for Order: 1 query, not 20",
        "namespace": "shop|public",
        "fingerprint": "a",
        "summary": "SELECT order_items",
        "caller": {"function": "list_orders.<locals>.<listcomp>", "file": "/srv/shop/pages.py", "line": 41},
        "occurrences": 120,
        "queries": 2400,
        "wasted": pytest.approx(9.0),
        "example": {"trace": "4bf9", "queries": 20, "rows": 60, "wasted": pytest.approx(0.075)},
    }
    assert data["unjudged"] == 0


@pytest.mark.parametrize(
    "value, text",
    [(0, "0 µs"), (2.4e-7, "0 µs"), (0.00087, "870 µs"), (0.0009996, "1.00 ms"), (0.0123, "12.3 ms"),
     (0.9994, "999 ms"), (0.9996, "1.00 s"), (9.996, "10.0 s"), (59.9, "59.9 s"), (59.96, "1.0 min"), (3600, "1.0 h")],
)  # fmt: skip
def test_seconds_are_short(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    "value, text", [(0, "0"), (99_999, "99,999"), (123_456, "123k"), (999_600, "1.0M"), (3_400_000, "3.4M")]
)
def test_counts_are_short(value: int, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize("value, text", [(0, "0%"), (0.001, "<1%"), (0.386, "39%"), (1, "100%")])
def test_percents_are_short(value: float, text: str) -> None:
    assert percent(value) == text


def test_waits_of_other_bounds_are_added_without_them() -> None:
    one, other = Waits((0.1,), (2, 1), 1.0, 0.01, 0.9), Waits((0.5,), (1, 0), 0.2, 0.2, 0.2)
    added = one + other
    assert (added.count, added.bounds, added.total, added.least, added.most) == (4, (), pytest.approx(1.2), 0.01, 0.9)
    assert 0.01 <= (added.quantile(0.5) or 0) <= 0.9
