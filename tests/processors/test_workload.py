from __future__ import annotations

import json
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.spans import _looks_at_the_end_only
from dbvitals_processors.query_span import Caller, QuerySpan
from dbvitals_processors.sketch import ACCURACY, MOST_NANOSECONDS, Sketch
from dbvitals_processors.workload import MOST_CALLERS, Workload, WorkloadProcessor

PAGES = Caller("list_orders", "pages.py", 41)
JOBS = Caller("nightly", "jobs.py", 7)


def query(
    fingerprint: str = "f",
    *,
    namespace: str = "shop",
    took: int = 1_000_000,
    rows: int | None = 1,
    error: str | None = None,
    caller: Caller | None = None,
    text: str = "SELECT a FROM t WHERE b = ?",
) -> QuerySpan:
    return QuerySpan(
        "postgresql", namespace, "SELECT", "t", "SELECT t", text, fingerprint, 10**18, 10**18 + took, rows, 1, error,
        None, None, None, caller, 1, 2, None,
    )  # fmt: skip


queries = st.builds(
    query,
    st.sampled_from("abcde"),
    namespace=st.sampled_from(["one", "two"]),
    took=st.integers(0, 10**12),
    rows=st.none() | st.integers(0, 1000),
    error=st.none() | st.sampled_from(["23505", "TimeoutError"]),
    caller=st.sampled_from([PAGES, JOBS]),
)


def filled(spans: list[QuerySpan], limit: int = 1000) -> Workload:
    workload = Workload(limit)
    for span in spans:
        workload.add(span)
    return workload


@given(st.lists(st.lists(queries, max_size=20), max_size=5))
def test_parts_that_are_merged_are_the_whole(parts: list[list[QuerySpan]]) -> None:
    merged = Workload()
    for part in reversed(parts):
        merged.merge(Workload.from_json(json.loads(json.dumps(filled(part).to_json()))))
    assert merged.to_json() == filled([span for part in parts for span in part]).to_json()


@given(st.lists(queries), st.integers(2, 6))
def test_totals_stay_right_when_the_cheapest_are_folded_together(spans: list[QuerySpan], limit: int) -> None:
    totals = filled(spans, limit).totals()
    assert len(totals) <= limit
    assert sum(one.calls for one in totals) == len(spans)
    assert sum(one.nanoseconds for one in totals) == sum(span.nanoseconds for span in spans)
    assert sum(one.rows for one in totals) == sum(span.rows or 0 for span in spans)
    assert sum((Counter(one.errors) for one in totals), Counter()) == Counter(
        span.error_type for span in spans if span.error_type
    )
    assert sum(sum(one.durations.buckets.values()) for one in totals) == len(spans)


@given(st.lists(st.integers(1, MOST_NANOSECONDS), min_size=1), st.floats(0, 1))
def test_a_quantile_is_within_one_percent(values: list[int], share: float) -> None:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    exact = sorted(values)[int(share * (len(values) - 1))]
    assert sketch.quantile(share) == pytest.approx(exact, rel=ACCURACY * 1.001)


def test_a_sketch_of_nothing_has_no_quantile() -> None:
    assert Sketch().quantile(0.5) is None


def test_a_sketch_is_bounded_whatever_it_is_given() -> None:
    sketch = Sketch()
    for power in range(70):
        sketch.add(2**power)
    sketch.add(-5)
    assert max(sketch.buckets) <= 1612
    assert sketch.quantile(1) == pytest.approx(MOST_NANOSECONDS, rel=ACCURACY)


def test_the_cheapest_queries_share_one_entry() -> None:
    workload = filled([query("dear", took=10**9), query("cheap", took=5), query("mid", took=10**6)], limit=3)
    workload.add(query("new", took=10))
    totals = {one.fingerprint: one for one in workload.totals()}
    assert set(totals) == {"dear", "new", semconv.OTHER}
    other = totals[semconv.OTHER]
    assert (other.namespace, other.calls, other.nanoseconds, other.text, other.caller) == ("", 2, 10**6 + 5, "", None)


def test_one_query_in_two_databases_is_two() -> None:
    assert len(filled([query(namespace="one"), query(namespace="two")]).totals()) == 2


def test_a_sampled_caller_stands_for_the_calls_since_the_last_one() -> None:
    spans = [query(caller=PAGES), query(caller=PAGES), query(), query(caller=JOBS), *[query()] * 3, query(caller=JOBS)]
    (totals,) = filled(spans).totals()
    assert totals.callers == {PAGES: 2, JOBS: 6}
    assert totals.caller == JOBS


def test_callers_are_bounded() -> None:
    spans = [query(caller=Caller("f", "f.py", line)) for line in range(100)]
    (totals,) = filled([*[query(caller=PAGES)] * 3, *spans]).totals()
    assert len(totals.callers) == MOST_CALLERS
    assert totals.caller == PAGES


def test_error_types_are_bounded_and_none_is_lost() -> None:
    (totals,) = filled([query(error=f"E{number}") for number in range(100)]).totals()
    assert sum(totals.errors.values()) == 100
    assert len(totals.errors) <= 33


def test_a_text_of_another_instrumentation_is_kept_without_its_literals() -> None:
    workload = filled([query(text="SELECT a FROM t WHERE b = 'secret' AND c = 4711")])
    assert "secret" not in json.dumps(workload.to_json())
    assert "4711" not in json.dumps(workload.to_json())


def test_threads_lose_nothing() -> None:
    workload = Workload()

    def work() -> None:
        for _ in range(2000):
            workload.add(query())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.calls for one in workload.totals()] == [8000]


def test_the_processor_counts_queries_and_passes_over_the_rest() -> None:
    workload = Workload()
    provider = TracerProvider()
    provider.add_span_processor(WorkloadProcessor(workload))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("GET /orders"):
        attributes = {semconv.DB_SYSTEM_NAME: "sqlite", semconv.DB_QUERY_TEXT: "SELECT 1 FROM t"}
        tracer.start_span("SELECT t", attributes=attributes).end()
    provider.shutdown()
    assert [(one.summary, one.calls) for one in workload.totals()] == [("SELECT t", 1)]


def test_the_processor_leaves_the_quick_way_of_writing_spans_open() -> None:
    assert _looks_at_the_end_only(WorkloadProcessor(Workload()))


def test_a_fault_in_the_processor_is_counted_and_goes_no_further() -> None:
    guard.reset()
    broken: ReadableSpan = object()  # type: ignore[assignment]
    WorkloadProcessor(Workload()).on_end(broken)
    assert guard.faults() == {"workload.on_end": 1}
    guard.reset()
