"""Values for a query's binds: from samples as text, or drawn from the database's own statistics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from dbvitals_processors.hints import parsing
from dbvitals_processors.hints.binds import Bound
from dbvitals_processors.hints.model import Catalogue, Column, Unplannable, WorkloadQuery
from dbvitals_processors.hints.predicates import bind_number
from dbvitals_processors.hints.terms import Resolver

Text = str | None

DRAWS = (0.5, 0.85, 0.2)
"""Where in a column's distribution the values of the three sets are."""
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
    compared = _compared(query, catalogue)
    sets = []
    for draw in DRAWS:
        sets.append(
            tuple(_drawn(compared.get(n), types[n] if n < len(types) else "", draw) for n in range(len(bound.keys)))
        )
    return list(dict.fromkeys(sets))


def guesses(bound: Bound, query: WorkloadQuery, catalogue: Catalogue, types: Sequence[str]) -> tuple[Text, ...]:
    """One set of values where PostgreSQL cannot tell the binds' types."""
    return from_statistics(bound, query, catalogue, types)[0]


def _compared(query: WorkloadQuery, catalogue: Catalogue) -> dict[int, tuple[str, Column | None]]:
    """For each bind how it is used, and the column that it is compared with."""
    try:
        tree = parsing.parse(query.sql, catalogue.system)
        query_tree = parsing.as_query(tree)
        scopes = list(traverse_scope(query_tree)) if query_tree is not None else []
    except (Unplannable, SqlglotError):
        return {}
    resolver = Resolver(catalogue, "postgres", {}, {})
    found: dict[int, tuple[str, Column | None]] = {}
    for scope in scopes:
        for bind in scope.expression.find_all(exp.Placeholder):
            number = bind_number(bind)
            if number in found and found[number][1] is not None:
                continue
            use, column = "", None
            node = bind.parent
            while node is not None and not isinstance(node, exp.Select):
                if isinstance(node, exp.Limit | exp.Fetch | exp.Offset):
                    use = "limit" if not isinstance(node, exp.Offset) else "offset"
                    break
                if isinstance(node, exp.Predicate | exp.In | exp.Between | exp.Any):
                    use = use or node.key
                    if isinstance(node, exp.Any):
                        node = node.parent
                        continue
                    for one in node.find_all(exp.Column):
                        where = resolver.resolve(one, scope)
                        if where is not None:
                            table = resolver.tables(scope)[where[0]]
                            column = table.columns[where[1]] if table is not None else None
                            break
                    break
                node = node.parent
            found[number] = (use, column)
    return found


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
    """By frequency for equality; near the end for a range, since services ask for what is new."""
    if use in ("gt", "gte", "lt", "lte", "between") and column.bounds:
        at = {"gt": 0.97, "gte": 0.97, "lt": 0.03, "lte": 0.03}.get(use, draw)
        at = min(0.999, max(0.001, at + (draw - 0.5) * 0.02))
        return column.bounds[int(at * (len(column.bounds) - 1))]
    below = 0.0
    for value, share in column.common:
        below += share
        if below >= draw:
            return value
    if column.bounds:
        return column.bounds[int(draw * (len(column.bounds) - 1))]
    return column.common[0][0] if column.common else None


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
