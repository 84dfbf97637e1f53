"""Which indexes of a table another one makes superfluous."""

from __future__ import annotations

import re

from dbvitals_processors.hints.model import Candidate, Index, Key, Table

MOST_TIMES = 5.0
"""An index that is so much larger is no stand-in: reading it costs more than its keys tell."""

_COLLATION = re.compile(r'COLLATE (?:"[^"]*"|[\w.])+')
_STORAGE = re.compile(r" (?:WITH \([^)]*\)|TABLESPACE \S+)")


def better_twin(index: Index, table: Table) -> Index | None:
    """The one to keep of several that are the same, if it is not ``index``."""
    if not index.valid:
        return None
    same = [one for one in table.indexes if one is index or _same(one, index)]
    best = min(same, key=lambda one: (not one.constraint, not one.unique, -(one.scans or 0), one.bytes, one.name))
    return None if best is index or (index.unique and not best.unique) else best


def longer_one(index: Index, table: Table) -> Index | None:
    """An index that begins with another's keys and has all that it has, and more."""
    for one in sorted(table.indexes, key=lambda one: (one.bytes, one.name)):
        if one is index or not one.valid or one.method != "btree" or _COLLATION.search(one.definition):
            continue
        wide = one.bytes > MOST_TIMES * index.bytes > 0
        more = len(one.keys) > len(index.keys) or set(one.include) > set(index.include)
        if more and not wide and _stands_for(one.keys, one.include, one.where, index):
            return one
    return None


def begins_with(candidate: Candidate, index: Index) -> bool:
    """Whether a candidate would do all that an index does."""
    if candidate.method != "btree":
        return False
    return _stands_for(candidate.keys, candidate.include, candidate.where, index)


def _stands_for(keys: tuple[Key, ...], include: tuple[str, ...], where: str, index: Index) -> bool:
    """Whether these keys do what an index does; never what one that is unique, or has a collation of its own, does."""
    if index.unique or index.constraint or not index.valid or index.method != "btree" or not index.keys:
        return False
    if _COLLATION.search(index.definition) or _bare(where) != _bare(index.where):
        return False
    have = {*include, *(key.column for key in keys)}
    return _alike(keys[: len(index.keys)], index.keys) and set(index.include) <= have


def _same(one: Index, other: Index) -> bool:
    if not one.valid or one.method != other.method or _bare(one.where) != _bare(other.where):
        return False
    if set(one.include) != set(other.include) or _collations(one) != _collations(other):
        return False
    if one.method != "btree" or (one.unique and other.unique):  # parameters of operator classes, NULLS NOT DISTINCT
        return _parts(one.definition) == _parts(other.definition) and _alike(one.keys, other.keys)
    return _alike(one.keys, other.keys)


def _collations(index: Index) -> list[str]:
    return _COLLATION.findall(index.definition)


def _parts(definition: str) -> str:
    return _STORAGE.sub("", definition.partition(" USING ")[2])


def _alike(keys: tuple[Key, ...], others: tuple[Key, ...]) -> bool:
    """Whether they give the same order, read forwards or backwards."""
    mine = [_directed(key) for key in keys]
    return mine in ([_directed(key) for key in others], [_directed(key, turned=True) for key in others])


def _directed(key: Key, *, turned: bool = False) -> tuple[str, str, bool, bool]:
    nulls_first = key.descending if key.nulls_first is None else key.nulls_first
    whole = (
        key.column if key.column is not None and not key.sql.endswith(")") else key.sql
    )  # MySQL: the first characters
    return whole, key.opclass, key.descending != turned, nulls_first != turned


def _bare(where: str) -> str:
    while where.startswith("(") and where.endswith(")") and "(" not in where[1:-1]:
        where = where[1:-1]
    return where
