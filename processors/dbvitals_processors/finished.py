"""Finished spans of the SDK, which are frozen: a look at their attributes, and copies with more of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    """The attributes as a dictionary, not to be changed.

    The SDK's bounded mapping takes its time for each name; of a span that has ended it is frozen, so that what is in it
    can be looked at without a copy.
    """
    attributes: Any = getattr(span, "_attributes", None)
    inside = getattr(attributes, "_dict", attributes)
    return inside if type(inside) is dict else dict(span.attributes or {})


def with_attributes(span: ReadableSpan, more: Mapping[str, Any]) -> ReadableSpan:
    """A copy of a span with more attributes, which may exceed its limits; what those have dropped stays counted."""
    copied: ReadableSpan = object.__new__(type(span))
    vars(copied).update(vars(span))  # as copy.copy does it, in a quarter of the time
    attributes: Any = {**attributes_of(span), **more}
    if span.dropped_attributes:
        attributes = BoundedAttributes(attributes=attributes)
        attributes.dropped = span.dropped_attributes
    copied._attributes = attributes
    return copied
