"""Ways of watching SQLAlchemy, each switched on in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

Around = Callable[[], AbstractContextManager[Any]]
"""Opens what stands for a request: a span or transaction that the queries belong to."""


def bare() -> Around:
    """SQLAlchemy alone."""
    return contextlib.nullcontext


def dbvitals() -> Around:
    """Spans and metrics of queries and pools, all on; exporters that drop."""
    tracer_provider, meter_provider = _dropping_providers()
    import dbvitals

    dbvitals.instrument(tracer_provider=tracer_provider, meter_provider=meter_provider)
    return _request(tracer_provider)


def dbvitals_otlp() -> Around:
    """The same with the real OTLP exporters, to a sink on this machine that reads and forgets."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = os.environ["BENCH_SINK"]
    tracer_provider, meter_provider = _providers(
        OTLPSpanExporter(f"{endpoint}/v1/traces"), OTLPMetricExporter(f"{endpoint}/v1/metrics")
    )
    import dbvitals

    dbvitals.instrument(tracer_provider=tracer_provider, meter_provider=meter_provider)
    return _request(tracer_provider)


def official() -> Around:
    """opentelemetry-instrumentation-sqlalchemy with the stable conventions; exporters that drop."""
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "database"
    tracer_provider, meter_provider = _dropping_providers()
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

    SQLAlchemyInstrumentor().instrument(
        tracer_provider=tracer_provider, meter_provider=meter_provider, skip_dep_check=True
    )
    return _request(tracer_provider)


def ddtrace() -> Around:
    """Datadog's tracer with its SQLAlchemy integration; no agent listens."""
    os.environ |= {
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
    }
    logging.disable(logging.CRITICAL)
    from ddtrace import patch
    from ddtrace.trace import tracer

    patch(sqlalchemy=True, sqlite3=False)
    return lambda: tracer.trace("loop")


def sentry() -> Around:
    """sentry-sdk with its SQLAlchemy integration, every transaction traced; a transport that drops."""
    import sentry_sdk
    from sentry_sdk.integrations.sqlalchemy import SqlalchemyIntegration
    from sentry_sdk.transport import Transport

    class Drop(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            pass

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1",
        transport=Drop,
        traces_sample_rate=1.0,
        integrations=[SqlalchemyIntegration()],
        _experiments={"max_spans": 100_000},
    )
    return lambda: sentry_sdk.start_transaction(name="loop", op="task")


EVERY: dict[str, Callable[[], Around]] = {
    "bare": bare,
    "dbvitals": dbvitals,
    "dbvitals-otlp": dbvitals_otlp,
    "official": official,
    "ddtrace": ddtrace,
    "sentry": sentry,
}


def _dropping_providers() -> tuple[Any, Any]:
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class DropSpans(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    class DropMetrics(MetricExporter):
        def export(self, metrics_data: Any, timeout_millis: float = 0, **_: Any) -> MetricExportResult:
            return MetricExportResult.SUCCESS

        def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
            pass

        def force_flush(self, timeout_millis: float = 0) -> bool:
            return True

    return _providers(DropSpans(), DropMetrics())


def _providers(span_exporter: Any, metric_exporter: Any) -> tuple[Any, Any]:
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(BatchSpanProcessor(span_exporter))
    meter_provider = MeterProvider([PeriodicExportingMetricReader(metric_exporter, export_interval_millis=1000)])
    trace.set_tracer_provider(tracer_provider)
    metrics.set_meter_provider(meter_provider)
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)  # a loop without pause overfills the span queue
    return tracer_provider, meter_provider


def _request(tracer_provider: Any) -> Around:
    tracer = tracer_provider.get_tracer("bench")
    return lambda: tracer.start_as_current_span("loop")
