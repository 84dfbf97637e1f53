"""Living beside OpenTelemetry's own instrumentations: find the span that they made, add to it, never make a second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from dbvitals_instrumentation import semconv

MARK = "_otel_span"  # where opentelemetry-instrumentation-sqlalchemy keeps it on an execution context
_OURS = frozenset({semconv.DB_QUERY_TEXT, semconv.DB_OPERATION_NAME, semconv.DB_NAMESPACE})
_SCOPES = "opentelemetry.instrumentation."


def query_span(execution_context: Any) -> Span | None:
    """The span that opentelemetry-instrumentation-sqlalchemy began for this execution, while it is open."""
    span: Span | None = getattr(execution_context, MARK, None)
    return span if span is not None and (span.is_recording() or span.get_span_context().is_valid) else None


def current_span_of(library: str, context: Context) -> Span | None:
    """The current span, if the official instrumentation of ``library`` (``redis``) made it."""
    span = trace.get_current_span(context)
    scope = getattr(span, "instrumentation_scope", None)
    return span if getattr(scope, "name", None) == _SCOPES + library else None


def enrich(span: Span, attributes: Mapping[str, Any]) -> None:
    """Add to an open span what it lacks; its raw statement gives way to one without literals.

    Operation and namespace give way too, where the stable names are there: theirs joins the two (``SELECT shop``).
    """
    if not span.is_recording():
        return
    present = getattr(span, "attributes", None) or {}
    added = {name: value for name, value in attributes.items() if name not in present or name in _OURS}
    # A statement is replaced also where ours is not to be shown: theirs holds literals.
    text = attributes.get(semconv.DB_QUERY_TEXT) or attributes.get(semconv.DB_QUERY_SUMMARY, "?")
    for name in (semconv.DB_QUERY_TEXT, semconv.OLD_DB_STATEMENT):
        if name in present:
            added[name] = text
    span.set_attributes(added)


def fail(span: Span, description: str) -> None:
    """End an open span as failed, in our words: those of the database, which its maker would use, may hold data."""
    if span.is_recording():
        span.set_status(Status(StatusCode.ERROR, description))
        span.end()


def let_go(span: Span, execution_context: Any) -> None:
    """Have the maker of a query span that has ended look for it in vain: it would end it again, which is logged."""
    if not span.is_recording():
        setattr(execution_context, MARK, None)
