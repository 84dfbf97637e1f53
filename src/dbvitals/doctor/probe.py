"""What is sent through the pipeline, by OpenTelemetry's own SDK and exporters."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from dbvitals_instrumentation import semconv

SERVICE = "dbvitals-doctor"
_DISABLED = "OTEL_SDK_DISABLED"


class Probe:
    """One span, and one count that was made within it.

    Attributes:
        id: what it is recognised by, in the metric and in the span.
        trace_id: of the span, as 32 hexadecimal digits.
        made: when, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex[:12]
        resource = Resource({semconv.SERVICE_NAME: SERVICE, semconv.SERVICE_INSTANCE_ID: self.id})
        with _enabled():
            spans = InMemorySpanExporter()
            tracers = TracerProvider(resource=resource, sampler=ALWAYS_ON)
            tracers.add_span_processor(SimpleSpanProcessor(spans))
            reader = InMemoryMetricReader()
            meters = MeterProvider([reader], resource=resource, exemplar_filter=TraceBasedExemplarFilter())
            # A gateway that samples keeps the traces of exemplars: this is one.
            attributes: dict[str, str | bool] = {semconv.PROBE_ID: self.id, semconv.EXEMPLAR: True}
            with tracers.get_tracer(semconv.SCOPE).start_as_current_span(semconv.PROBE_SPAN, attributes=attributes):
                context = trace.get_current_span().get_span_context()
                counter = meters.get_meter(semconv.SCOPE).create_counter(semconv.PROBE, semconv.PROBES)
                counter.add(1, {semconv.PROBE_ID: self.id})
            data = reader.get_metrics_data()
        assert data is not None  # a count was made
        self.trace_id = trace.format_trace_id(context.trace_id)
        self.spans: tuple[ReadableSpan, ...] = spans.get_finished_spans()
        self.metrics: MetricsData = data
        self.made = time.monotonic()
        tracers.shutdown()
        meters.shutdown()


@contextmanager
def _enabled() -> Iterator[None]:
    """The SDK works within, though the service's environment says it should not: that is another step's finding."""
    before: Any = os.environ.pop(_DISABLED, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_DISABLED] = before
