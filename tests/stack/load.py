"""A service under steady load, with the SDK's own exporters, that knows what it has recorded."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from collectors import Collector, soon
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

PATIENCE = 60
"""OTEL_EXPORTER_OTLP_TIMEOUT: so long a batch is tried again. After 10 s, the default, it would be lost."""

QUEUE = 50_000
"""OTEL_BSP_MAX_QUEUE_SIZE: spans that wait in the service meanwhile."""


class Load:
    """Records 1,000 spans a second, a count and a duration for each, until it is stopped."""

    def __init__(self, agent: Collector) -> None:
        resource = Resource({"service.name": "load", "service.instance.id": "load-1"})
        self.exporter = Told(OTLPSpanExporter(f"{agent.endpoint}/v1/traces", timeout=PATIENCE))
        self._spans = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(BatchSpanProcessor(self.exporter, QUEUE, 100))
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(f"{agent.endpoint}/v1/metrics", timeout=PATIENCE), export_interval_millis=200
        )
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.spans: set[str] = set()

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.finish()
        self._spans.shutdown()
        self._metrics.shutdown()

    def more(self, number: int) -> None:
        """Return when so many spans more have been recorded."""
        enough = len(self.spans) + number
        soon(lambda: len(self.spans) >= enough, f"{number} spans more")

    def finish(self) -> None:
        """Record no more, and wait until the agent has what was recorded."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._spans.force_flush()
            self._metrics.force_flush()

    def _run(self) -> None:
        tracer = self._spans.get_tracer("load")
        meter = self._metrics.get_meter("load")
        count = meter.create_counter("load.requests")
        duration = meter.create_histogram("load.duration", "s")
        while not self._ended.wait(0.02):
            for _ in range(20):
                with tracer.start_as_current_span("work") as span:
                    self.spans.add(f"{span.get_span_context().span_id:016x}")
                count.add(1)
                duration.record(0.01)


class Told(SpanExporter):
    """An exporter of spans that counts the batches which the one behind it has given up."""

    def __init__(self, real: SpanExporter) -> None:
        self._real = real
        self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._real.export(spans)
        self.lost += result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._real.shutdown()
