"""Slow queries: flagged on the span and in the metric, by whom and why; what it costs others is nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from dbvitals_instrumentation import guard, semconv, spans
from dbvitals_instrumentation.config import Config
from dbvitals_processors import detector as detector_module
from dbvitals_processors import slow_queries
from dbvitals_processors.accounts import MOST_LEARNT
from dbvitals_processors.detector import Detector
from dbvitals_processors.docket import Docket
from dbvitals_processors.regressions import Regression
from dbvitals_processors.slow_queries import SlowQueryProcessor

MS = 1_000_000
TEXT = "SELECT a FROM orders WHERE id = ?"
CLIENT = {semconv.OLD_DB_SYSTEM: "postgresql", semconv.OLD_DB_NAME: "shop", semconv.OLD_DB_STATEMENT: TEXT}


class Clock:
    """Unix time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


class Service:
    """A tracer provider whose only exporter is behind a processor, and a detector whose worker is this thread."""

    def __init__(self, *, docket: Any = None, next_processor: SpanProcessor | None = None, **settings: Any) -> None:
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader])
        self.clock = Clock()
        self.regressions: list[Regression] = []
        self.detector = Detector(
            Config(**settings),
            meter_provider=self.meter_provider,
            docket=docket,
            on_regression=self.regressions.append,
            clock=self.clock,
        )
        self.detector.worker.running = True
        self.exporter = InMemorySpanExporter()
        self.processor = SlowQueryProcessor(
            next_processor or SimpleSpanProcessor(self.exporter), detector=self.detector
        )
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self.processor)
        self.tracer = self.tracer_provider.get_tracer("somebody's")

    def query(self, milliseconds: float, attributes: dict[str, Any] | None = None, **options: Any) -> ReadableSpan:
        """A query that took so long, as it is exported."""
        span = self.tracer.start_span(
            "SELECT", kind=SpanKind.CLIENT, attributes={**CLIENT, **(attributes or {})}, start_time=10**18, **options
        )
        span.end(10**18 + round(milliseconds * MS))
        exported: ReadableSpan = self.exporter.get_finished_spans()[-1]
        return exported

    def points(self, name: str) -> list[tuple[dict[str, Any], int]]:
        self.detector.worker.flush(1)
        data = self.reader.get_metrics_data()
        return [
            (dict(point.attributes or {}), point.value)  # type: ignore[union-attr]
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def calls(self, number: int, milliseconds: float, seconds: float = 0.0) -> None:
        """So many calls, evenly spread over so much time."""
        for _ in range(number):
            self.query(milliseconds)
            self.clock.now += seconds / number
            self.detector.worker.flush(1)


@pytest.fixture
def service() -> Iterator[Service]:
    guard.reset()
    made = Service()
    yield made
    made.detector.close()
    assert guard.faults() == {}


def flags(span: ReadableSpan) -> dict[str, Any]:
    names = (semconv.SLOW, semconv.SLOW_REASON, semconv.SLOW_THRESHOLD, semconv.N_PLUS_ONE)
    return {name: value for name, value in (span.attributes or {}).items() if name in names}


def slow(reason: str, threshold: float) -> dict[str, Any]:
    return {semconv.SLOW: True, semconv.SLOW_REASON: reason, semconv.SLOW_THRESHOLD: pytest.approx(threshold, rel=0.05)}


def test_a_query_beyond_the_threshold_is_flagged_with_reason_threshold_and_caller(service: Service) -> None:
    span = service.query(100)
    assert flags(span) == slow("threshold", 0.1)
    assert span.attributes is not None
    assert span.attributes[semconv.CODE_FUNCTION_NAME] in ("query", "Service.query")
    assert span.attributes[semconv.CODE_FILE_PATH] == __file__
    assert isinstance(span.attributes[semconv.CODE_LINE_NUMBER], int)


def test_a_query_below_it_is_the_very_span_that_ended(service: Service) -> None:
    seen: list[ReadableSpan] = []
    service.processor.next_processor.on_end = seen.append  # type: ignore[method-assign]
    span = ReadableSpan("SELECT", attributes=CLIENT, start_time=0, end_time=99 * MS)
    service.processor.on_end(span)
    assert seen == [span]


def test_a_caller_that_is_known_is_not_looked_for(service: Service) -> None:
    span = service.query(100, {semconv.CODE_FUNCTION_NAME: "theirs"})
    assert span.attributes is not None
    assert span.attributes[semconv.CODE_FUNCTION_NAME] == "theirs"
    assert semconv.CODE_FILE_PATH not in span.attributes


def test_no_caller_is_looked_for_where_that_is_switched_off() -> None:
    service = Service(caller="off")
    span = service.query(100)
    assert flags(span) == slow("threshold", 0.1)
    assert semconv.CODE_FUNCTION_NAME not in (span.attributes or {})
    service.detector.close()


def test_what_is_no_query_is_never_slow(service: Service) -> None:
    for attributes in (
        {semconv.OLD_DB_SYSTEM: "redis"},
        {semconv.OLD_DB_STATEMENT: "", semconv.OLD_DB_SYSTEM: "mysql"},
    ):
        assert flags(service.query(10_000, attributes)) == {}
    with service.tracer.start_as_current_span("GET /", start_time=0):
        pass
    assert flags(service.exporter.get_finished_spans()[-1]) == {}


def test_a_failed_query_is_slow_by_its_time_and_says_nothing_of_what_is_usual(service: Service) -> None:
    assert flags(service.query(5000, {semconv.ERROR_TYPE: "TimeoutError"})) == slow("threshold", 0.1)
    for _ in range(300):
        service.query(0.1, {semconv.ERROR_TYPE: "Refused"})
    service.calls(300, 40)
    assert flags(service.query(99)) == {}


def test_the_most_precise_threshold_counts() -> None:
    service = Service(slow_thresholds=(("SELECT", "0.2"), ("shop/*", "0.05")))
    assert flags(service.query(60)) == slow("threshold", 0.05)
    assert flags(service.query(150, {semconv.OLD_DB_NAME: "crm"})) == {}
    service.detector.close()


def test_a_call_far_from_what_its_query_usually_takes_is_an_outlier(service: Service) -> None:
    assert flags(service.query(40)) == {}
    service.calls(300, 5)
    assert flags(service.query(40)) == slow("outlier", 0.015)


def test_a_query_that_has_become_slower_is_a_regression_until_it_recovers(service: Service) -> None:
    service.calls(1200, 5, seconds=1200)
    service.calls(600, 12, seconds=600)
    assert flags(service.query(12)) == slow("regression", 0.0075)
    assert [round(one.before, 4) for one in service.regressions] == [0.005]
    assert [one.fingerprint for one in service.detector.regressions()] == [service.regressions[0].fingerprint]
    service.calls(600, 5, seconds=600)
    assert flags(service.query(8)) == {}
    assert service.detector.regressions() == []


def test_slow_calls_are_counted_by_query_and_reason(service: Service) -> None:
    for milliseconds in (100, 500, 1):
        service.query(milliseconds)
    service.query(100, {semconv.OLD_DB_STATEMENT: "DELETE FROM orders"})
    (select, two), (delete, one) = sorted(service.points(semconv.QUERY_SLOW), key=lambda point: -point[1])
    assert (two, one) == (2, 1)
    assert select.pop(semconv.FINGERPRINT) != delete.pop(semconv.FINGERPRINT)
    assert select == {
        semconv.DB_NAMESPACE: "shop",
        semconv.DB_QUERY_SUMMARY: "SELECT orders",
        semconv.SLOW_REASON: "threshold",
    }


def test_series_of_slow_queries_are_bounded() -> None:
    service = Service(max_fingerprints=2)
    for number in range(5):
        service.query(100, {semconv.OLD_DB_STATEMENT: f"SELECT a FROM t{number}"})
    points = service.points(semconv.QUERY_SLOW)
    assert len(points) == 3
    assert ({semconv.FINGERPRINT: "other", semconv.SLOW_REASON: "threshold"}, 3) in points
    service.detector.close()


def test_the_copy_is_the_span_in_everything_but_the_flags() -> None:
    service = Service()
    bare = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(max_attributes=6, max_events=1))
    bare.add_span_processor(service.processor)
    before: list[ReadableSpan] = []

    class Before(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            before.append(span)

    bare.add_span_processor(Before())
    link = Link(SpanContext(7, 8, True, TraceFlags(1)), {"l": 1})
    above = spans.current(SpanContext(5, 6, False, TraceFlags(1)))
    tracer = bare.get_tracer("theirs", "1.2", schema_url="https://example.org")
    span = tracer.start_span("n", above, SpanKind.CLIENT, {"a": 1, "b": 1, **CLIENT, "c": 1, "d": 1}, [link], 5)
    span.add_event("one", {"e": 1}, 6)
    span.add_event("two", {"e": 2}, 7)
    span.set_status(Status(StatusCode.ERROR, "why"))
    span.end(10**9)
    (flagged,), (original,) = service.exporter.get_finished_spans(), before
    for name in (
        "name", "context", "parent", "kind", "resource", "events", "links", "status", "start_time", "end_time",
        "instrumentation_scope", "dropped_attributes", "dropped_events", "dropped_links",
    ):  # fmt: skip
        assert getattr(flagged, name) == getattr(original, name), name
    assert flagged.dropped_attributes == flagged.dropped_events == 1
    assert set(original.attributes.items()) < set(flagged.attributes.items())  # type: ignore[union-attr]
    assert flags(original) == {}
    assert flags(flagged) == slow("threshold", 0.1)
    service.detector.close()


def test_a_query_that_repeats_is_flagged_and_its_caller_is_looked_for_once() -> None:
    service = Service(docket=Docket(3))
    service.calls(5, 1)  # without a parent each is alone; from here on its text is known
    above = spans.current(SpanContext(5, 6, False, TraceFlags(1)))
    exported = [service.query(took, context=above) for took in (1, 1, 1, 1, 200)]
    repeated = {semconv.N_PLUS_ONE: True}
    assert [flags(one) for one in exported] == [{}, {}, repeated, repeated, {**slow("threshold", 0.1), **repeated}]
    assert [semconv.CODE_FUNCTION_NAME in (one.attributes or {}) for one in exported] == [False] * 2 + [
        True,  # where the loop begins to be one
        False,
        True,  # since it is slow
    ]
    service.detector.close()


def test_one_of_our_own_that_repeats_may_be_slow_too() -> None:
    service = Service(docket=Docket(1))
    see = service.detector.account("shop", "SELECT", "f", "SELECT orders").see
    above = spans.current(SpanContext(5, 6, False, TraceFlags(1)))
    assert see(1 * MS, False, above) == {semconv.N_PLUS_ONE: True}
    assert see(200 * MS, False, above) == {**slow("threshold", 0.1), semconv.N_PLUS_ONE: True}
    assert see(200 * MS, False, Context()) == slow("threshold", 0.1)
    assert see(1 * MS, True, spans.current(trace.INVALID_SPAN_CONTEXT)) is None
    service.detector.close()


def test_a_quick_query_that_was_never_seen_is_read_by_the_worker_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    read, threads = slow_queries.read, []

    def reading(span: ReadableSpan) -> Any:
        threads.append(threading.current_thread())
        return read(span)

    monkeypatch.setattr(slow_queries, "read", reading)
    service = Service(docket=Docket(1))
    service.query(1, context=spans.current(SpanContext(5, 6, False, TraceFlags(1))))
    assert threads == []
    worker = threading.Thread(target=service.detector.worker.flush, args=(10,))
    worker.start()
    worker.join()
    assert threads == [worker]
    service.detector.close()


def test_listeners_hear_of_every_span_on_the_worker() -> None:
    service = Service()
    heard: list[tuple[str, str | None]] = []
    service.detector.listeners.append(lambda span, query: heard.append((span.name, query and query.summary)))
    service.query(1)
    with service.tracer.start_as_current_span("GET /"):
        pass
    assert heard == []
    service.detector.worker.flush(1)
    assert heard == [("SELECT", "SELECT orders"), ("GET /", None)]
    service.detector.close()


def test_a_query_that_is_known_is_learnt_from_without_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    service.query(5)
    service.detector.worker.flush(1)
    monkeypatch.setattr(slow_queries, "read", broken)
    service.calls(300, 5)
    assert flags(service.query(40)) == slow("outlier", 0.015)
    service.detector.close()


def test_a_full_queue_drops_and_counts(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_queries, "MOST_WAITING", 4)
    monkeypatch.setattr(detector_module, "MOST_WAITING", 2)
    for number in range(10):
        service.query(1, {semconv.OLD_DB_STATEMENT: f"SELECT a FROM t{number}"})  # each is to be read
        service.query(100)
    assert len(service.exporter.get_finished_spans()) == 20
    assert service.points(semconv.DROPPED) == [({semconv.REASON: semconv.SLOW_QUEUE_FULL}, 6 + 8)]
    assert [number for _, number in service.points(semconv.QUERY_SLOW)] == [2]


def test_half_a_queue_wakes_the_worker(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_queries, "MOST_WAITING", 8)
    woken: list[int] = []
    monkeypatch.setattr(service.detector.worker, "wake", lambda: woken.append(1))
    for _ in range(8):
        service.query(1)
    assert woken == [1]


def test_texts_and_queries_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_queries, "MOST_TEXTS", 3)
    monkeypatch.setattr(slow_queries, "MOST_QUERIES", 3)
    service = Service()
    for number in range(20):
        service.query(200, {semconv.OLD_DB_STATEMENT: f"SELECT a FROM t{number}"})
    service.query(200, {semconv.OLD_DB_STATEMENT: "SELECT '" + 20_000 * "x" + "'"})
    service.detector.worker.flush(1)
    assert len(service.processor._known) == len(service.processor._held) == 3
    service.detector.close()


def test_a_query_with_ever_new_literals_is_one_query(service: Service) -> None:
    for number in range(300):
        service.query(5, {semconv.OLD_DB_STATEMENT: f"SELECT a FROM orders WHERE id = {number}"})
    service.detector.worker.flush(1)
    literal = {semconv.OLD_DB_STATEMENT: "SELECT a FROM orders WHERE id = 4711"}
    assert flags(service.query(40, literal)) == slow("outlier", 0.015)


def test_of_many_calls_in_a_second_some_are_learnt_from_and_all_are_judged(service: Service) -> None:
    account = service.detector.account("shop", "SELECT", "f", "SELECT orders")
    for _ in range(2 * MOST_LEARNT):
        account.see(200 * MS, False, Context())
    learnt = account.take()
    assert learnt is not None
    assert sum(learnt.buckets.values()) == MOST_LEARNT
    assert [number for _, number in service.points(semconv.QUERY_SLOW)] == [2 * MOST_LEARNT]


# --- the next processor ------------------------------------------------------------------------------------------


class Early(SpanProcessor):
    """Looks at spans as they start and end."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        self.heard.append("start")

    def _on_ending(self, span: Any) -> None:
        self.heard.append("ending")

    def on_end(self, span: ReadableSpan) -> None:
        self.heard.append("end")

    def shutdown(self) -> None:
        self.heard.append("shutdown")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.heard.append(f"flush {timeout_millis <= 1000}")
        return False


def test_a_next_processor_that_looks_at_starts_hears_of_them() -> None:
    early = Early()
    service = Service(next_processor=early)
    assert isinstance(service.processor, SlowQueryProcessor)
    service.tracer.start_span("x").end()
    assert not service.processor.force_flush(1000)
    service.processor.shutdown()
    ending = ["ending"] if hasattr(SpanProcessor, "_on_ending") else []  # the SDK has it since 1.31
    assert early.heard == ["start", *ending, "end", "flush True", "shutdown"]
    assert not spans._looks_at_the_end_only(service.processor)
    service.detector.close()


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: _together(one)], ids=["alone", "among others"])
def test_spans_are_written_in_one_go_where_nobody_looks_at_starts(wrap: Callable[[Any], SpanProcessor]) -> None:
    batch = BatchSpanProcessor(InMemorySpanExporter())
    processor = SlowQueryProcessor(wrap(batch), Config())
    assert spans._looks_at_the_end_only(processor)
    assert not spans._looks_at_the_end_only(SlowQueryProcessor(wrap(Early()), Config()))
    processor.shutdown()


def _together(*processors: SpanProcessor) -> SpanProcessor:
    joined: Any = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    joined._span_processors = processors
    return joined  # type: ignore[no-any-return]


def test_without_a_configuration_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBVITALS_SLOW_THRESHOLD", "0.007")
    processor = SlowQueryProcessor(SimpleSpanProcessor(InMemorySpanExporter()))
    assert processor.detector.thresholds.default == 7 * MS
    processor.shutdown()


def test_its_thread_ends_with_it(service: Service) -> None:
    before = threading.active_count()
    processor = SlowQueryProcessor(SimpleSpanProcessor(service.exporter), Config())
    assert threading.active_count() == before
    span = ReadableSpan("SELECT", SpanContext(1, 2, False), attributes=CLIENT, start_time=0, end_time=1)
    processor.on_end(span)
    assert threading.active_count() == before + 1
    processor.shutdown()
    assert not processor.detector.worker.running
    processor.on_end(span)
    assert not processor.detector.worker.running


# --- faults -----------------------------------------------------------------------------------------------------


def broken(*_args: Any, **_options: Any) -> Any:
    raise RuntimeError


@pytest.mark.parametrize(
    "site, target, name",
    [
        ("slow_queries.on_end", slow_queries, "attributes_of"),
        ("slow_queries.on_end", slow_queries, "caller"),
        ("slow_queries.on_end", slow_queries, "with_attributes"),
        ("slow_queries.read", slow_queries.SlowQueryProcessor, "_recognise"),
        ("slow_queries.work", Detector, "_learn"),
        ("slow_queries.shutdown", Detector, "close"),
    ],
)
def test_a_fault_of_ours_is_counted_and_the_span_goes_on(
    site: str, target: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard.reset()
    service = Service()
    service.processor._owned = True
    service.query(1)
    monkeypatch.setattr(target, name, broken)
    assert service.query(1000).name == "SELECT"
    service.processor.force_flush()
    service.processor.shutdown()
    assert guard.faults().get(site, 0) > 0
    monkeypatch.undo()
    service.detector.close()
    guard.reset()


def test_a_fault_while_our_own_queries_are_judged_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    guard.reset()
    docket = Docket(2)
    monkeypatch.setattr(docket, "count", broken)
    service = Service(docket=docket)
    above = spans.current(SpanContext(5, 6, False, TraceFlags(1)))
    see = service.detector.judge_of({semconv.FINGERPRINT: "f"})
    assert see(1, False, above, None) is None
    assert guard.faults() == {"slow_queries.see": 1}
    monkeypatch.setattr(Detector, "account", broken)
    assert service.detector.judge_of({})(1, False, above, None) is None
    assert guard.faults() == {"slow_queries.see": 1, "slow_queries.judge": 1}
    service.detector.close()
    guard.reset()


def test_a_child_forgets_what_is_the_parents_to_tell_of(service: Service) -> None:
    service.query(100)
    account = service.detector.account("shop", "SELECT", "f", "")
    account.remember(1)
    service.detector.drop()
    service.detector.worker.after_fork()  # what the child calls
    assert account.take() is None
    assert service.points(semconv.QUERY_SLOW) == service.points(semconv.DROPPED) == []
    service.detector.worker.stop()


# --- other people's instrumentations ---------------------------------------------------------------------------------


def test_queries_of_the_official_sqlite3_instrumentation_are_flagged() -> None:
    service = Service(slow_threshold=1e-9)
    SQLite3Instrumentor().instrument(tracer_provider=service.tracer_provider)
    try:
        connection = sqlite3.connect(":memory:")
        connection.cursor().execute("SELECT 1").fetchall()
        connection.close()
    finally:
        SQLite3Instrumentor().uninstrument()
    (span,) = service.exporter.get_finished_spans()
    assert flags(span) == slow("threshold", 1e-9)
    assert span.attributes is not None
    assert span.attributes[semconv.CODE_FILE_PATH] == __file__
    ((_, number),) = service.points(semconv.QUERY_SLOW)
    assert number == 1
    service.detector.close()


def test_queries_of_the_official_sqlalchemy_instrumentation_are_flagged() -> None:
    service = Service(slow_threshold=1e-9)
    engine = sa.create_engine("sqlite://")
    instrumentor = SQLAlchemyInstrumentor()
    instrumentor.instrument(engine=engine, tracer_provider=service.tracer_provider, skip_dep_check=True)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
    finally:
        instrumentor.uninstrument()
        engine.dispose()
    (span,) = [one for one in service.exporter.get_finished_spans() if one.name != "connect"]
    assert flags(span) == slow("threshold", 1e-9)
    assert span.attributes is not None
    assert (
        span.attributes[semconv.CODE_FUNCTION_NAME]
        == "test_queries_of_the_official_sqlalchemy_instrumentation_are_flagged"
    )
    service.detector.close()


def test_exemplars_of_slow_calls_lead_to_their_traces(service: Service) -> None:
    span = service.query(100)
    service.detector.worker.flush(1)
    data = service.reader.get_metrics_data()
    assert data is not None
    (exemplar,) = [
        exemplar
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == semconv.QUERY_SLOW
        for exemplar in metric.data.data_points[0].exemplars
    ]
    assert span.context is not None
    assert (exemplar.trace_id, exemplar.span_id) == (span.context.trace_id, span.context.span_id)
    assert trace.get_current_span() is trace.INVALID_SPAN
