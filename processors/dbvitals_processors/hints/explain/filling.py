"""A query's binds filled with literals: from samples, or from the database's statistics.

For databases without types for binds (SQLite, MySQL); PostgreSQL's are filled by :mod:`.pg_values`.
"""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Sequence
from typing import Any

from dbvitals_processors.hints.binds import Bound, split
from dbvitals_processors.hints.explain.drawing import DRAWS, of_column, uses
from dbvitals_processors.hints.model import Catalogue, Column, WorkloadQuery

MOST_SAMPLES = 3
_LIMIT = 20


def filled(query: WorkloadQuery, catalogue: Catalogue) -> tuple[str, ...]:
    """The query's text with literals, once for each of a few sets of values."""
    bound = split(query.sql.strip().rstrip(";"))
    if not bound.keys:
        return (bound.text("?"),)
    sets = [values for one in query.parameters if (values := bound.values(one)) is not None]
    if not sets:
        sets = _drawn(bound, query, catalogue)
    backslash = catalogue.system in ("mysql", "mariadb")
    texts = list(dict.fromkeys(_text(bound, values, backslash=backslash) for values in sets))
    if len(texts) <= MOST_SAMPLES:
        return tuple(texts)
    return tuple(texts[number * len(texts) // MOST_SAMPLES] for number in range(MOST_SAMPLES))


def _text(bound: Bound, values: Sequence[Any], *, backslash: bool) -> str:
    words = [bound.pieces[0]]
    for place, piece in zip(bound.places, bound.pieces[1:], strict=True):
        value = values[place]
        if isinstance(value, list | tuple | set | frozenset):
            several = ", ".join(literal(one, backslash=backslash) for one in value) or "NULL"
            words.append(several if words[-1].rstrip().endswith("(") else f"({several})")
        else:
            words.append(literal(value, backslash=backslash))
        words.append(piece)
    return "".join(words)


def literal(value: Any, *, backslash: bool = False) -> str:
    """A value as a literal; ``backslash`` where the database takes a backslash for an escape."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float | decimal.Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"X'{bytes(value).hex()}'"
    if isinstance(value, dict):
        value = json.dumps(value)
    if isinstance(value, datetime.datetime):
        value = value.isoformat(sep=" ")
    text = str(value).replace("'", "''")
    return "'" + (text.replace("\\", "\\\\") if backslash else text) + "'"


def _drawn(bound: Bound, query: WorkloadQuery, catalogue: Catalogue) -> list[tuple[Any, ...]]:
    compared = uses(query, catalogue)
    return [
        tuple(_value(*compared.get(number, ("", None)), draw) for number in range(len(bound.keys))) for draw in DRAWS
    ]


def _value(use: str, column: Column | None, draw: float) -> Any:
    if use in ("limit", "offset"):
        return _LIMIT if use == "limit" else 0
    found = of_column(column, use, draw) if column is not None else None
    if column is None or found is None:
        return 1
    return found[:3] + "%" if use in ("like", "ilike") else _typed(column, found)


def _typed(column: Column, text: str) -> Any:
    kind = column.type.lower()
    number = any(word in kind for word in ("int", "dec", "num", "real", "double", "float", "bool"))
    try:
        return (float(text) if "." in text else int(text)) if number else text
    except ValueError:
        return text
