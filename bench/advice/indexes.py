"""Indexes as the database describes them: built from anybody's DDL, weighed, and compared with an expert's warnings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from database import added
from psycopg import sql
from workload import Statement

DESCRIBED = """
    SELECT tables.relname, indexes.relname, amname, indpred IS NOT NULL, indexprs IS NOT NULL,
           pg_get_indexdef(indexrelid), pg_relation_size(indexrelid),
           ARRAY(SELECT pg_get_indexdef(indexrelid, k, true) FROM generate_series(1, indnkeyatts) AS k ORDER BY k)
    FROM pg_index JOIN pg_class AS indexes ON indexes.oid = indexrelid JOIN pg_class AS tables ON tables.oid = indrelid
    JOIN pg_am ON pg_am.oid = indexes.relam WHERE indexes.relname = ANY(%s) ORDER BY 1, 6
"""
_CREATE = re.compile(r"CREATE\s+(UNIQUE\s+)?INDEX\s+(CONCURRENTLY\s+)?", re.IGNORECASE)
_WRITE = re.compile(
    r'\s*(?:INSERT\s+INTO\s+"?(?P<into>\w+)|UPDATE\s+"?(?P<table>\w+)"?\s+(?:AS\s+\w+\s+)?SET\s+(?P<set>.*?)(?:\sWHERE\s|$))',
    re.IGNORECASE | re.DOTALL,
)


class Index(NamedTuple):
    """An index that exists."""

    table: str
    name: str
    method: str
    partial: bool
    computed: bool
    ddl: str
    bytes: int
    columns: tuple[str, ...]


class Built(NamedTuple):
    """What became of a list of DDL: the indexes, and those statements that failed, each with the reason."""

    indexes: tuple[Index, ...]
    failed: tuple[tuple[str, str], ...]

    @property
    def bytes(self) -> int:
        return sum(index.bytes for index in self.indexes)


def build(connection: psycopg.Connection[Any], ddl: Iterable[str]) -> Built:
    failed = []
    names = []
    for statement in ddl:
        before = added(connection)
        try:
            connection.execute(_CREATE.sub(lambda match: f"CREATE {match[1] or ''}INDEX ", statement, count=1))
        except psycopg.Error as error:
            failed.append((statement, str(error).splitlines()[0]))
        else:
            names += sorted(added(connection) - before)
    built = [
        Index(*row[:7], tuple(row[7])) for row in connection.execute(DESCRIBED, [names]).fetchall()
    ]  # expressions are estimated from statistics of their own
    for table in sorted({index.table for index in built if index.computed}):
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    return Built(tuple(sorted(built, key=lambda index: names.index(index.name))), tuple(failed))


def listed(index: Index, warnings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The warning that this index disregards. A partial index is not what an expert warns of, unless he says so."""
    keys = [_bare(column) for column in index.columns]
    for each in warnings:
        same = each["table"] == index.table and [_bare(column) for column in each["columns"]] == keys
        if same and index.method == each.get("method", "btree") and (not index.partial or each.get("partial")):
            return each
    return None


def _bare(column: str) -> str:
    column = re.sub(r"\s+(asc|desc|nulls\s+(first|last)|\w+_ops)\b", "", column.lower())
    return re.sub(r"::[a-z ]+|[\s\"()]", "", column)


def upkeep(indexes: Iterable[Index], statements: Iterable[Statement]) -> float:
    """Entries an hour that writes must add to these indexes, at most: a partial index may be spared some of them.

    An INSERT adds one to each index of its table; so does an UPDATE as soon as one of them knows a column that it sets,
    because then the row's new version is no longer heap-only.
    """
    entries = 0.0
    indexes = list(indexes)
    for statement in statements:
        match = _WRITE.match(statement.sql)
        if match is None:
            continue
        table = (match["into"] or match["table"]).lower()
        touched = [index for index in indexes if index.table == table]
        if match["into"] is None:
            columns = re.findall(r'"?(\w+)"?\s*=(?!=)', match["set"])
            pattern = re.compile(r"\b(" + "|".join(columns) + r")\b", re.IGNORECASE)
            if not any(pattern.search(index.ddl.partition(" USING ")[2]) for index in touched):
                continue
        entries += statement.calls * len(touched)
    return entries
