"""Values for a query's binds: from samples as text, or drawn from the database's own statistics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dbvitals_processors.hints.binds import Bound
from dbvitals_processors.hints.explain.drawing import DRAWS, of_column, uses
from dbvitals_processors.hints.model import Catalogue, Column, WorkloadQuery

Text = str | None

LIMIT = "20"


def text(value: Any) -> Text:
    """A value as PostgreSQL reads it from text."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list | tuple | set | frozenset):
        if any(isinstance(one, dict) for one in value):
            return json.dumps(list(value))
        return "{" + ",".join(_element(one) for one in value) + "}"
    return str(value)


def _element(value: Any) -> str:
    one = text(value)
    if one is None:
        return "NULL"
    if isinstance(value, list | tuple):
        return one
    return '"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(value: Text) -> str:
    """Text as a literal whose type PostgreSQL finds by itself."""
    if value is None:
        return "NULL"
    quoted = "'" + value.replace("'", "''") + "'"
    return f" E{quoted}".replace("\\", "\\\\") if "\\" in value else quoted


def from_statistics(
    bound: Bound, query: WorkloadQuery, catalogue: Catalogue, types: Sequence[str]
) -> list[tuple[Text, ...]]:
    """Up to three sets of values, drawn from what each bind is compared with."""
    compared = uses(query, catalogue)
    sets = []
    for draw in DRAWS:
        sets.append(
            tuple(_drawn(compared.get(n), types[n] if n < len(types) else "", draw) for n in range(len(bound.keys)))
        )
    return list(dict.fromkeys(sets))


def guesses(bound: Bound, query: WorkloadQuery, catalogue: Catalogue, types: Sequence[str]) -> tuple[Text, ...]:
    """One set of values where PostgreSQL cannot tell the binds' types."""
    return from_statistics(bound, query, catalogue, types)[0]


def _drawn(compared: tuple[str, Column | None] | None, kind: str, draw: float) -> Text:
    use, column = compared or ("", None)
    if use == "limit":
        return LIMIT
    if use == "offset":
        return "0"
    value = _of_column(column, use, draw) if column is not None else None
    if value is None:
        value = _DEFAULTS.get(kind.removesuffix("[]"), "1" if kind in _NUMBERS else "x" if kind in _TEXTS else None)
    if value is None:
        return None
    if use in ("like", "ilike"):
        return value[:3] + "%"
    return "{" + _element(value) + "}" if kind.endswith("[]") else value


def _of_column(column: Column, use: str, draw: float) -> Text:
    value = of_column(column, use, draw, spread=0.02)
    return column.common[0][0] if value is None and column.common else value


_NUMBERS = frozenset(("integer", "bigint", "smallint", "numeric", "real", "double precision"))
_TEXTS = frozenset(("text", "character varying", "character", "citext", "name"))
_DEFAULTS = {
    "boolean": "true",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "jsonb": "{}",
    "json": "{}",
    "date": "2024-01-01",
    "timestamp with time zone": "2024-01-01",
    "timestamp without time zone": "2024-01-01",
    "interval": "1 day",
    "tsquery": "x",
    "inet": "127.0.0.1",
    "bytea": "",
}
