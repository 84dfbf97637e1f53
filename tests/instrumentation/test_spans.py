"""Spans written in one go are those that the plain API would have made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState

from dbvitals_instrumentation import spans
from dbvitals_instrumentation.spans import ApiSpanWriter, SdkSpanWriter, span_writer


class Counting(IdGenerator):
    """Ids that two providers share."""

    def __init__(self) -> None:
        self.last = 0

    def generate_span_id(self) -> int:
        self.last += 1
        return self.last

    def generate_trace_id(self) -> int:
        self.last += 1
        return self.last


class Adding(Sampler):
    """A sampler of the user's that looks at attributes, adds some, and changes the trace state."""

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **kwargs: Any) -> SamplingResult:
        attributes = dict(args[1] if len(args) > 1 else kwargs["attributes"])
        decision = Decision.RECORD_ONLY if attributes.get("skip") else Decision.RECORD_AND_SAMPLE
        return SamplingResult(decision, {**attributes, "sampler": name}, TraceState([("s", "1")]))

    def get_description(self) -> str:
        return "Adding"


PARENTS = {
    "no parent": Context(),
    "local": spans.current(SpanContext(5, 6, False, TraceFlags(1), TraceState([("v", "1")]))),
    "local unsampled": spans.current(SpanContext(5, 6, False, TraceFlags(0))),
    "remote": spans.current(SpanContext(5, 6, True, TraceFlags(1))),
    "remote unsampled": spans.current(SpanContext(5, 6, True, TraceFlags(0))),
}
SAMPLERS = {
    "on": ALWAYS_ON,
    "off": ALWAYS_OFF,
    "parent": ParentBased(ALWAYS_ON),
    "parent, root off": ParentBased(ALWAYS_OFF),
    "parent, remote off": ParentBased(ALWAYS_ON, remote_parent_sampled=ALWAYS_OFF),
    "ratio": ParentBased(TraceIdRatioBased(0.5)),
    "user's": Adding(),
}
LIMITS = {
    "default": SpanLimits(),
    "few attributes": SpanLimits(max_span_attributes=2),
    "short values": SpanLimits(max_span_attribute_length=3),
}


def written(writer_type: Any, sampler: Sampler, limits: SpanLimits, parent: Context, **options: Any) -> list[Any]:
    """What a provider exports of one span written by ``writer_type``."""
    provider, exporter = provider_of(sampler, limits)
    arguments = {"attributes": {"db.query.text": "SELECT 1", "a": 1}, "late": {"rows": 7}, "error": None} | options
    context = writer_type(provider.get_tracer("scope", "1", schema_url="u")).write(
        "SELECT t",
        SpanKind.CLIENT,
        arguments["attributes"],
        arguments["late"],
        1_000_000,
        2_000_000,
        parent,
        arguments["error"],
    )
    exported = [json.loads(span.to_json()) for span in exporter.get_finished_spans()]
    dropped = [span.dropped_attributes for span in exporter.get_finished_spans()]
    scopes = [span.instrumentation_scope for span in exporter.get_finished_spans()]
    return [exported, dropped, scopes, context, context.trace_flags, context.trace_state.to_header()]


def provider_of(sampler: Sampler, limits: SpanLimits) -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        sampler=sampler,
        resource=Resource({"service.name": "shop"}),
        span_limits=limits,
        id_generator=Counting(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
@pytest.mark.parametrize("parent", PARENTS.values(), ids=PARENTS.keys())
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS.keys())
@pytest.mark.parametrize("options", [{}, {"error": "Oops (1)"}, {"attributes": {"skip": True}}], ids=str)
def test_a_span_is_the_one_that_the_api_would_have_made(
    sampler: Sampler, parent: Context, limits: SpanLimits, options: dict[str, Any]
) -> None:
    assert written(SdkSpanWriter, sampler, limits, parent, **options) == written(
        ApiSpanWriter, sampler, limits, parent, **options
    )


def test_a_span_processor_that_looks_at_starts_gets_to_see_them() -> None:
    class Baggage(SpanProcessor):
        def on_start(self, span: Any, parent_context: Context | None = None) -> None:
            span.set_attribute("tenant", "blue")

    provider, exporter = provider_of(ALWAYS_ON, SpanLimits())
    writer = span_writer(provider)
    assert isinstance(writer, SdkSpanWriter)
    provider.add_span_processor(Baggage())
    writer.write("n", SpanKind.CLIENT, {}, {}, 1, 2, Context(), None)
    assert exporter.get_finished_spans()[0].attributes["tenant"] == "blue"


def test_a_disabled_or_absent_sdk_writes_nothing() -> None:
    assert span_writer(trace.NoOpTracerProvider()) is None
    assert span_writer(trace.ProxyTracerProvider()) is None


def test_a_provider_that_is_not_the_sdks_is_used_by_the_api() -> None:
    started: list[str] = []

    class Tracer(trace.NoOpTracer):
        def start_span(self, name: str, *args: Any, **options: Any) -> trace.Span:
            started.append(name)
            return NonRecordingSpan(SpanContext(1, 2, False))

    class Provider(trace.TracerProvider):
        def get_tracer(self, *_args: Any, **_options: Any) -> trace.Tracer:
            return Tracer()

    writer = ApiSpanWriter(Provider().get_tracer("x"))
    writer.write("SELECT t", SpanKind.CLIENT, {}, {}, 1, 2, Context(), None)
    assert started == ["SELECT t"]


def test_a_provider_that_was_shut_down_takes_no_more_spans() -> None:
    provider, exporter = provider_of(ALWAYS_ON, SpanLimits())
    writer = span_writer(provider)
    assert writer is not None
    provider.shutdown()
    writer.write("n", SpanKind.CLIENT, {}, {}, 1, 2, Context(), None)
    assert exporter.get_finished_spans() == ()
