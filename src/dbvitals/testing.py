"""For tests of services: what dbvitals observed, in memory.

with dbvitals.testing.observe() as seen:
    my_service.list_orders()
assert [span.name for span in seen.spans()] == ["SELECT orders"]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dbvitals import watch
from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.config import Config

_OF_POOLS = (semconv.CHECKOUT_SPAN, semconv.HOLD_SPAN)


class Seen:
    """Spans and metrics of providers of its own."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meter_provider = MeterProvider([self._reader])

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        """Finished spans in the order in which they ended, without those of pools unless asked for by name."""
        finished = self._exporter.get_finished_spans()
        return [s for s in finished if (s.name == name if name else s.name not in _OF_POOLS)]

    def clear(self) -> None:
        """Forget the spans seen so far."""
        self._exporter.clear()

    def points(self, metric: str, **attributes: object) -> list[Any]:
        """The data points of a metric now; attributes are given with ``_`` for ``.`` and select among them."""
        data = self._reader.get_metrics_data()
        found = [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric
            for point in one.data.data_points
        ]
        wanted = {name.replace("_", "."): value for name, value in attributes.items()}
        return [point for point in found if _has(point.attributes, wanted)]

    def shutdown(self) -> None:
        """Shut both providers down."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


@contextmanager
def observe(engine: Any = None, *, redis: Any = None, config: Config | None = None) -> Iterator[Seen]:
    """Instrument for the length of a block, into memory; :func:`dbvitals.instrument` tells of the arguments."""
    seen = Seen()
    watch.instrument(
        engine,
        redis=redis,
        tracer_provider=seen.tracer_provider,
        meter_provider=seen.meter_provider,
        config=config or Config(),
    )
    try:
        yield seen
    finally:
        watch.uninstrument()
        seen.shutdown()


def _has(attributes: Mapping[str, object] | None, wanted: Mapping[str, object]) -> bool:
    have = {name.replace("_", "."): value for name, value in (attributes or {}).items()}
    return all(have.get(name) == value for name, value in wanted.items())
