"""What is wrong with the indexes and statistics that exist, by the catalogue alone.

Each rule looks at one table. An object has one remark at most, that of the first rule which has something to say.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from dbvitals_processors.hints.amounts import percent, rows, size
from dbvitals_processors.hints.explain.size import index_bytes
from dbvitals_processors.hints.model import (
    Candidate,
    Catalogue,
    ForeignKey,
    Index,
    Key,
    Remark,
    Table,
    TableName,
    quoted,
    quoted_name,
)
from dbvitals_processors.hints.redundant import begins_with, better_twin, longer_one
from dbvitals_processors.hints.referring import finds, needs, not_null

WEEK = 7 * 86_400.0
LEAST_BYTES = 1_000_000
"""An unused index that is smaller is not worth a person's time."""
LEAST_ROWS = 10_000
LEAST_REFERRED = 1_000
"""Of a smaller table, rows are hardly ever deleted: it is a list of countries, of states."""
STALE = 0.2
BLOATED = 2.5
LEAST_BLOAT = 50_000_000

_REBUILT = re.compile(r"_cc(new|old)\d*$")


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules may know beside the table."""

    catalogue: Catalogue
    advised: tuple[Candidate, ...]
    now: float
    partitions: frozenset[TableName]


Rule = Callable[[Table, Case], Iterable[Remark]]


def audit(catalogue: Catalogue, advised: Iterable[Candidate] = (), *, now: float | None = None) -> list[Remark]:
    """Remarks on existing indexes, missing ones behind foreign keys, and statistics.

    Args:
        advised: indexes that are advised already: what they mend is not remarked.
        now: Unix time; the clock's where it is ``None``.
    """
    case = Case(catalogue, tuple(advised), time.time() if now is None else now, _partitions(catalogue))
    tables = sorted(catalogue.tables.values(), key=lambda table: (-table.bytes, table.name))
    found: dict[str, Remark] = {}
    for rule in RULES:
        for table in tables:
            if table.kind in ("table", "partitioned") and table.name not in case.partitions:
                for remark in rule(table, case):
                    found.setdefault(remark.subject, remark)
    return list(found.values())


def _partitions(catalogue: Catalogue) -> frozenset[TableName]:
    """Tables that look like a partition: with the columns of a partitioned table. What is done is done to that one."""
    parents = {frozenset(table.columns) for table in catalogue.tables.values() if table.kind == "partitioned"}
    return frozenset(
        name
        for name, table in catalogue.tables.items()
        if table.kind == "table" and frozenset(table.columns) in parents
    )


# --- Rules ---------------------------------------------------------------------------------------------------------


def invalid(table: Table, case: Case) -> Iterator[Remark]:
    """What a build that failed has left: writes pay for it, and no query uses it."""
    for index in table.indexes:
        if index.valid:
            continue
        drop, building = _drop(index, table, case), "unless one is running"
        if case.catalogue.system != "postgresql":
            advice = f"Drop it or make it visible: no query uses it, and writes pay for it: {drop}"
        elif table.kind == "partitioned":
            advice = "Attach the partitions' indexes to it, no query uses it before: ALTER INDEX … ATTACH PARTITION …"
        elif _REBUILT.search(index.name):
            advice = f"Drop what a failed REINDEX CONCURRENTLY has left, {building}: {drop}"
        else:
            rebuild = f"REINDEX INDEX CONCURRENTLY {_name(index, table)}"
            advice = f"Rebuild what a failed CREATE INDEX CONCURRENTLY has left, {building}: {rebuild}"
        yield Remark("invalid index", _subject(index, table), advice)


def statistics(table: Table, case: Case) -> Iterator[Remark]:
    """Without statistics, or with old ones, plans are guesses, and so is this advice."""
    analyze = f"{'ANALYZE TABLE' if _is_mysql(case) else 'ANALYZE'} {quoted_name(table.name)}"
    if table.kind == "partitioned":
        columns = frozenset(table.columns)
        parts = (case.catalogue.tables[name] for name in case.partitions)
        if not table.analyzed and sum(one.rows for one in parts if frozenset(one.columns) == columns) >= LEAST_ROWS:
            why = "autovacuum never does that for a partitioned table as a whole"
            yield Remark("missing statistics", str(table.name), f"Gather them, {why}: {analyze}")
    elif not table.analyzed and table.rows >= LEAST_REFERRED:
        yield Remark("missing statistics", str(table.name), f"Gather them for {rows(table.rows)}: {analyze}")
    elif table.analyzed and table.stale_share > STALE and table.rows >= LEAST_ROWS:
        changed = percent(table.stale_share)
        yield Remark("stale statistics", str(table.name), f"Renew them, {changed} of the rows have changed: {analyze}")


def duplicate(table: Table, case: Case) -> Iterator[Remark]:
    """The same index twice."""
    for index in table.indexes:
        twin = better_twin(index, table)
        if twin is None:
            continue
        if index.constraint:
            advice = f"Drop one of two constraints, this or {_name(twin, table)}: their indexes are the same"
        else:
            advice = f"Drop it, {_name(twin, table)} is the same: {_drop(index, table, case)}"
        yield Remark("duplicate index", _subject(index, table), advice)


def overlapping(table: Table, case: Case) -> Iterator[Remark]:
    """An index whose keys another one begins with."""
    for index in table.indexes:
        other = longer_one(index, table)
        if other is not None:
            sizes = f" ({size(index.bytes)}; the other {size(other.bytes)})" if index.bytes and other.bytes else ""
            advice = f"Drop it, {_name(other, table)} begins with its keys{sizes}: {_drop(index, table, case)}"
            yield Remark("overlapping index", _subject(index, table), advice)


def superseded(table: Table, case: Case) -> Iterator[Remark]:
    """An index that an advised one makes superfluous."""
    for index in table.indexes:
        for one in case.advised:
            if one.table == table.name and begins_with(one, index):
                advice = f"Drop it once {one.name} is built, which begins with its keys: {_drop(index, table, case)}"
                yield Remark("superseded index", _subject(index, table), advice)


def foreign_keys(table: Table, case: Case) -> Iterator[Remark]:
    """Columns that refer to a table whose deletes look for them, one scan of this table for each."""
    if table.rows < LEAST_ROWS:
        return
    for key in table.foreign_keys:
        referred = case.catalogue.tables.get(key.refers_to)
        if referred is None or referred.rows < LEAST_REFERRED or not set(key.columns) <= table.columns.keys():
            continue
        indexes: list[Index | Candidate] = [*table.indexes]
        indexes += [one for one in case.advised if one.table == table.name]
        if any(finds(one, key, table) for one in indexes):
            continue
        advice = (
            f"Index it if rows of {quoted_name(key.refers_to)} are ever deleted, or joined to theirs in "
            f"{quoted_name(table.name)}: each time all {rows(table.rows)} are read: {_behind(key, table, case)}"
        )
        yield Remark("foreign key", f"{table.name} ({', '.join(key.columns)})", advice)


def unused(table: Table, case: Case) -> Iterator[Remark]:
    """Indexes that no query has used for a week, and that nothing needs: no constraint, no foreign key."""
    since = case.catalogue.since
    if since is None or case.now - since < WEEK:
        return
    day = datetime.fromtimestamp(since, timezone.utc).date()
    for index in table.indexes:
        needed = index.unique or index.constraint or not index.valid or needs(table, index)
        if index.scans != 0 or index.bytes < LEAST_BYTES or needed or _stands_in(index, table):
            continue
        advice = (
            f"Drop it, if replicas do not use it either: no query here has since {day}, and writes pay for its "
            f"{size(index.bytes)}: {_drop(index, table, case)}"
        )
        yield Remark("unused index", _subject(index, table), advice)


def bloated(table: Table, case: Case) -> Iterator[Remark]:
    """Indexes that would be far smaller if they were built anew."""
    if case.catalogue.system != "postgresql" or not table.analyzed or table.stale_share > STALE or table.rows < 1:
        return
    distinct = {name: replace(column, distinct=table.rows) for name, column in table.columns.items()}
    widest = replace(table, columns=distinct)  # as if no two rows shared a key: what it takes at most
    for index in table.indexes:
        if not index.valid or index.method != "btree" or index.where or any(key.column is None for key in index.keys):
            continue
        expected = index_bytes(Candidate(table.name, index.keys, index.include), widest)
        if index.bytes > BLOATED * expected and index.bytes - expected > LEAST_BLOAT:
            advice = (
                f"Rebuild it, it takes {size(index.bytes)} where {size(expected)} would do: "
                f"REINDEX INDEX CONCURRENTLY {_name(index, table)}"
            )
            yield Remark("bloated index", _subject(index, table), advice)


RULES: tuple[Rule, ...] = (
    invalid, statistics, duplicate, overlapping, superseded, foreign_keys, unused, bloated,
)  # fmt: skip


# --- Words and helpers ---------------------------------------------------------------------------------------------


def _stands_in(index: Index, table: Table) -> bool:
    """Whether another index is to go because this one is there."""
    return any(index in (better_twin(one, table), longer_one(one, table)) for one in table.indexes)


def _behind(key: ForeignKey, table: Table, case: Case) -> str:
    mostly_null = len(key.columns) == 1 and table.columns[key.columns[0]].null_share > 0.5
    candidate = Candidate(
        table.name,
        tuple(Key(quoted(column), column) for column in key.columns),
        where=not_null(key.columns)[0] if mostly_null and not _is_mysql(case) else "",
    )
    concurrently = case.catalogue.system == "postgresql" and table.kind == "table"
    return candidate.ddl(concurrently=concurrently, system=case.catalogue.system)


def _is_mysql(case: Case) -> bool:
    return case.catalogue.system in ("mysql", "mariadb")


def _name(index: Index, table: Table) -> str:
    return quoted_name(TableName(table.name.schema, index.name))


def _subject(index: Index, table: Table) -> str:
    return str(TableName(table.name.schema, index.name))


def _drop(index: Index, table: Table, case: Case) -> str:
    if _is_mysql(case):
        return f"DROP INDEX {index.name} ON {quoted_name(table.name)}"
    concurrently = "CONCURRENTLY " if case.catalogue.system == "postgresql" and table.kind == "table" else ""
    return f"DROP INDEX {concurrently}{_name(index, table)}"
