"""What writes pay for an index.

Measured on PostgreSQL 15: an INSERT pays 4 to 5 µs for each row and index, where a planner's unit is 2.7 µs. An UPDATE
pays nothing while it is heap-only (HOT); once any index covers a column that it changes, it pays for every index of the
table, since the new row version needs an entry in each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dbvitals_processors.hints.model import Candidate, Catalogue, Table, TableName
from dbvitals_processors.hints.reading import Reading

UNITS = 1.7
"""Planner's units for one row's entry in one B-tree."""
_TIMES = {"gin": 8.0, "gist": 3.0, "brin": 0.05}


@dataclass(frozen=True, slots=True)
class Writes:
    """Rows an hour that are inserted into a table, and updates an hour by the columns that they change."""

    inserted: float = 0.0
    updated: Mapping[frozenset[str], float] = field(default_factory=dict)


def writes_of(readings: Iterable[tuple[Reading, float]]) -> dict[TableName, Writes]:
    """What a workload writes: readings with their calls an hour."""
    inserted: dict[TableName, float] = defaultdict(float)
    updated: dict[TableName, dict[frozenset[str], float]] = defaultdict(lambda: defaultdict(float))
    for reading, calls in readings:
        if reading.written is None:
            continue
        if reading.kind == "insert":
            inserted[reading.written.name] += calls * reading.rows
        elif reading.kind == "update":
            updated[reading.written.name][reading.changed] += calls
    return {name: Writes(inserted[name], dict(updated[name])) for name in {*inserted, *updated}}


def upkeep(
    candidates: Iterable[Candidate],
    catalogue: Catalogue,
    writes: Mapping[TableName, Writes],
    share_of: Callable[[Candidate], float],
) -> float:
    """Planner's units an hour for a set of new indexes; ``share_of``: the share of the rows a partial one holds."""
    by_table: dict[TableName, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.table in writes:
            by_table[candidate.table].append(candidate)
    return sum(_of_table(catalogue.tables[name], found, writes[name], share_of) for name, found in by_table.items())


def _of_table(
    table: Table, candidates: list[Candidate], written: Writes, share_of: Callable[[Candidate], float]
) -> float:
    entry = {one: UNITS * _TIMES.get(one.method, 1.0) * (share_of(one) if one.where else 1.0) for one in candidates}
    columns = {one: columns_of(one, table) for one in candidates}
    total = written.inserted * sum(entry.values())
    covered = frozenset(key.column for index in table.indexes for key in index.keys if key.column)
    for changed, calls in written.updated.items():
        if changed & covered:
            total += calls * sum(entry.values())
        elif any(changed & one for one in columns.values()):  # no longer heap-only: the old indexes pay as well
            total += calls * (sum(entry.values()) + UNITS * len(table.indexes))
    return total


def columns_of(candidate: Candidate, table: Table) -> frozenset[str]:
    """Every column that the index depends on."""
    text = " ".join([*(key.sql for key in (*candidate.keys, *candidate.stands_for)), candidate.where])
    named = {key.column for key in candidate.keys if key.column} | set(candidate.include)
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())
    return frozenset(named | {name for name in table.columns if name in words})
