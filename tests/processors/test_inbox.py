from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.spans import _looks_at_the_end_only
from dbvitals_processors import inbox as module
from dbvitals_processors.inbox import Inbox
from dbvitals_processors.workload import Workload


class Owner:
    """An inbox behind a provider, and what it asked for."""

    def __init__(self, config: Config | None = None) -> None:
        self.woken = 0
        self.workload = Workload()
        self.inbox = Inbox(self.workload, self.wake, config or Config(n_plus_one_threshold=3))
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.inbox)
        self.tracer = provider.get_tracer("test")

    def wake(self) -> None:
        self.woken += 1

    def loop(self, times: int) -> None:
        attributes = {semconv.DB_SYSTEM_NAME: "sqlite", semconv.DB_QUERY_TEXT: "SELECT 1 FROM t"}
        with self.tracer.start_as_current_span("GET /"):
            for _ in range(times):
                self.tracer.start_span("SELECT t", attributes=attributes).end()


def test_queries_are_counted_at_once_and_every_span_waits_until_it_is_taken() -> None:
    owner = Owner()
    owner.loop(2)
    assert [totals.calls for totals in owner.workload.totals()] == [2]
    taken = list(owner.inbox.take())
    assert [(span.name, query is not None) for span, query in taken] == [
        ("SELECT t", True), ("SELECT t", True), ("GET /", False),
    ]  # fmt: skip
    assert list(owner.inbox.take()) == []


def test_where_a_loop_begins_its_caller_is_looked_for_once() -> None:
    owner = Owner()
    owner.loop(6)
    callers = [query.caller for _, query in owner.inbox.take() if query is not None]
    assert [caller is not None for caller in callers] == [False, False, True, False, False, False]
    assert callers[2] is not None
    assert callers[2].function == "Owner.loop" or callers[2].function == "loop"  # before Python 3.11


def test_no_caller_is_looked_for_where_callers_are_off() -> None:
    owner = Owner(Config(n_plus_one_threshold=3, caller="off"))
    owner.loop(6)
    assert {query.caller for _, query in owner.inbox.take() if query is not None} == {None}


def test_somebody_is_woken_when_many_wait_and_of_too_many_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY", 3)
    monkeypatch.setattr(module, "MOST_WAITING", 5)
    owner = Owner()
    owner.loop(8)
    assert (owner.woken, owner.inbox.lost, len(list(owner.inbox.take()))) == (1, 4, 5)
    assert [totals.calls for totals in owner.workload.totals()] == [8]
    owner.inbox.clear()
    assert owner.inbox.lost == 0


def test_it_leaves_the_quick_way_of_writing_spans_open() -> None:
    assert _looks_at_the_end_only(Owner().inbox)


def test_a_fault_is_counted_and_goes_no_further() -> None:
    guard.reset()
    broken: ReadableSpan = object()  # type: ignore[assignment]
    Owner().inbox.on_end(broken)
    assert guard.faults() == {"inbox.on_end": 1}
    guard.reset()
