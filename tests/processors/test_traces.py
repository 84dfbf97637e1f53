from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from dbvitals_instrumentation import semconv
from dbvitals_processors import traces as module
from dbvitals_processors.query_span import read
from dbvitals_processors.traces import OLD, Trace, Traces


def span(
    name: str,
    span_id: int,
    parent_id: int | None = None,
    *,
    trace_id: int = 1,
    remote: bool = False,
    kind: SpanKind = SpanKind.INTERNAL,
    at: int = 0,
    **attributes: object,
) -> ReadableSpan:
    def context(number: int, *, is_remote: bool) -> SpanContext:
        return SpanContext(trace_id, number, is_remote, TraceFlags(1))

    parent = None if parent_id is None else context(parent_id, is_remote=remote)
    return ReadableSpan(
        name,
        context(span_id, is_remote=False),
        parent,
        attributes=attributes,  # type: ignore[arg-type]
        kind=kind,
        start_time=at,
        end_time=at + 10,
    )


def query(span_id: int, parent_id: int | None = None, **options: object) -> ReadableSpan:
    attributes = {semconv.DB_SYSTEM_NAME: "sqlite", semconv.DB_QUERY_TEXT: "SELECT a FROM t WHERE id = ?"}
    return span("SELECT t", span_id, parent_id, **attributes, **options)  # type: ignore[arg-type]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Court:
    """Traces, and what they handed over to be judged."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.judged: list[Trace] = []
        self.traces = Traces(self.judged.append, self.clock)

    def see(self, *spans: ReadableSpan) -> None:
        for one in spans:
            self.traces.add(one, read(one))

    def ids(self) -> list[list[int]]:
        return [[one.span_id for one in trace.queries] for trace in self.judged]


@pytest.fixture
def court() -> Court:
    return Court()


def test_a_trace_is_judged_when_its_root_ends_with_its_queries_in_the_order_in_which_they_began(court: Court) -> None:
    court.see(query(3, 2, at=50), query(4, 2, at=20), span("work", 2, 1))
    assert court.judged == []
    court.see(span("GET /", 1, kind=SpanKind.SERVER))
    (trace,) = court.judged
    assert court.ids() == [[4, 3]]
    assert trace.root is not None
    assert (trace.root.name, trace.root.serves) == ("GET /", True)
    assert {work.name for work in trace.work} == {"GET /", "work"}
    assert len(court.traces) == 0


def test_a_span_with_a_remote_parent_is_the_root_of_this_process(court: Court) -> None:
    court.see(query(3, 2), span("GET /", 2, 99, remote=True))
    assert court.ids() == [[3]]


def test_a_query_without_a_parent_is_a_trace_of_its_own(court: Court) -> None:
    court.see(query(1), query(1, trace_id=2))
    assert court.ids() == [[1], [1]]
    assert court.judged[0].root is None


def test_a_trace_without_queries_and_checkouts_is_not_judged(court: Court) -> None:
    court.see(span("inner", 2, 1), span("GET /", 1))
    assert court.judged == []
    assert len(court.traces) == 0


def test_two_requests_of_one_trace_are_judged_each_with_its_own(court: Court) -> None:
    court.see(query(3, 2), query(6, 5), span("first", 2, 99, remote=True))
    assert court.ids() == [[3]]
    court.see(query(7, 5), span("second", 5, 99, remote=True))
    assert court.ids() == [[3], [6, 7]]


def test_what_ends_after_its_root_is_judged_when_it_is_old(court: Court) -> None:
    court.see(query(2, 1), span("GET /", 1), query(3, 1))
    assert court.ids() == [[2]]
    court.clock.now = OLD - 1
    court.traces.expire()
    assert court.ids() == [[2]]
    court.clock.now = OLD
    court.traces.expire()
    assert court.ids() == [[2], [3]]
    assert court.judged[1].root is None


def test_any_span_reminds_of_what_is_old(court: Court) -> None:
    court.see(query(2, 1))
    court.clock.now = OLD
    court.see(span("other", 2, 1, trace_id=2))
    assert court.ids() == [[2]]


def test_a_long_trace_is_judged_piece_by_piece(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SPANS", 4)
    court.see(*(query(number, 1) for number in range(2, 12)), span("worker", 1))
    assert court.ids() == [[2, 3, 4, 5], [6, 7, 8, 9], [10, 11]]


def test_of_too_many_traces_the_oldest_are_judged(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRACES", 2)
    court.see(*(query(10 + number, 1, trace_id=number) for number in range(1, 5)))
    assert court.ids() == [[11], [12]]


def test_of_too_many_spans_in_all_the_oldest_are_judged(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SPANS_IN_ALL", 5)
    court.see(*(query(number, 1) for number in range(2, 5)), *(query(number, 1, trace_id=2) for number in range(2, 5)))
    assert court.ids() == [[2, 3, 4]]


def test_at_the_end_everything_is_judged(court: Court) -> None:
    court.see(query(2, 1), query(2, 1, trace_id=2))
    court.traces.finish()
    assert court.ids() == [[2], [2]]


def test_what_is_cleared_is_not_judged(court: Court) -> None:
    court.see(query(2, 1))
    court.traces.clear()
    court.traces.finish()
    assert (court.judged, len(court.traces)) == ([], 0)


def test_checkouts_and_holds_are_told_from_work(court: Court) -> None:
    pool = {semconv.POOL_NAME: "shop"}
    court.see(
        span(semconv.CHECKOUT_SPAN, 2, 1, **pool, **{semconv.POOL_NEW_CONNECTION: True}),  # type: ignore[arg-type]
        span(semconv.CHECKOUT_SPAN, 3, 1, **pool, **{semconv.ERROR_TYPE: "TimeoutError"}),  # type: ignore[arg-type]
        span(semconv.HOLD_SPAN, 4, 1, **pool),
        span(semconv.CHECKOUT_SPAN, 5, 1),  # somebody else's span of this name
        span("GET /", 1),
    )
    (trace,) = court.judged
    assert [(one.pool, one.new, one.failed) for one in trace.checkouts] == [
        ("shop", True, False),
        ("shop", False, True),
    ]
    assert [one.span_id for one in trace.holds] == [4]
    assert [one.span_id for one in trace.work] == [5, 1]


@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_every_query_is_judged_once_whatever_the_tree_and_the_order(seed: int, size: int, roots_end: bool) -> None:
    chance = random.Random(seed)
    court = Court()
    parents = {number: chance.randrange(1, number) for number in range(2, size + 1)}
    spans = [query(number, parents.get(number, 0), remote=number == 1, at=number) for number in range(1, size + 1)]
    if not roots_end:
        spans = spans[1:]
    chance.shuffle(spans)
    court.see(*spans)
    court.traces.finish()
    judged = [one for ids in court.ids() for one in ids]
    assert sorted(judged) == sorted(one.context.span_id for one in spans if one.context is not None)
    assert len(court.traces) == 0
