"""The advisor's own questions to databases are not observed as the application's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context

from dbvitals_instrumentation.telemetry import SUPPRESS


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, instrumentations are silent: ours, and all that obey OpenTelemetry's key."""
    token = context.attach(context.set_value(SUPPRESS, True))
    try:
        yield
    finally:
        context.detach(token)
