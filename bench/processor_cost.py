"""What verdicts add to a span that they do not flag: on the thread that ends it, and in the whole process.

    python bench/processor_cost.py [--rounds 200]

Microseconds a span, in turns in one run; medians over the rounds and their 99th percentile on the thread, and the CPU
time of the whole process with the worker's share. The next processor does nothing, so the difference is all ours. The
last lines are queries of dbvitals' own through SQLite, with and without verdicts: ten different ones in a request, and
a loop of ten. Between rounds the worker works on this thread.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from dbvitals import watch
from dbvitals_instrumentation import spans
from dbvitals_instrumentation.config import Config
from dbvitals_processors.detector import Detector
from dbvitals_processors.docket import Docket
from dbvitals_processors.slow_queries import SlowQueryProcessor

CALLS = 500
MS = 1_000_000
ABOVE = spans.current(SpanContext(5, 6, False, TraceFlags(1)))


class Nothing(SpanProcessor):
    """A next processor that does nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        pass


class Drop(SpanExporter):
    """Discards what it gets."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Ended(SpanProcessor):
    """Keeps the spans that have ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def span_of(attributes: dict[str, Any], milliseconds: float, parent: Context) -> ReadableSpan:
    """A finished span as the SDK makes it."""
    provider, ended = TracerProvider(shutdown_on_exit=False), Ended()
    provider.add_span_processor(ended)
    tracer = provider.get_tracer("opentelemetry.instrumentation.somebody")
    tracer.start_span("SELECT", parent, SpanKind.CLIENT, attributes, start_time=10**18).end(
        10**18 + round(milliseconds * MS)
    )
    return ended.spans[0]


QUERY = {
    "db.system": "postgresql", "db.name": "shop", "db.user": "shop", "net.peer.name": "db", "net.peer.port": 5432,
    "db.statement": "SELECT orders.id, orders.total FROM orders WHERE orders.customer_id = %(customer_id)s",
}  # fmt: skip
REQUEST = {"http.request.method": "GET", "url.path": "/", "http.response.status_code": 200}


def cost(function: Callable[..., Any], *args: Any) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        function(*args)
    return (time.perf_counter() - start) / CALLS * 1e6


def both(function: Callable[..., Any], finish: Callable[[], Any], *args: Any) -> tuple[float, float]:
    """Microseconds on this thread, and CPU time of the process with what was left to the worker."""
    before = time.process_time()
    took = cost(function, *args)
    finish()
    return took, (time.process_time() - before) / CALLS * 1e6


def show(name: str, alone: list[tuple[float, float]], behind: list[tuple[float, float]]) -> None:
    """One line: without, with, added on the thread and at its 99th percentile, added in the process."""
    added = [one - other for (one, _), (other, _) in zip(behind, alone, strict=True)]
    process = [one - other for (_, one), (_, other) in zip(behind, alone, strict=True)]
    print(
        f"{name:30}{statistics.median(one for one, _ in alone):9.2f}{statistics.median(one for one, _ in behind):9.2f}"
        f"{statistics.median(added):9.2f}{statistics.quantiles(added, n=100)[98]:9.2f}{statistics.median(process):9.2f}"
    )


def spans_of_others(rounds: int) -> None:
    """Spans of other instrumentations behind the processor."""
    cases: dict[str, tuple[Any, float, bool]] = {
        "quick query": (QUERY, 1, False),
        "query near its limit": (QUERY, 50, False),
        "request, no query": (REQUEST, 50, True),
        "quick query, N+1 counted": (QUERY, 1, True),
    }
    for name, (attributes, milliseconds, counts) in cases.items():
        docket = Docket(1_000_000_000) if counts else None
        detector = Detector(Config(slow_thresholds=(("DELETE", "0.01"),)), docket=docket)
        detector.worker.running = True  # by hand, between rounds
        following = Nothing()
        processor = SlowQueryProcessor(following, detector=detector)
        span = span_of(attributes, milliseconds, ABOVE)
        alone, behind = [], []
        for _ in range(rounds):
            alone.append(both(following.on_end, lambda: None, span))
            behind.append(both(processor.on_end, lambda worker=detector.worker: worker.flush(1), span))
        show(name, alone, behind)
        detector.close()


def queries_of_our_own(rounds: int) -> None:
    """Queries through SQLAlchemy, with and without verdicts."""
    kinds = [sa.text(f"SELECT :id AS c{'abcdefghij'[number]}") for number in range(10)]
    requests = {"own query, ten kinds a trace": kinds, "own query, a loop of ten": [kinds[0]] * 10}
    for name, queries in requests.items():
        figures: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(rounds // 4):
            for slow in (False, True):
                figures[slow].append(request_cost(queries, slow))
        show(name, figures[False], figures[True])


def request_cost(queries: list[Any], slow: bool) -> tuple[float, float]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Drop()))
    watch.instrument(tracer_provider=provider, meter_provider=MeterProvider(shutdown_on_exit=False),
                     config=Config(slow=slow))  # fmt: skip
    tracer = provider.get_tracer("bench")
    engine = sa.create_engine("sqlite://")
    numbers = itertools.count()

    def request(times: int) -> None:
        for _ in range(times):
            with tracer.start_as_current_span("GET /"):
                for query in queries:
                    connection.execute(query, {"id": next(numbers)}).fetchall()

    with engine.connect() as connection:
        request(10)
        flush = watch._watch.verdicts.detector.worker.flush if slow else lambda _seconds: True  # type: ignore[union-attr]
        flush(1)
        before, started = time.process_time(), time.perf_counter()
        request(CALLS // 10)
        took = time.perf_counter() - started
        flush(1)
        process = time.process_time() - before
    watch.uninstrument()
    provider.shutdown()
    engine.dispose()
    return took / CALLS * 1e6, process / CALLS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    print(f"{'µs a span, not flagged':30}{'without':>9}{'with':>9}{'added':>9}{'p99':>9}{'process':>9}")
    spans_of_others(options.rounds)
    queries_of_our_own(options.rounds)


if __name__ == "__main__":
    main()
