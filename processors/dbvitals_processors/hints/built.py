"""Whether the index that a hint asks for is there."""

from __future__ import annotations

import re

from dbvitals_processors.hints.model import Candidate, Index, Key, Table


def index_of(candidate: Candidate, table: Table) -> Index | None:
    """The index that is what a hint asked for: by its name, or since it begins with the same keys."""
    ready = [index for index in table.indexes if index.valid]
    for index in ready:
        if index.name == candidate.name:
            return index
    wanted = [_plain(key) for key in candidate.keys]
    for index in ready:
        keys = [_plain(key) for key in index.keys[: len(wanted)]]
        same = keys == wanted or (
            index.method == "btree" and keys == [_plain(key, turned=True) for key in candidate.keys]
        )
        if same and index.method == candidate.method and _bare(index.where) == _bare(candidate.where):
            return index
    return None


def _plain(key: Key, *, turned: bool = False) -> tuple[str, bool, bool, str]:
    nulls_first = key.descending if key.nulls_first is None else key.nulls_first
    return key.column or _bare(key.sql), key.descending != turned, nulls_first != turned, key.opclass


def _bare(sql: str) -> str:
    """SQL without what one and the same expression may be written with and without: casts, brackets, spaces, quotes."""
    return re.sub(r"::[a-z]+(?: [a-z]+)*(?:\(\d+(?:,\d+)?\))?(?:\[\])?|[\s()\"`]", "", sql.lower())
