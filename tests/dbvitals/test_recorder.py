from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import QueuePool, create_engine, exc, text

from dbvitals import report, testing, watch
from dbvitals.recorder import Recorder
from dbvitals.snapshot import Snapshot, from_json
from dbvitals_instrumentation import guard
from dbvitals_instrumentation.config import Config


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seen() -> Iterator[testing.Seen]:
    guard.reset()
    with testing.observe() as observed:
        yield observed
    guard.reset()


@pytest.fixture
def recorder(tmp_path: Path, clock: Clock, seen: testing.Seen) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path, clock=clock)
    recorder.attach(seen.tracer_provider, seen.meter_provider)
    yield recorder
    recorder.stop()


def snapshots(folder: Path) -> list[Snapshot]:
    return [from_json(json.loads(file.read_text())) for file in sorted(folder.glob("*.json"))]


def calls(snapshot: Snapshot) -> int:
    return sum(query.calls for query in snapshot.queries)


def test_a_process_that_does_nothing_leaves_a_snapshot_that_says_so(tmp_path: Path, recorder: Recorder) -> None:
    (snapshot,) = snapshots(tmp_path)
    assert (snapshot.pid, snapshot.idle) == (os.getpid(), True)
    assert [file.name for file in tmp_path.iterdir()] == [f"{os.getpid()}-1700000000000.json"]


def test_a_snapshot_has_queries_pools_caches_and_faults(tmp_path: Path, clock: Clock, recorder: Recorder) -> None:
    engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=2, max_overflow=1, pool_timeout=0)
    with engine.connect() as one, engine.connect(), engine.connect():
        one.execute(text("SELECT 1 FROM sqlite_master")).all()
        with pytest.raises(exc.TimeoutError):
            engine.connect()
        recorder.write()
    watch.record_cache("products", "hit", tier="redis", number=3)
    watch.record_cache("products", "miss", tier="redis")
    watch.record_cache("products", "error", tier="redis")
    guard.fault("test", ValueError())
    clock.now += 2
    recorder.write()
    (snapshot,) = snapshots(tmp_path)
    assert snapshot.until - snapshot.started == 2
    (query,) = snapshot.queries
    assert (query.summary, query.calls, query.rows) == ("SELECT sqlite_master", 1, 0)
    (pool,) = snapshot.pools.values()
    assert (pool.most, pool.peak, pool.used, pool.timeouts, pool.created) == (3, 3, 0, 1, 3)
    assert pool.waits.count == 3
    assert 0 < (pool.waits.quantile(0.95) or 0) <= pool.waits.most
    cache = snapshot.caches["products", "redis"]
    assert (cache.hits, cache.misses, cache.errors) == (3, 1, 1)
    assert snapshot.faults == {"test": 1}
    engine.dispose()


def test_totals_grow_from_one_snapshot_to_the_next(tmp_path: Path, recorder: Recorder) -> None:
    engine = create_engine("sqlite://")
    for _ in range(3):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        watch.record_cache("local", "hit")
        recorder.write()
    (snapshot,) = snapshots(tmp_path)
    (pool,) = snapshot.pools.values()
    assert (calls(snapshot), pool.waits.count, snapshot.caches["local", "local"].hits) == (3, 3, 3)
    engine.dispose()


def test_a_checkout_between_two_looks_says_that_one_connection_was_in_use(tmp_path: Path, recorder: Recorder) -> None:
    engine = create_engine("sqlite://")
    engine.connect().close()
    recorder.write()
    (pool,) = snapshots(tmp_path)[0].pools.values()
    assert (pool.used, pool.peak) == (0, 1)
    engine.dispose()


def test_nothing_is_written_while_nothing_changes(tmp_path: Path, clock: Clock, recorder: Recorder) -> None:
    (file,) = tmp_path.iterdir()
    file.unlink()
    clock.now += 10
    recorder.write()
    assert list(tmp_path.iterdir()) == []


def test_a_time_out_says_that_every_connection_was_in_use(tmp_path: Path, recorder: Recorder) -> None:
    engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
    with engine.connect(), pytest.raises(exc.TimeoutError):
        engine.connect()
    recorder.write()
    (pool,) = snapshots(tmp_path)[0].pools.values()
    assert (pool.used, pool.peak) == (0, 1)
    engine.dispose()


def loop(seen: testing.Seen, times: int = 9) -> None:
    engine = create_engine("sqlite://")
    with seen.tracer_provider.get_tracer("shop").start_as_current_span("GET /orders"), engine.connect() as connection:
        for number in range(times):
            connection.execute(text("SELECT a FROM (SELECT 1 AS a) orders WHERE a = :a"), {"a": number}).all()
    engine.dispose()


def test_a_snapshot_has_what_the_rules_found(tmp_path: Path, recorder: Recorder, seen: testing.Seen) -> None:
    loop(seen)
    recorder.write()
    (finding,) = snapshots(tmp_path)[0].findings
    assert (finding.rule, finding.occurrences, finding.queries) == ("n_plus_one", 1, 9)
    assert finding.caller is not None
    assert finding.caller.function == "loop"
    loop(seen)
    recorder.write()
    (finding,) = snapshots(tmp_path)[0].findings
    assert (finding.occurrences, finding.queries) == (2, 18)


def test_what_counts_as_a_loop_and_whether_callers_are_named_is_configured(tmp_path: Path, seen: testing.Seen) -> None:
    recorder = Recorder(tmp_path, config=Config(n_plus_one_threshold=20))
    recorder.attach(seen.tracer_provider, seen.meter_provider)
    loop(seen)
    loop(seen, 25)
    recorder.stop()
    (finding,) = snapshots(tmp_path)[0].findings
    assert (finding.occurrences, finding.queries) == (1, 25)


def test_a_request_that_is_not_over_when_the_process_ends_is_judged(
    tmp_path: Path, recorder: Recorder, seen: testing.Seen
) -> None:
    engine = create_engine("sqlite://")
    with seen.tracer_provider.get_tracer("shop").start_as_current_span("worker"), engine.connect() as connection:
        for number in range(9):
            connection.execute(text("SELECT a FROM (SELECT 1 AS a) orders WHERE a = :a"), {"a": number}).all()
        recorder.write()
        assert snapshots(tmp_path)[0].findings == ()
        recorder.stop()
    engine.dispose()
    assert len(snapshots(tmp_path)[0].findings) == 1


def test_a_fault_in_reading_what_came_in_is_counted(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder._inbox, "take", lambda: 1 / 0)
    recorder._read()
    assert guard.faults() == {"recorder.read": 1}
    monkeypatch.undo()


def test_what_a_provider_saw_before_it_was_shut_down_is_written(
    tmp_path: Path, recorder: Recorder, seen: testing.Seen
) -> None:
    watch.record_cache("local", "hit")
    seen.shutdown()
    recorder.write()
    assert snapshots(tmp_path)[0].caches["local", "local"].hits == 1


def test_a_folder_that_is_gone_is_a_fault_of_ours_and_not_the_applications(tmp_path: Path, seen: testing.Seen) -> None:
    recorder = Recorder(tmp_path / "gone")
    recorder.attach(seen.tracer_provider, seen.meter_provider)
    recorder.stop()
    assert guard.faults()["recorder.write"] >= 1


@pytest.mark.parametrize("unsuited", [NoOpMeterProvider()])
def test_where_no_reader_can_be_added_there_is_a_provider_to_measure_with(
    tmp_path: Path, unsuited: NoOpMeterProvider
) -> None:
    recorder = Recorder(tmp_path)
    provider = recorder.attach(TracerProvider(), unsuited)
    assert isinstance(provider, MeterProvider)
    watch.instrument(meter_provider=provider)
    watch.record_cache("local", "hit")
    watch.uninstrument()
    recorder.stop()
    provider.shutdown()
    assert snapshots(tmp_path)[0].caches["local", "local"].hits == 1


# --- real processes, real forks ---------------------------------------------------------------------------------------

PROLOGUE = """
import multiprocessing, os, signal, sys, threading
from pathlib import Path
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import create_engine, text
import dbvitals
from dbvitals.recorder import Recorder

tracer_provider, meter_provider = TracerProvider(), MeterProvider()
recorder = Recorder(Path(sys.argv[1]))
meter_provider = recorder.attach(tracer_provider, meter_provider)
dbvitals.instrument(tracer_provider=tracer_provider, meter_provider=meter_provider)
engine = create_engine("sqlite://")

def ask(times):
    for _ in range(times):
        with engine.connect() as connection:
            connection.execute(text("SELECT 1 FROM sqlite_master")).all()
        dbvitals.record_cache("local", "hit")
"""


def run(script: str, folder: Path, *, code: int = 0) -> list[Snapshot]:
    """What a program leaves, in the order in which its processes began."""
    program = PROLOGUE + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, str(folder)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert done.stderr == ""
    return sorted(snapshots(folder), key=lambda snapshot: (snapshot.started, snapshot.pid))


def figures(snapshot: Snapshot) -> tuple[int, int, int]:
    """Queries, checkouts and cache reads."""
    checkouts = sum(pool.waits.count for pool in snapshot.pools.values())
    return calls(snapshot), checkouts, sum(cache.hits for cache in snapshot.caches.values())


def test_a_program_that_ends_leaves_all_that_it_did(tmp_path: Path) -> None:
    (snapshot,) = run("ask(5)", tmp_path)
    assert figures(snapshot) == (5, 5, 5)


def test_a_program_that_fails_leaves_all_that_it_did(tmp_path: Path) -> None:
    (snapshot,) = run("ask(5); sys.stderr.close(); raise SystemExit(3)", tmp_path, code=3)
    assert figures(snapshot) == (5, 5, 5)


def test_a_killed_program_leaves_what_was_there_at_the_last_second(tmp_path: Path) -> None:
    script = """
        ask(4)
        recorder.write()  # as the thread does each second
        ask(3)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    (snapshot,) = run(script, tmp_path, code=-signal.SIGKILL)
    assert figures(snapshot) == (4, 4, 4)


def test_a_forked_child_begins_with_nothing_and_ends_with_its_own(tmp_path: Path) -> None:
    script = """
        ask(2)
        if os.fork() == 0:
            ask(3)
            assert sum(thread.name == "dbvitals-recorder" for thread in threading.enumerate()) == 1
            sys.exit()  # a worker of gunicorn ends like this
        os.wait()
        ask(1)
    """
    parent, child = run(script, tmp_path)
    assert figures(parent) == (3, 3, 3)
    assert figures(child) == (3, 3, 3)
    assert parent.pid != child.pid
    merged = report.merge([parent, child])
    assert (merged.calls, merged.processes, merged.pools[0].processes) == (6, 2, 2)


def test_findings_of_a_parent_and_its_child_are_told_once(tmp_path: Path) -> None:
    script = """
        def request():
            with tracer_provider.get_tracer("t").start_as_current_span("GET /"), engine.connect() as connection:
                for number in range(9):
                    connection.execute(text("SELECT a FROM (SELECT 1 AS a) t WHERE a = :a"), {"a": number}).all()

        request()  # its spans still wait
        if os.fork() == 0:
            request()
            sys.exit()
        os.wait()
    """
    found = run(script, tmp_path)
    assert [[one.occurrences for one in snapshot.findings] for snapshot in found] == [[1], [1]]
    assert [one.occurrences for one in report.merge(found).findings] == [2]


def test_a_child_that_asks_nothing_leaves_nothing(tmp_path: Path) -> None:
    script = """
        ask(2)
        if os.fork() == 0:
            sys.exit()
        os.wait()
    """
    assert len(run(script, tmp_path)) == 1


def test_a_fork_while_other_threads_are_at_work_loses_and_doubles_nothing(tmp_path: Path) -> None:
    script = """
        threads = [threading.Thread(target=ask, args=(100,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            if os.fork() == 0:
                sys.exit()
        for thread in threads:
            thread.join()
        for _ in range(5):
            os.wait()
    """
    found = run(script, tmp_path)
    parent = max(found, key=calls)
    assert figures(parent) == (300, 300, 300)
    assert sum(map(calls, found)) == 300


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_children_of_multiprocessing_leave_what_they_did(tmp_path: Path, method: str) -> None:
    program = tmp_path / "program.py"
    folder = tmp_path / "snapshots"
    folder.mkdir()
    main = f"""
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    process = context.Process(target=ask, args=(3,))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""
    program.write_text(PROLOGUE + main)
    done = subprocess.run([sys.executable, "-W", "ignore", program, folder], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [figures(snapshot) for snapshot in snapshots(folder) if not snapshot.idle] == [(3, 3, 3)]


def test_the_grandchild_of_a_fork_is_a_process_of_its_own(tmp_path: Path) -> None:
    script = """
        if os.fork() == 0:
            ask(1)
            if os.fork() == 0:
                ask(2)
                sys.exit()
            os.wait()
            sys.exit()
        os.wait()
    """
    assert sorted(figures(snapshot) for snapshot in run(script, tmp_path)) == [(0, 0, 0), (1, 1, 1), (2, 2, 2)]


def test_a_recorder_that_was_stopped_takes_no_part_in_forks(tmp_path: Path) -> None:
    script = """
        ask(1)
        recorder.stop()
        if os.fork() == 0:
            ask(1)
            sys.exit()
        os.wait()
        ask(1)
    """
    (snapshot,) = run(script, tmp_path)
    assert figures(snapshot) == (1, 1, 1)
