"""The only reader of raw attributes of pool spans: checkouts and long holds of a connection."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan

from dbvitals_instrumentation import semconv


@dataclass(frozen=True, slots=True)
class PoolSpan:
    """A checkout, which lasts while somebody waits for a connection, or a hold, which lasts while somebody has it.

    Attributes:
        pool: its name.
        held: whether it is a hold.
        start, end: Unix time in nanoseconds.
        new: whether the wait was for a new connection to be made.
        failed: whether the wait was in vain.
    """

    pool: str
    held: bool
    start: int
    end: int
    new: bool
    failed: bool
    span_id: int
    parent_id: int | None


def read(span: ReadableSpan) -> PoolSpan | None:
    """The checkout or the hold that a span tells of, ``None`` for any other."""
    if span.name not in (semconv.CHECKOUT_SPAN, semconv.HOLD_SPAN):
        return None
    attributes = span.attributes or {}
    pool = attributes.get(semconv.POOL_NAME)
    if pool is None:
        return None
    return PoolSpan(
        str(pool),
        span.name == semconv.HOLD_SPAN,
        span.start_time or 0,
        span.end_time or 0,
        bool(attributes.get(semconv.POOL_NEW_CONNECTION)),
        semconv.ERROR_TYPE in attributes,
        span.context.span_id if span.context is not None else 0,
        span.parent.span_id if span.parent is not None else None,
    )
