"""What each database's indexes can be: a candidate made to fit, or dropped where nothing of it is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dbvitals_processors.hints.model import Candidate, Catalogue, Column, Key, Table, quoted

MOST_KEYS = 6
_LONG = ("text", "blob", "tinytext", "mediumtext", "longtext", "tinyblob", "mediumblob", "longblob")
_PREFIX = 100
"""Characters of a long text that go into a MySQL index, which holds at most 3,072 bytes."""
_FUNCTIONAL, _DESCENDING = 80_013, 100_800
"""The first MySQL with indexes on expressions, and the first MariaDB with descending ones."""


def fitted(candidate: Candidate, catalogue: Catalogue) -> Candidate | None:
    """The candidate as the database can build it; ``None`` where it cannot."""
    rule = _RULES.get(catalogue.system)
    table = catalogue.tables.get(candidate.table)
    return candidate if rule is None or table is None else rule(candidate, table, catalogue)


def _sqlite(candidate: Candidate, table: Table, catalogue: Catalogue) -> Candidate | None:
    """No INCLUDE, no operator classes, no order of NULLs: what would be included is appended; row ids are there."""
    rowid = {key.column for index in table.indexes if index.name == "PRIMARY KEY" for key in index.keys}
    keys = [replace(key, opclass="", nulls_first=None) for key in _without(_all_keys(candidate), rowid)]
    if not keys or candidate.method != "btree" or len(keys) > MOST_KEYS:
        return None
    return replace(candidate, keys=tuple(keys), include=())


def _mysql(candidate: Candidate, table: Table, catalogue: Catalogue) -> Candidate | None:
    """Neither INCLUDE nor partial indexes; the primary key is in each index anyway; expressions in MySQL 8 alone."""
    if candidate.method != "btree" or candidate.where:
        return None
    keys = _without(_all_keys(candidate), set(table.primary_key) if len(table.primary_key) == 1 else set())
    maria = catalogue.system == "mariadb"
    if (
        not keys
        or len(keys) > MOST_KEYS
        or (any(key.column is None for key in keys) and (maria or catalogue.version < _FUNCTIONAL))
    ):
        return None
    descends = not maria or catalogue.version >= _DESCENDING
    if not descends and len({key.descending for key in keys}) > 1:
        return None
    if candidate.include and any(_is_long(table.columns.get(key.column or "")) for key in keys):
        return None  # a prefix covers nothing
    return replace(candidate, keys=tuple(_mysql_key(key, table, descends=descends) for key in keys), include=())


def _mysql_key(key: Key, table: Table, *, descends: bool) -> Key:
    column = table.columns.get(key.column or "")
    sql = ticked(key.column) if key.column is not None else f"({key.sql})"
    if _is_long(column):
        sql += f"({_PREFIX})"
    return Key(sql, key.column, key.descending and descends)


def _is_long(column: Column | None) -> bool:
    if column is None:
        return False
    kind, _, rest = column.type.partition("(")
    length = rest.partition(")")[0]
    return kind in _LONG or (kind in ("varchar", "char", "varbinary") and length.isdigit() and int(length) > 768)


def _without(keys: Sequence[Key], primary: set[str | None]) -> list[Key]:
    """Keys without those that follow in each index anyway; none if they lead: the table itself has that order."""
    if keys[0].column in primary and len(keys) > 1:
        return []
    end = _last_other(keys, primary)
    return [key for number, key in enumerate(keys) if key.column not in primary or number < end]


def _last_other(keys: Sequence[Key], primary: set[str | None]) -> int:
    """The place of the last key that is not the primary one's; of one that descends against the rest, too."""
    return max((n for n, key in enumerate(keys) if key.column not in primary or key.descending), default=0) + 1


def _all_keys(candidate: Candidate) -> tuple[Key, ...]:
    return candidate.keys + tuple(Key(quoted(name), name) for name in candidate.include)


def ticked(name: str) -> str:
    """A name as MySQL quotes it."""
    return "`" + name.replace("`", "``") + "`"


def dormant(candidate: Candidate, catalogue: Catalogue) -> str | None:
    """What wakes an index that exists, is the same as the candidate, and is not used; ``None`` where there is none."""
    table = catalogue.tables.get(candidate.table)
    ours = [(key.column or key.sql, key.descending) for key in candidate.keys]
    for index in table.indexes if table is not None else ():
        theirs = [(key.column or key.sql, key.descending) for key in index.keys]
        if not index.valid and theirs == ours and index.where == candidate.where:
            wake = _WAKE.get(catalogue.system)
            if wake is not None:
                return wake.format(table=ticked(candidate.table.name), index=ticked(index.name), name=index.name)
    return None


_WAKE = {
    "mysql": "it exists, as {name}, but is invisible: ALTER TABLE {table} ALTER INDEX {index} VISIBLE",
    "mariadb": "it exists, as {name}, but is ignored: ALTER TABLE {table} ALTER INDEX {index} NOT IGNORED",
}
_RULES = {"sqlite": _sqlite, "mysql": _mysql, "mariadb": _mysql}
