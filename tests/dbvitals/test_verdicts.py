"""Verdicts, wired: our own queries are judged before their spans are written, those of others on their way."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import dbvitals
from dbvitals import Config, testing, verdicts, watch
from dbvitals.recorder import Recorder
from dbvitals_instrumentation import guard, queries, semconv
from dbvitals_instrumentation.spans import _looks_at_the_end_only
from dbvitals_processors import slow_queries, trace_rules
from dbvitals_processors.detector import judges
from dbvitals_processors.docket import Docket
from dbvitals_processors.slow_queries import SlowQueryProcessor

ALL = Config(slow_threshold=1e-9)
FOREIGN = {semconv.OLD_DB_SYSTEM: "postgresql", semconv.OLD_DB_STATEMENT: "SELECT a FROM theirs"}


@pytest.fixture(autouse=True)
def _sound() -> Iterator[None]:
    guard.reset()
    threads = threading.active_count()
    yield
    assert guard.faults() == {}
    assert not judges
    assert threading.active_count() <= threads + 1  # one may be about to end


@pytest.fixture
def engine() -> Iterator[Any]:
    made = sa.create_engine("sqlite://")
    yield made
    made.dispose()


def ask(engine: Any, times: int = 1) -> None:
    with engine.connect() as connection:
        for _ in range(times):
            connection.execute(sa.text("SELECT 1")).all()


def foreign(provider: TracerProvider, seconds: float = 1.0) -> None:
    span = provider.get_tracer("theirs").start_span("SELECT", attributes=FOREIGN, start_time=10**18)
    span.end(10**18 + round(seconds * 1e9))


def slow(span: Any) -> bool:
    return bool(span.attributes.get(semconv.SLOW))


def counted(seen: testing.Seen) -> dict[str, int]:
    """Slow calls by summary."""
    assert seen.tracer_provider.force_flush()
    return {point.attributes[semconv.DB_QUERY_SUMMARY]: point.value for point in seen.points(semconv.QUERY_SLOW)}


def test_our_own_queries_are_flagged_with_their_caller_and_counted_once(engine: Any) -> None:
    with testing.observe(config=ALL) as seen:
        ask(engine, 3)
        assert [slow(span) for span in seen.spans()] == [True] * 3
        for span in seen.spans():
            assert span.attributes is not None
            assert span.attributes[semconv.SLOW_REASON] == semconv.THRESHOLD
            assert span.attributes[semconv.CODE_FUNCTION_NAME] == "ask"
            assert span.attributes[semconv.CODE_FILE_PATH] == __file__
        assert counted(seen) == {"SELECT": 3}


def test_queries_of_others_are_flagged_and_counted_beside_ours(engine: Any) -> None:
    with testing.observe(config=ALL) as seen:
        ask(engine)
        foreign(seen.tracer_provider)
        assert [slow(span) for span in seen.spans()] == [True, True]
        assert counted(seen) == {"SELECT": 1, "SELECT theirs": 1}


def test_calls_that_the_sampler_drops_count(engine: Any) -> None:
    reader = InMemoryMetricReader()
    tracers = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    exporter = InMemorySpanExporter()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], shutdown_on_exit=False)
    dbvitals.instrument(tracer_provider=tracers, meter_provider=meters, config=ALL)
    ask(engine, 5)
    dbvitals.uninstrument()
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = [
        metric
        for scope in data.resource_metrics[0].scope_metrics
        for metric in scope.metrics
        if metric.name == semconv.QUERY_SLOW
    ]
    assert [point.value for point in metric.data.data_points] == [5]  # type: ignore[union-attr]
    assert exporter.get_finished_spans() == ()


def test_a_query_that_fails_is_slow_by_its_time(engine: Any) -> None:
    with testing.observe(config=ALL) as seen:
        with engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
            connection.execute(sa.text("SELECT nothing FROM nowhere"))
        (span,) = seen.spans()
        assert slow(span)
        assert span.attributes is not None
        assert semconv.ERROR_TYPE in span.attributes
        assert counted(seen) == {"SELECT nowhere": 1}


def test_an_enriched_span_of_the_official_instrumentation_is_flagged_and_counted_once(engine: Any) -> None:
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    with testing.observe(config=ALL) as seen:
        SQLAlchemyInstrumentor().instrument(engine=engine, tracer_provider=seen.tracer_provider, skip_dep_check=True)
        try:
            ask(engine)
        finally:
            SQLAlchemyInstrumentor().uninstrument()
        (span,) = [one for one in seen.spans() if one.name != "connect"]
        assert slow(span)
        assert counted(seen) == {"SELECT": 1}


def test_nothing_is_slow_where_that_is_switched_off(engine: Any) -> None:
    with testing.observe(config=Config(slow=False, slow_threshold=1e-9)) as seen:
        before = threading.active_count()
        ask(engine)
        foreign(seen.tracer_provider)
        assert [slow(span) for span in seen.spans()] == [False, False]
        assert counted(seen) == {}
        assert threading.active_count() == before


def test_the_caller_is_not_looked_for_where_that_is_switched_off(engine: Any) -> None:
    with testing.observe(config=Config(slow_threshold=1e-9, caller="off")) as seen:
        ask(engine)
        (span,) = seen.spans()
        assert span.attributes is not None
        assert semconv.CODE_FUNCTION_NAME not in span.attributes


def test_a_result_that_was_left_behind_is_not_attributed_to_who_comes_next(engine: Any) -> None:
    with testing.observe(config=ALL) as seen:
        ask(engine)  # the first call of a statement names its caller anyway
        seen.clear()
        plug: Any = next(one for one in watch._watch.plugs if isinstance(one, queries.QueryWatch))  # type: ignore[union-attr]
        query = next(iter(next(iter(plug._databases.values())).literal.values()))
        execution = queries.Execution(plug, query, queries.get_current(), None)
        queries.orphans.waiting.append((execution.fetched, -1, 1))
        ask(engine)
        left, asked = seen.spans()
        assert slow(left)
        assert slow(asked)
        assert semconv.CODE_FUNCTION_NAME not in (left.attributes or {})
        assert (asked.attributes or {})[semconv.CODE_FUNCTION_NAME] == "ask"


def test_a_query_in_a_loop_is_flagged_as_one_of_many_and_the_loop_is_counted(engine: Any) -> None:
    with testing.observe(config=Config(n_plus_one_threshold=3)) as seen, engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE item (id INTEGER)"))
        seen.clear()
        with seen.tracer_provider.get_tracer("app").start_as_current_span("GET /"):
            for number in range(5):
                connection.execute(sa.text("SELECT id FROM item WHERE id = :number"), {"number": number}).all()
        flagged = [
            bool(span.attributes.get(semconv.N_PLUS_ONE)) for span in seen.spans("SELECT item") if span.attributes
        ]
        assert flagged == [False, False, True, True, True]
        seen.tracer_provider.force_flush()
        assert [point.value for point in seen.points(semconv.QUERY_N_PLUS_ONE)] == [1]


def test_where_a_loop_begins_to_be_one_its_caller_is_on_the_span_and_in_the_count(engine: Any) -> None:
    with testing.observe(config=Config(n_plus_one_threshold=7)) as seen, engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE item (id INTEGER)"))
        seen.clear()
        with seen.tracer_provider.get_tracer("app").start_as_current_span("GET /"):
            for number in range(300):
                connection.execute(sa.text("SELECT id FROM item WHERE id = :number"), {"number": number}).all()
        spans = [span.attributes or {} for span in seen.spans("SELECT item")]
        assert [number for number, span in enumerate(spans, 1) if semconv.CODE_FUNCTION_NAME in span] == [
            1, 2, 4, 7, 8, 16, 32, 64, 128, 256,
        ]  # fmt: skip
        assert [bool(span.get(semconv.N_PLUS_ONE)) for span in spans] == [False] * 6 + [True] * 294
        seen.tracer_provider.force_flush()
        (finding,) = rules().findings()
        assert (finding.rule, finding.queries) == ("n_plus_one", 300)
        (point,) = seen.points(semconv.QUERY_N_PLUS_ONE)
        assert point.attributes[semconv.CODE_FUNCTION_NAME].startswith("test_where_a_loop_begins")


def test_a_trace_in_which_nothing_is_to_be_found_is_never_read(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(*_args: object) -> None:
        raise AssertionError

    for name in ("read", "read_call"):
        monkeypatch.setattr(trace_rules, name, unexpected)
    monkeypatch.setattr(slow_queries, "read", unexpected)
    with testing.observe() as seen, engine.connect() as connection:
        with seen.tracer_provider.get_tracer("app").start_as_current_span("GET /"):
            for number in range(4):
                connection.execute(sa.text("SELECT 1 AS a WHERE 1 = :number"), {"number": number}).all()
            assert len(docket()) == 4
        assert len(docket()) == 0
        seen.tracer_provider.force_flush()


def test_the_same_question_twice_is_found_wherever_in_the_trace_it_is_asked(engine: Any) -> None:
    with testing.observe() as seen, engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE item (id INTEGER)"))
        tracer = seen.tracer_provider.get_tracer("app")
        with tracer.start_as_current_span("GET /"):
            for name in ("first", "second"):
                with tracer.start_as_current_span(name):
                    connection.execute(sa.text("SELECT id FROM item WHERE id = :number"), {"number": 7}).all()
        seen.tracer_provider.force_flush()
        assert [(finding.rule, finding.queries) for finding in rules().findings()] == [("duplicate", 2)]


def test_what_the_sampler_drops_is_counted_and_not_kept(engine: Any) -> None:
    tracers = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    dbvitals.instrument(tracer_provider=tracers, meter_provider=MeterProvider(shutdown_on_exit=False))
    with tracers.get_tracer("app").start_as_current_span("GET /") as root:
        ask(engine, 9)
        (counts,) = [case.counts for case in docket()._young.values()]
        assert list(counts.values()) == [9]
        assert root.get_span_context().is_valid
    assert len(docket()) == 0
    dbvitals.uninstrument()


def test_where_a_program_is_recorded_its_rules_are_the_ones(tmp_path: Path, engine: Any) -> None:
    tracers = TracerProvider(shutdown_on_exit=False)
    recorder = Recorder(tmp_path)
    tracers.add_span_processor(recorder._inbox)
    dbvitals.instrument(tracer_provider=tracers, meter_provider=MeterProvider(shutdown_on_exit=False))
    assert rules() is recorder._rules
    with tracers.get_tracer("app").start_as_current_span("GET /"), engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE item (id INTEGER)"))
        for number in range(9):
            connection.execute(sa.text("SELECT id FROM item WHERE id = :number"), {"number": number}).all()
    assert list(recorder._inbox.take()) == []
    (finding,) = recorder.snapshot().findings
    assert (finding.rule, finding.queries, finding.occurrences) == ("n_plus_one", 9, 1)
    dbvitals.uninstrument()
    assert recorder._inbox.keeps


def rules() -> trace_rules.TraceRules:
    assert watch._watch is not None
    assert watch._watch.verdicts is not None
    assert watch._watch.verdicts._rules is not None
    return watch._watch.verdicts._rules


def docket() -> Docket:
    assert watch._watch is not None
    assert watch._watch.verdicts is not None
    return watch._watch.verdicts._docket


def test_every_exporter_that_is_there_sees_the_flags_and_spans_are_still_written_in_one_go(engine: Any) -> None:
    tracers = TracerProvider(shutdown_on_exit=False)
    exporters = [InMemorySpanExporter() for _ in range(3)]
    for exporter in exporters:
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
    before = tracers._active_span_processor._span_processors
    dbvitals.instrument(tracer_provider=tracers, meter_provider=MeterProvider(shutdown_on_exit=False), config=ALL)
    (ours,) = tracers._active_span_processor._span_processors
    assert _looks_at_the_end_only(ours)
    late = SimpleSpanProcessor(InMemorySpanExporter())
    tracers.add_span_processor(late)
    ask(engine)
    foreign(tracers)
    for exporter in exporters:
        assert [slow(span) for span in exporter.get_finished_spans() if span.name != "pool checkout"] == [True, True]
    dbvitals.uninstrument()
    assert tracers._active_span_processor._span_processors == (*before, late)


def test_a_processor_that_is_added_later_may_be_wrapped_by_hand_and_nothing_counts_twice() -> None:
    with testing.observe(config=ALL) as seen:
        exporter = InMemorySpanExporter()
        seen.tracer_provider.add_span_processor(dbvitals.SlowQueryProcessor(SimpleSpanProcessor(exporter)))
        foreign(seen.tracer_provider)
        assert [slow(span) for span in exporter.get_finished_spans()] == [True]
        assert counted(seen) == {"SELECT theirs": 1}


def test_a_processor_that_the_user_has_put_there_is_the_one(engine: Any) -> None:
    exporter = InMemorySpanExporter()
    tracers = TracerProvider(shutdown_on_exit=False)
    theirs = SlowQueryProcessor(SimpleSpanProcessor(exporter), Config(slow_threshold=0.5))
    tracers.add_span_processor(theirs)
    dbvitals.instrument(tracer_provider=tracers, meter_provider=MeterProvider(shutdown_on_exit=False), config=ALL)
    assert tracers._active_span_processor._span_processors == (theirs,)
    ask(engine)
    foreign(tracers)
    dbvitals.uninstrument()
    assert [slow(span) for span in exporter.get_finished_spans() if span.name == "SELECT"] == [False, True]
    assert theirs.detector.docket is None
    assert theirs.detector.forgetters[1:] == []
    theirs.shutdown()


def test_processors_that_come_later_than_we_are_joined_by_the_worker(engine: Any) -> None:
    tracers = TracerProvider(shutdown_on_exit=False)
    dbvitals.instrument(tracer_provider=tracers, meter_provider=MeterProvider(shutdown_on_exit=False), config=ALL)
    exporter = InMemorySpanExporter()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    assert watch._watch is not None
    assert watch._watch.verdicts is not None
    watch._watch.verdicts.detector.worker.flush(1)
    foreign(tracers)
    assert [slow(span) for span in exporter.get_finished_spans()] == [True]
    dbvitals.uninstrument()


@pytest.mark.parametrize("name", ["_follow", "_detach"])
def test_a_fault_in_the_wiring_is_counted(name: str, monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(verdicts.Verdicts, name, broken)
    with testing.observe(config=ALL):
        ask(engine)
    assert set(guard.faults()) == {{"_follow": "verdicts.look", "_detach": "verdicts.detach"}[name]}
    for detector in list(judges):
        detector.close()
    guard.reset()


def test_a_release_is_compared_with_what_the_last_one_has_kept(tmp_path: Path, engine: Any) -> None:
    file = tmp_path / "baselines.json"
    with testing.observe(config=Config(baseline_file=str(file))):
        ask(engine)
    assert file.exists()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    def run(*command: str, **environment: str) -> str:
        ran = subprocess.run(
            [f"{sysconfig.get_path('scripts')}/opentelemetry-instrument", *command],
            capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False,
            env={**os.environ, "OTEL_METRICS_EXPORTER": "none", "OTEL_TRACES_EXPORTER": "console", **environment},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    (tmp_path / "app.py").write_text(
        textwrap.dedent(
            """
            import sqlite3
            connection = sqlite3.connect(":memory:")
            connection.cursor().execute("SELECT 1").fetchall()
            """
        )
    )
    return run


def test_auto_instrumentation_flags_queries_of_others_with_no_code(run: Callable[..., str]) -> None:
    command = (sys.executable, "app.py")
    flagged = run(*command, DBVITALS_SLOW_THRESHOLD="1e-9")
    assert '"dbvitals.slow.reason": "threshold"' in flagged
    assert '"code.line.number": 4' in flagged
    assert "dbvitals.slow" not in run(*command, DBVITALS_SLOW_THRESHOLD="1e-9", DBVITALS_SLOW="false")


def test_a_forked_child_judges_and_counts_its_own(tmp_path: Path) -> None:
    script = tmp_path / "forks.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, threading, warnings
            import sqlalchemy as sa
            from dbvitals import Config, testing
            from dbvitals_instrumentation import guard, semconv

            warnings.simplefilter("ignore", DeprecationWarning)
            with testing.observe(config=Config(slow_threshold=1e-9)) as seen:
                engine = sa.create_engine("sqlite://")
                def ask():
                    with engine.connect() as connection:
                        connection.execute(sa.text("SELECT 1")).all()
                def counted():
                    seen.tracer_provider.force_flush()
                    return sum(point.value for point in seen.points(semconv.QUERY_SLOW))
                ask()
                child = os.fork()
                if child == 0:
                    ask()
                    ask()
                    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("dbvitals")]
                    print("child", counted(), threads, guard.faults(), flush=True)
                    os._exit(0)
                os.waitpid(child, 0)
                print("parent", counted(), guard.faults())
            """
        )
    )
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.stdout, ran.stderr) == (
        "child 2 ['dbvitals-slow_queries.work'] {}\nparent 1 {}\n",
        "",
    )
