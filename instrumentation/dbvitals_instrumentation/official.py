"""Living beside OpenTelemetry's own instrumentations: find the span that they made, add to it, never make a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span

from dbvitals_instrumentation import semconv

_SQLALCHEMY_SPAN = "_otel_span"  # where opentelemetry-instrumentation-sqlalchemy keeps it on an execution context
_SCOPES = "opentelemetry.instrumentation."


def query_span(execution_context: Any) -> Span | None:
    """The span that opentelemetry-instrumentation-sqlalchemy began for this execution, while it is open."""
    span: Span | None = getattr(execution_context, _SQLALCHEMY_SPAN, None)
    return span if span is not None and (span.is_recording() or span.get_span_context().is_valid) else None


def current_span_of(library: str, context: Context) -> Span | None:
    """The current span, if the official instrumentation of ``library`` (``redis``) made it."""
    span = trace.get_current_span(context)
    scope = getattr(span, "instrumentation_scope", None)
    return span if getattr(scope, "name", None) == _SCOPES + library else None


def enrich(span: Span, attributes: Mapping[str, Any]) -> None:
    """Add to an open span what it lacks; its raw statement gives way to one without literals."""
    if not span.is_recording():
        return
    present = getattr(span, "attributes", None) or {}
    text = attributes.get(semconv.DB_QUERY_TEXT)
    added = {name: value for name, value in attributes.items() if name not in present or name == semconv.DB_QUERY_TEXT}
    if text is not None and semconv.OLD_DB_STATEMENT in present:
        added[semconv.OLD_DB_STATEMENT] = text
    span.set_attributes(added)
