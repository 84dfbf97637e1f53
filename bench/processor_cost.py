"""What the slow-query processor adds to a span that it does not flag, on the thread that ends it.

    python bench/processor_cost.py [--rounds 200]

Microseconds a span: the next processor alone, and behind the processor, in turns in one run; medians over the rounds
and their 99th percentile. The next processor does nothing, so the difference is all ours. Between rounds the worker
empties the queue on this thread, unmeasured.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from dbvitals_instrumentation import spans
from dbvitals_instrumentation.config import Config
from dbvitals_processors.detector import Detector
from dbvitals_processors.n_plus_one import NPlusOne
from dbvitals_processors.slow_queries import SlowQueryProcessor

CALLS = 500
MS = 1_000_000
ABOVE = spans.current(SpanContext(5, 6, False, TraceFlags(1)))


class Nothing(SpanProcessor):
    """A next processor that does nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        pass


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    counts = NPlusOne(1_000_000_000)
    cases: dict[str, tuple[Any, float, Any]] = {
        "quick query": (QUERY, 1, None),
        "query near its limit": (QUERY, 50, None),
        "request, no query": (REQUEST, 50, None),
        "quick query, N+1 counted": (QUERY, 1, lambda *key: counts.count(*key) >= counts.threshold),
    }
    print(f"{'µs a span, not flagged':28}{'next alone':>12}{'behind ours':>13}{'added':>8}{'p99':>8}")
    for name, (attributes, milliseconds, repeats) in cases.items():
        detector = Detector(Config(slow_thresholds=(("DELETE", "0.01"),)), repeats=repeats)
        detector.worker.running = True  # by hand, between rounds
        following = Nothing()
        processor = SlowQueryProcessor(following, detector=detector)
        span = span_of(attributes, milliseconds, ABOVE)
        alone, behind = [], []
        for _ in range(options.rounds):
            alone.append(cost(following.on_end, span))
            behind.append(cost(processor.on_end, span))
            detector.worker.flush(1)
        added = [one - other for one, other in zip(behind, alone, strict=True)]
        print(
            f"{name:28}{statistics.median(alone):12.2f}{statistics.median(behind):13.2f}"
            f"{statistics.median(added):8.2f}{statistics.quantiles(added, n=100)[98]:8.2f}"
        )
        detector.close()
    for name, repeats in (("", None), (", N+1 counted", cases["quick query, N+1 counted"][2])):
        detector = Detector(Config(), repeats=repeats)
        detector.worker.running = True
        see = detector.account("shop", "SELECT", "0123456789abcdef", "SELECT orders").see
        costs = []
        for _ in range(options.rounds):
            costs.append(cost(see, MS, False, ABOVE))
            detector.worker.flush(1)
        median = statistics.median(costs)
        print(f"{'our own query' + name:28}{'':25}{median:8.2f}{statistics.quantiles(costs, n=100)[98]:8.2f}")
        detector.close()


if __name__ == "__main__":
    main()
