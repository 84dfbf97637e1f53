"""A hash that says of two queries in one trace that they were asked with the same parameters, and nothing else.

It is BLAKE2b, keyed: with 256 random bits that never leave the process (and its forks), and with the trace's id. So
nobody who sees a hash can try values until one fits, and one value has another hash in each trace.
"""

from __future__ import annotations

import hashlib
import marshal
import os
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context

MOST_PARAMETERS = 32
MOST_BYTES = 2048

_PLAIN = frozenset((datetime, date, time, timedelta, Decimal, UUID))
"""Types whose ``repr`` is the value; others are the application's, and their code is not called."""

_keyed = hashlib.blake2b(key=os.urandom(32), digest_size=8)


class ParametersHash:
    """Hashes the parameters of queries; remembers the last trace, as loops ask for it."""

    def __init__(self) -> None:
        self._last: tuple[Context | None, Any] = (None, None)

    def of(self, context: Context, plain: bytes) -> str | None:
        """16 hex digits for a query within a trace, ``None`` outside one, since there are no two queries to compare."""
        last = self._last
        keyed = last[1] if last[0] is context else self._key(context)
        if keyed is None:
            return None
        copied = keyed.copy()
        copied.update(plain)
        digest: str = copied.hexdigest()
        return digest

    def _key(self, context: Context) -> Any:
        """The hash's state for the trace of a context, ``None`` where there is no trace."""
        above = trace.get_current_span(context).get_span_context()
        keyed = None
        if above.is_valid:
            keyed = _keyed.copy()
            keyed.update(above.trace_id.to_bytes(16, "big"))
        self._last = (context, keyed)
        return keyed


def plain_of(statement: str, parameters: Any) -> bytes | None:
    """What is hashed: equal for the same text with the same parameters in this process.

    ``None`` for more than :data:`MOST_PARAMETERS` parameters or :data:`MOST_BYTES` bytes, or a parameter of a type of
    the application's. The text counts, too: literals in it are parameters that were written out.
    """
    if parameters and len(parameters) > MOST_PARAMETERS:
        return None
    try:
        told = marshal.dumps((hash(statement), parameters), 2)  # of this version, equal values have equal bytes
    except ValueError:
        plain = _plain(parameters)
        if plain is None:
            return None
        told = marshal.dumps((hash(statement), plain), 2)
    return told if len(told) <= MOST_BYTES else None


def _plain(parameters: Any) -> list[Any] | None:
    """Parameters as marshal takes them: dates, decimals and UUIDs as text; ``None`` where one is of another type."""
    named = hasattr(parameters, "items")
    plain: list[Any] = list(parameters) if named else []
    for value in parameters.values() if named else parameters:
        kind = type(value)
        if kind in _PLAIN:
            value = (kind.__name__, repr(value))
        plain.append(value)
    try:
        marshal.dumps(plain, 2)
    except ValueError:
        return None
    return plain
