"""What is kept of a trace while it is open, and what becomes of it when it is over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from dbvitals_instrumentation import semconv
from dbvitals_processors import docket as module
from dbvitals_processors.docket import CLOSE, MOST_ALIKE, MOST_KINDS, OLD, Docket
from dbvitals_processors.findings import Finding
from dbvitals_processors.trace_rules import TraceRules

MS = 1_000_000


class Kind:
    """What stands for an account."""

    def __init__(self, table: str = "items") -> None:
        self.key = ("shop", "SELECT", f"fingerprint of {table}")
        self.attributes: dict[str, Any] = {
            semconv.DB_SYSTEM_NAME: "postgresql",
            semconv.DB_NAMESPACE: "shop",
            semconv.DB_OPERATION_NAME: "SELECT",
            semconv.DB_COLLECTION_NAME: table,
            semconv.DB_QUERY_SUMMARY: f"SELECT {table}",
            semconv.FINGERPRINT: f"fingerprint of {table}",
        }


ITEMS = Kind()


class Call:
    """One of our own calls."""

    def __init__(self, at: float = 0, told: int | None = None, rows: int = 3, kind: Kind = ITEMS, **late: Any) -> None:
        self.query = kind
        self.late: dict[str, Any] = {semconv.DB_RESPONSE_RETURNED_ROWS: rows, **late}
        self.start = round(at * MS)
        self.rows = rows
        self.number = told
        self.asked = self.closer = 0

    def told(self) -> int | None:
        self.asked += 1
        return self.number

    def look_closer(self) -> None:
        self.closer += 1

    def name_caller(self) -> None:
        raise AssertionError("that is the account's business")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Service:
    """A docket that rules follow, and spans that are no queries."""

    def __init__(self, threshold: int = 5) -> None:
        self.clock = Clock()
        self.dropped = 0
        self.docket = Docket(threshold, self.drop, self.clock)
        self.rules = TraceRules(threshold)
        self.rules.follow(self.docket)

    def drop(self) -> None:
        self.dropped += 1

    def loop(self, times: int, trace_id: int = 7, parent: int = 1, kind: Kind = ITEMS, **late: Any) -> list[Call]:
        calls = [Call(10 + 3 * number, 100 * parent + number, kind=kind, **late) for number in range(times)]
        for call in calls:
            self.docket.enter(trace_id, parent, kind, 2 * MS, call)
        return calls

    def span(self, name: str, span_id: int, parent: int | None = None, **options: Any) -> None:
        self.docket.keep(span(name, span_id, parent, **options))

    def found(self) -> dict[str, Finding]:
        self.rules.expire()
        return {finding.rule: finding for finding in self.rules.findings()}


def span(
    name: str,
    span_id: int,
    parent: int | None = None,
    *,
    trace_id: int = 7,
    remote: bool = False,
    start: float = 0,
    end: float = 1000,
    **attributes: Any,
) -> ReadableSpan:
    above = None if parent is None else SpanContext(trace_id, parent, remote, TraceFlags(1))
    return ReadableSpan(
        name, SpanContext(trace_id, span_id, False, TraceFlags(1)), above, attributes=attributes, kind=SpanKind.SERVER,
        start_time=round(start * MS), end_time=round(end * MS),
    )  # fmt: skip


@pytest.fixture
def service() -> Service:
    return Service()


def test_a_trace_with_nothing_to_find_is_forgotten_unread_as_its_root_ends(service: Service) -> None:
    for parent, kind in enumerate((Kind("a"), Kind("b"), Kind("c")), 3):
        service.loop(4, kind=kind, parent=parent)
    service.span("work", 2, 1)
    assert len(service.docket) == 13
    service.span("GET /", 1)
    assert len(service.docket) == 0
    assert list(service.docket.filed()) == []
    assert service.found() == {}


def test_a_loop_is_found_when_its_root_ends_with_the_caller_that_one_of_its_queries_names(service: Service) -> None:
    service.loop(8)
    service.loop(1, **{semconv.CODE_FUNCTION_NAME: "list_orders"})
    assert service.found() == {}
    service.span("GET /", 1)
    found = service.found()["n_plus_one"]
    assert (found.queries, found.wasted, found.example.rows) == (9, pytest.approx(0.016), 27)
    assert found.caller is not None
    assert found.caller.function == "list_orders"
    assert found.example.trace == f"{7:032x}"


def test_a_caller_that_was_seen_in_another_trace_stands_in(service: Service) -> None:
    service.loop(1, trace_id=1, **{semconv.CODE_FUNCTION_NAME: "list_orders"})
    service.loop(9)
    service.span("GET /", 1)
    caller = service.found()["n_plus_one"].caller
    assert caller is not None
    assert caller.function == "list_orders"


def test_of_a_long_loop_the_first_calls_are_kept_and_the_rest_is_added_up(service: Service) -> None:
    calls = service.loop(CLOSE + 900)
    assert len(service.docket) == CLOSE
    assert [call.asked for call in calls] == [1] * CLOSE + [0] * 900  # parameters are not looked at any more
    service.span("GET /", 1)
    found = service.found()["n_plus_one"]
    assert (found.queries, found.example.rows) == (1000, 3000)
    assert found.wasted == pytest.approx(999 * 0.002)
    assert found.advice == "Fetch items for the loop by one WHERE … IN: 1 query, not 1000"


def test_calls_that_were_only_added_up_are_no_pause_in_a_transaction(service: Service) -> None:
    service.loop(CLOSE + 900)
    service.span(semconv.HOLD_SPAN, 9, 1, start=5, end=3020, **{semconv.POOL_NAME: "shop"})
    service.span("GET /", 1, end=3100)
    assert set(service.found()) == {"n_plus_one"}


def test_equal_parameters_are_found_in_the_whole_trace_and_only_what_comes_again_is_looked_at(service: Service) -> None:
    calls = [Call(1, told=5), Call(100, told=6), Call(300, told=5)]
    for parent, call in zip((1, 2, 3), calls, strict=True):
        service.docket.enter(7, parent, ITEMS, MS, call)
    assert [call.closer for call in calls] == [0, 0, 1]
    service.span("GET /", 1)
    found = service.found()
    assert set(found) == {"duplicate"}
    assert found["duplicate"].queries == 2


def test_a_query_with_very_many_rows_is_found_also_without_a_trace(service: Service) -> None:
    service.docket.enter(7, 1, ITEMS, MS, Call(1, rows=5000))
    service.span("GET /", 1)
    assert service.found()["too_many_rows"].example.rows == 5000
    alone = span("SELECT", 5, None, trace_id=8, **ITEMS.attributes, **{semconv.DB_RESPONSE_RETURNED_ROWS: 200_000})
    service.docket.alone_span(alone, 1000)
    service.docket.alone_span(alone, 200_000)
    assert service.found()["too_many_rows"].example.trace == f"{8:032x}"
    assert service.found()["too_many_rows"].occurrences == 2


@pytest.mark.parametrize("times, found", [(3, set()), (8, {"checkout_wait"})])
def test_waits_for_connections_are_added_up(times: int, found: set[str], service: Service) -> None:
    for number in range(times):
        at = 20 * number
        service.span(semconv.CHECKOUT_SPAN, 50 + number, 1, start=at, end=at + 0.9, **{semconv.POOL_NAME: "shop"})
        service.span(semconv.CHECKOUT_SPAN, 10 + number, 1, start=at, end=at + 19, **{semconv.POOL_NAME: "shop"})
    service.span("GET /", 1, end=200)
    assert set(service.found()) == found


def test_of_many_traces_that_are_alike_some_are_judged_and_stand_for_all(service: Service) -> None:
    for trace_id in range(1, 48):
        service.loop(9, trace_id=trace_id)
        service.span("GET /", 1, trace_id=trace_id)
    service.loop(6, trace_id=99)
    service.span("GET /other", 1, trace_id=99)
    assert sum(len(one.kept) for _, one in service.docket._filed) == MOST_ALIKE * 9 + 6
    found = service.found()["n_plus_one"]
    assert (found.occurrences, found.queries, found.example.queries) == (48, 47 * 9 + 6, 9)


def test_another_request_of_the_same_trace_goes_on(service: Service) -> None:
    for parent in (2, 5):
        service.loop(6, parent=parent)
    service.span("first", 2, 99, remote=True)
    assert service.found()["n_plus_one"].queries == 6
    assert len(service.docket) == 6
    service.loop(1, parent=5)
    service.span("second", 5, 99, remote=True)
    assert service.found()["n_plus_one"].queries == 13
    assert len(service.docket) == 0


def test_what_is_below_other_work_belongs_to_its_root(service: Service) -> None:
    service.loop(6, parent=3)
    service.span("inner", 3, 2)
    service.span("GET /", 2, 99, remote=True)
    assert service.found()["n_plus_one"].queries == 6


def test_a_trace_that_is_not_over_is_judged_when_it_is_old_and_one_with_nothing_to_find_is_forgotten(
    service: Service,
) -> None:
    service.loop(9)
    service.loop(2, trace_id=8)
    service.clock.now = OLD - 1
    assert service.found() == {}
    service.clock.now = OLD
    assert set(service.found()) == {"n_plus_one"}
    assert len(service.docket) == 0


def test_a_long_trace_is_judged_piece_by_piece(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SPANS", 10)
    service.loop(25)
    assert service.found()["n_plus_one"].queries == 20
    service.loop(30, kind=Kind("a"), trace_id=9, parent=1)
    for number in range(20):
        service.loop(1, kind=Kind(f"t{number}"), trace_id=10)
    assert len(service.docket) == 5


def test_of_too_many_traces_the_oldest_are_judged(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TRACES", 3)
    service.loop(9, trace_id=1)
    for number in range(2, 9):
        service.loop(1, trace_id=number)
    assert set(service.found()) == {"n_plus_one"}


def test_of_too_many_spans_in_all_the_oldest_are_judged(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SPANS_IN_ALL", 10)
    service.loop(9, trace_id=1)
    service.loop(9, trace_id=2)
    assert service.found()["n_plus_one"].occurrences == 1
    assert len(service.docket) == 9


def test_traces_for_which_the_judge_has_no_room_are_dropped_and_counted(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FILED", 20)
    for trace_id in range(1, 6):
        service.loop(9, trace_id=trace_id)
        service.span("GET /", 1, trace_id=trace_id)
    assert service.dropped == 3
    assert service.found()["n_plus_one"].occurrences == 2


def test_nothing_but_counts_is_kept_where_nobody_follows() -> None:
    docket = Docket(3)
    assert [docket.enter_span(span("SELECT", 9, 1), ITEMS, 0) for _ in range(4)] == [1, 2, 3, 4]
    assert docket.enter_span(span("SELECT", 9), ITEMS, 0) == 0
    assert len(docket) == 0


def test_spans_of_others_are_kept_as_they_are(service: Service) -> None:
    for number in range(CLOSE + 20):
        one = span("SELECT", 20 + number, 1, start=3 * number, end=3 * number + 2, **ITEMS.attributes)
        service.docket.enter_span(one, ITEMS if number else None, 1)  # the first was not known yet
    service.span("GET /", 1)
    assert service.found()["n_plus_one"].queries == CLOSE + 20


def test_at_the_end_everything_is_judged_and_what_is_cleared_never(service: Service) -> None:
    service.loop(9)
    service.docket.clear()
    service.loop(8, trace_id=8)
    service.rules.follow(None)
    assert service.rules.findings()[0].queries == 8
    assert len(service.docket) == 0


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2000)), max_size=200))
def test_memory_is_bounded(seen: list[tuple[int, int]]) -> None:
    service = Service()
    kinds = [Kind(str(number)) for number in range(20)]
    for trace_id, parent in seen:
        for kind in kinds:
            service.docket.enter(trace_id, parent + 1, kind, 1, Call(kind=kind))
    for traces in (service.docket._young, service.docket._old):
        assert len(traces) <= module.MOST_TRACES
        assert all(len(case.counts) <= MOST_KINDS + 1 for case in traces.values())
