"""A query's binds filled with literals: from samples, or from the database's statistics.

For databases without types for binds (SQLite, MySQL); PostgreSQL's are filled by :mod:`.pg_values`.
"""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Sequence
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from dbvitals_processors.hints import parsing
from dbvitals_processors.hints.binds import Bound, split
from dbvitals_processors.hints.model import Catalogue, Column, Unplannable, WorkloadQuery
from dbvitals_processors.hints.predicates import bind_number
from dbvitals_processors.hints.terms import Resolver

MOST_SAMPLES = 3
DRAWS = (0.5, 0.85, 0.2)
"""Where in a column's distribution the values of the sets are."""
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
    compared = _compared(query, catalogue)
    return [
        tuple(_value(*compared.get(number, ("", None)), draw) for number in range(len(bound.keys))) for draw in DRAWS
    ]


def _compared(query: WorkloadQuery, catalogue: Catalogue) -> dict[int, tuple[str, Column | None]]:
    """For each bind how it is used, and the column that it is compared with."""
    try:
        tree = parsing.as_query(parsing.parse(query.sql, catalogue.system))
        scopes = list(traverse_scope(tree)) if tree is not None else []
    except (Unplannable, SqlglotError, RecursionError):
        return {}
    resolver = Resolver(catalogue, parsing.DIALECTS[catalogue.system], {}, {})
    found: dict[int, tuple[str, Column | None]] = {}
    for scope in scopes:
        for bind in scope.expression.find_all(exp.Placeholder):
            node = bind.parent
            while node is not None and not isinstance(node, exp.Predicate | exp.Limit | exp.Offset | exp.Select):
                node = node.parent
            if node is None or found.get(bind_number(bind), ("", None))[1] is not None:
                continue
            column = None
            for one in node.find_all(exp.Column) if isinstance(node, exp.Predicate) else ():
                place = resolver.resolve(one, scope)
                table = resolver.tables(scope)[place[0]] if place is not None else None
                if place is not None and table is not None:
                    column = table.columns[place[1]]
                    break
            found[bind_number(bind)] = (node.key, column)
    return found


def _value(use: str, column: Column | None, draw: float) -> Any:
    """By frequency for equality; near the end for a range, since services ask for what is new."""
    if use in ("limit", "offset"):
        return _LIMIT if use == "limit" else 0
    if column is None:
        return 1
    if use in ("gt", "gte", "lt", "lte", "between") and column.bounds:
        at = {"gt": 0.97, "gte": 0.97, "lt": 0.03, "lte": 0.03}.get(use, draw)
        return _typed(column, column.bounds[int(at * (len(column.bounds) - 1))])
    below = 0.0
    found: str | None = None
    for value, share in column.common:
        below += share
        if below >= draw:
            found = value
            break
    if found is None and column.bounds:
        found = column.bounds[int(draw * (len(column.bounds) - 1))]
    if found is None:
        return 1
    return found[:3] + "%" if use in ("like", "ilike") else _typed(column, found)


def _typed(column: Column, text: str) -> Any:
    kind = column.type.lower()
    number = any(word in kind for word in ("int", "dec", "num", "real", "double", "float", "bool"))
    try:
        return (float(text) if "." in text else int(text)) if number else text
    except ValueError:
        return text
