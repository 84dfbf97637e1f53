"""Appends an sqlcommenter comment, so that the database's own logs name the trace.

Format: https://google.github.io/sqlcommenter/spec/ — keys sorted, keys and values URL-encoded, values in single
quotes; appended at the end, before a closing semicolon.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from opentelemetry import propagate
from opentelemetry.context import Context


def tags_of(context: Context, tags: Mapping[str, str]) -> dict[str, str]:
    """What the global propagator would send along (``traceparent``, ``tracestate``), and ``tags``."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    carrier.pop("baggage", None)  # may hold personal data, and the specification asks for trace context alone
    return {**tags, **carrier}


def comment(sql: str, tags: Mapping[str, str], *, formatted: bool = False) -> str:
    """``sql`` with a comment of ``tags``; as it is where it has a comment already or there is nothing to say.

    Args:
        formatted: the driver formats the text, so that a percent sign must be doubled.
    """
    if not tags or "/*" in sql or "--" in sql:
        return sql
    pairs = ",".join(f"{_encode(key)}='{_encode(value)}'" for key, value in sorted(tags.items()))
    body = sql.rstrip()
    end = ";" if body.endswith(";") else ""
    pairs = pairs.replace("%", "%%") if formatted else pairs
    return f"{body.removesuffix(';')} /*{pairs}*/{end}"


def _encode(text: str) -> str:
    return quote(text, safe="")
