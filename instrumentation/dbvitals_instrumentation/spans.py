"""Writes a finished leaf span to a tracer in one go.

A query has nothing below it that wants to know its span, so its span can be made when it is over. That skips most of
what ``Tracer.start_span`` and ``Span.end`` cost (locks, attribute cleaning, bounded containers, span processors'
``on_start``), while everything that a user can configure keeps its say: sampler, id generator, resource, limits,
scope, and each span processor's ``on_end``. Where somebody could tell the difference (a span processor with an
``on_start`` of its own, a provider that is not the SDK's), the plain API is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TraceState,
)
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.util.types import AttributeValue

from dbvitals_instrumentation import guard
from dbvitals_instrumentation.semconv import SCHEMA_URL, SCOPE

Attributes = Mapping[str, AttributeValue]


class SpanWriter(Protocol):
    """Writes spans that have ended; ``tracer`` starts those that must be current while they last."""

    tracer: Tracer

    def write(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        late: Attributes,
        start: int,
        end: int,
        parent: Context,
        error: str | None,
        sampled: Callable[[], object] | None = None,
    ) -> SpanContext:
        """Write one span and return its context, which is that of an unsampled span where the sampler said so.

        Args:
            attributes: known when the span started, so that samplers see them.
            late: known when it ended; added to ``attributes``.
            start, end: Unix time in nanoseconds.
            error: description of the error status, ``None`` for no error.
            sampled: called where the sampler took the span, before it is written; may add to ``late``.
        """


class ApiSpanWriter:
    """By the OpenTelemetry API alone: correct for any provider."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def write(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        late: Attributes,
        start: int,
        end: int,
        parent: Context,
        error: str | None,
        sampled: Callable[[], object] | None = None,
    ) -> SpanContext:
        span = self.tracer.start_span(name, parent, kind, attributes, start_time=start)
        if span.is_recording():
            if sampled is not None and takes_flag(span):
                sampled()
            if late:
                span.set_attributes(late)
            if error is not None:
                span.set_status(Status(StatusCode.ERROR, error))
        span.end(end)
        return span.get_span_context()


class SdkSpanWriter(ApiSpanWriter):
    """Builds the SDK's finished ``ReadableSpan`` and hands it to the provider's span processors."""

    def __init__(self, tracer: Any) -> None:
        super().__init__(tracer)
        from opentelemetry.attributes import BoundedAttributes
        from opentelemetry.sdk.trace import ReadableSpan

        self._readable_span = ReadableSpan
        self._bounded = BoundedAttributes
        self._processors: object = None
        self._plain = False
        limits = tracer._span_limits
        self._limits = (limits.max_span_attributes, limits.max_span_attribute_length)
        self._scope = tracer._instrumentation_scope
        self._info = tracer.instrumentation_info
        self._ids = tracer.id_generator
        self._root_flags = _RANDOM if getattr(self._ids, "is_trace_id_random", lambda: False)() else 0
        self._follows = _follows(tracer.sampler)
        self._configurable = hasattr(getattr(tracer, "_tracer_config", None), "is_enabled")
        self._metrics = getattr(tracer, "_tracer_metrics", None)
        if type(self._metrics).__name__ == "NoOpTracerMetrics":
            self._metrics = None
        self._unset = Status(StatusCode.UNSET)
        flags, state = TraceFlags(1), TraceState([("k", "v")])
        if tuple(SpanContext(1, 2, False, flags, state)) != (1, 2, False, flags, state, True):
            raise TypeError("a SpanContext of another layout")
        # Everything that `write` reaches for is touched here once, so that an SDK that lacks it is found out now.
        _ = (tracer.sampler.should_sample, tracer.resource, tracer.span_processor._span_processors)

    def write(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        late: Attributes,
        start: int,
        end: int,
        parent: Context,
        error: str | None,
        sampled: Callable[[], object] | None = None,
    ) -> SpanContext:
        tracer: Any = self.tracer
        processor = tracer.span_processor
        if processor._span_processors is not self._processors:
            self._processors = processor._span_processors
            self._plain = not all(map(_looks_at_the_end_only, processor._span_processors))
        if self._plain:
            return super().write(name, kind, attributes, late, start, end, parent, error, sampled)
        above: Any = parent.get(_SPAN_KEY)
        parent_context: SpanContext | None = None if above is None else above.get_span_context()
        if self._configurable and not tracer._tracer_config.is_enabled:
            return parent_context or trace.INVALID_SPAN_CONTEXT
        ids = self._ids
        flags: int
        state: Any
        trace_id, _, remote, flags, state, valid = parent_context or trace.INVALID_SPAN_CONTEXT
        if valid:
            follows = self._follows[2 * remote + (flags & 1)]
        else:
            parent_context = None
            trace_id, flags, state = ids.generate_trace_id(), self._root_flags, None
            follows = False
        if follows and self._metrics is None:  # sampled, as every sampler of this provider would say
            context = _new_span_context(
                SpanContext, (trace_id, ids.generate_span_id(), False, _FLAGS[flags & _RANDOM | 1], state, True)
            )
            ended = None
            if sampled is not None:
                sampled()
            own: Any = {**attributes, **late}
        else:
            result = tracer.sampler.should_sample(parent, trace_id, name, kind, attributes, ())
            decision = result.decision
            own_flags = _FLAGS[flags & _RANDOM | decision.is_sampled()]
            context = SpanContext(trace_id, ids.generate_span_id(), False, own_flags, result.trace_state)
            ended = self._metrics.start_span(parent_context, decision) if self._metrics is not None else None
            if not decision.is_recording():
                return context
            if sampled is not None and decision.is_sampled():
                sampled()
            own = {**result.attributes, **late}
        if self._limits[1] is not None or (self._limits[0] is not None and len(own) > self._limits[0]):
            own = self._bounded(self._limits[0], own, immutable=True, max_value_len=self._limits[1])
        span = self._readable_span(
            name,
            context,
            parent_context,
            tracer.resource,
            own,
            (),
            (),
            kind,
            self._info,
            self._unset if error is None else Status(StatusCode.ERROR, error),
            start,
            end,
            self._scope,
        )
        if ended is not None:
            ended()
        processor.on_end(span)
        return context


_RANDOM = 0x02  # W3C trace context level 2: the random-trace-id flag
_new_span_context = tuple.__new__  # with ids that are valid already; `SdkSpanWriter` sees that this is its layout
_FLAGS = tuple(TraceFlags(flags) for flags in (0, 1, _RANDOM, _RANDOM | 1))


def span_writer(provider: trace.TracerProvider) -> SpanWriter | None:
    """The quickest writer that is right for ``provider``; ``None`` where nobody would ever see a span."""
    if isinstance(provider, (trace.NoOpTracerProvider, trace.ProxyTracerProvider)):
        return None
    tracer = provider.get_tracer(SCOPE, schema_url=SCHEMA_URL)
    if isinstance(tracer, trace.NoOpTracer):
        return None
    kind = type(tracer)
    if kind.__module__ == "opentelemetry.sdk.trace" and kind.__name__ == "Tracer":
        try:
            return SdkSpanWriter(tracer)
        except Exception as error:  # an SDK whose inside has changed: the API still works
            guard.fault("spans.sdk", error)
    return ApiSpanWriter(tracer)


def finish(span: Span, late: Attributes, end: int, error: str | None) -> SpanContext:
    """End a span that was current while it lasted, as a writer would have written it."""
    span.set_attributes(late)
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(end)
    return span.get_span_context()


def takes_flag(span: Span) -> bool:
    """Whether a span is still open and will be exported, so that it may say that it is an exemplar."""
    return span.is_recording() and span.get_span_context().trace_flags.sampled


def current(span_context: SpanContext) -> Context:
    """A context in which the span of ``span_context`` is current."""
    return trace.set_span_in_context(NonRecordingSpan(span_context), Context())


def _follows(sampler: Any) -> tuple[bool, bool, bool, bool]:
    """Whether a span under a local unsampled, local sampled, remote unsampled, remote sampled parent is always sampled.

    True only for the SDK's own parent-based and constant samplers, whose answer is known without asking.
    """
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

    if sampler is ALWAYS_ON:
        return (True, True, True, True)
    if type(sampler) is not ParentBased:
        return (False, False, False, False)
    names = (
        "_local_parent_not_sampled",
        "_local_parent_sampled",
        "_remote_parent_not_sampled",
        "_remote_parent_sampled",
    )
    return tuple(getattr(sampler, name, None) is ALWAYS_ON for name in names)  # type: ignore[return-value]


def _looks_at_the_end_only(processor: Any) -> bool:
    """Whether a span processor has nothing of its own before ``on_end``: then a span may be made when it is over."""
    kind = type(processor)
    hooks = (getattr(kind, "on_start", None), getattr(kind, "_on_ending", None))
    return all(hook is None or hook.__module__.startswith("opentelemetry.sdk.trace") for hook in hooks) and not (
        hasattr(processor, "_span_processors")  # a processor of processors: theirs may look earlier
    )
