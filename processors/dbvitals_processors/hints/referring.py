"""Which indexes find the rows that refer to a row of another table."""

from __future__ import annotations

from collections.abc import Sequence

from dbvitals_processors.hints.model import Candidate, ForeignKey, Index, Table, quoted

ENOUGH = 0.01
"""A column of several tells enough alone if each of its values has this share of the rows' number at most."""


def finds(index: Index | Candidate, key: ForeignKey, table: Table) -> bool:
    """Whether an index finds the rows that refer to one row: by all columns of the key, or one that tells enough."""
    if index.method not in ("btree", "hash") or (isinstance(index, Index) and not index.valid):
        return False
    if index.where and index.where.strip("()") not in not_null(key.columns):
        return False
    leading = [one.column for one in index.keys[: len(key.columns)]]
    if set(leading) == set(key.columns):
        return True
    first = table.columns.get(leading[0] or "") if leading and leading[0] in key.columns else None
    return first is not None and first.distinct >= ENOUGH * table.rows


def not_null(columns: Sequence[str]) -> list[str]:
    """Conditions of partial indexes that find all referring rows nevertheless."""
    return [f"{quoted(column)} IS NOT NULL" for column in columns]


def needs(table: Table, index: Index) -> bool:
    """Whether an index is the only one that finds the rows of a foreign key."""
    others = [one for one in table.indexes if one is not index]
    return any(
        finds(index, key, table) and not any(finds(one, key, table) for one in others) for key in table.foreign_keys
    )
