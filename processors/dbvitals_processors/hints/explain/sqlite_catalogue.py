"""A SQLite file's schema → :class:`Catalogue`; statistics from a sample of its rows, for SQLite keeps next to none."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from dbvitals_processors.hints.explain import sampled
from dbvitals_processors.hints.model import Catalogue, Column, ForeignKey, Index, Key, Table, TableName, quoted

MOST_COUNTED = 2_000_000
"""Rows up to which a table is counted; more are estimated by its row ids, or by what ANALYZE found."""
_PAGE = 4096

Averages = dict[str, tuple[float, ...]]


def ticked(name: str) -> str:
    """A name in quotes that can mean nothing else."""
    return '"' + name.replace('"', '""') + '"'


class Reader:
    """Reads one database; keeps each table's sample.

    Attributes:
        averages: by index, the rows of the table and then those for each value of its first key, first two, and so on.
        samples: by table, its columns and sampled rows.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._ask = connection.execute
        self.averages: Averages = {}
        self.counted: dict[str, float] = {}
        self.samples: dict[str, tuple[tuple[str, ...], list[Any]]] = {}

    def read(self) -> Catalogue:
        """Tables, views and indexes of the database itself."""
        self._read_stat1()
        found = {}
        for kind, name in self._ask(
            "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' "
            "ESCAPE '\\' AND coalesce(sql, '') NOT LIKE 'CREATE VIRTUAL%' ORDER BY name"
        ).fetchall():
            table = self._table(name, kind)
            found[table.name] = table
        version = "".join(f"{int(part):02}" for part in sqlite3.sqlite_version.split(".")[:3])
        return Catalogue("sqlite", found, (), version=int(version))

    def _read_stat1(self) -> None:
        with suppress(sqlite3.OperationalError):
            for table, index, stat in self._ask("SELECT tbl, idx, stat FROM sqlite_stat1"):
                numbers = tuple(float(word) for word in str(stat).split() if word.isdigit())
                if numbers:
                    self.counted[table] = numbers[0]
                    self.averages[index or table] = numbers

    def _table(self, name: str, kind: str) -> Table:
        own = TableName("", name)
        described = self._ask(f"PRAGMA table_xinfo({ticked(name)})").fetchall()
        described = [row for row in described if row[6] != 1]  # hidden columns of virtual tables
        names = tuple(row[1] for row in described)
        if kind == "view":
            return Table(own, {n: Column(n, t.lower()) for _, n, t, *_ in described}, kind="view")
        rows, sample = self._rows(name), self._sample(name, names)
        self.samples[name] = (names, sample)
        columns = {
            row[1]: sampled.column_of(row[1], row[2].lower(), bool(row[3]), [one[at] for one in sample], rows)
            for at, row in enumerate(described)
        }
        width = sum(column.width * (1 - column.null_share) + 1 for column in columns.values()) + 6
        size = int(rows * width)
        key = tuple(row[1] for row in sorted((r for r in described if r[5]), key=lambda r: r[5]))
        counted = self.counted.get(name)
        stale = abs(counted - rows) / max(1.0, rows) if counted is not None else 0.0
        return Table(
            own, columns, rows, max(1, size // _PAGE), size, key, tuple(self._indexes(name, key, described)),
            tuple(self._foreign_keys(name)), counted is not None or not rows, stale,
        )  # fmt: skip

    def _rows(self, name: str) -> float:
        counted = self._ask(f"SELECT count(*) FROM (SELECT 1 FROM {ticked(name)} LIMIT {MOST_COUNTED})").fetchone()[0]  # noqa: S608
        if counted < MOST_COUNTED:
            return float(counted)
        span = self._span(name)
        return max(float(counted), self.counted.get(name, span[1] - span[0] + 1.0 if span else 0.0))

    def _span(self, name: str) -> tuple[int, int] | None:
        with suppress(sqlite3.OperationalError):  # a table WITHOUT ROWID
            low = self._ask(f"SELECT min(rowid) FROM {ticked(name)}").fetchone()[0]  # noqa: S608
            high = self._ask(f"SELECT max(rowid) FROM {ticked(name)}").fetchone()[0]  # noqa: S608
            if isinstance(low, int) and isinstance(high, int):
                return low, high
        return None

    def _sample(self, name: str, columns: Sequence[str]) -> list[Any]:
        words = ", ".join(_short(ticked(column)) for column in columns)
        table, most = ticked(name), sampled.BLOCKS * sampled.BLOCK_ROWS
        span = self._span(name)
        if span is None:
            return self._ask(f"SELECT {words} FROM {table} LIMIT {most}").fetchall()  # noqa: S608
        points = sampled.points(*span)
        each = most if len(points) == 1 else sampled.BLOCK_ROWS
        block = f"SELECT {words} FROM {table} WHERE rowid >= ? AND rowid < ? ORDER BY rowid LIMIT {each}"  # noqa: S608
        ends = [*points[1:], span[1] + 1]
        return [row for low, high in zip(points, ends, strict=True) for row in self._ask(block, (low, high))]

    def _indexes(self, table: str, primary: tuple[str, ...], described: Sequence[Any]) -> list[Index]:
        listed = self._ask(f"PRAGMA index_list({ticked(table)})").fetchall()
        found = []
        if len(primary) == 1 and not any(row[3] == "pk" for row in listed):  # its row id goes by that name
            found.append(Index("PRIMARY KEY", (Key(quoted(primary[0]), primary[0]),), unique=True, constraint=True))
        for _, name, unique, origin, _partial in listed:
            sql = self._ask("SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?", (name,)).fetchone()
            ddl = (sql[0] if sql else None) or ""
            texts, where = key_texts(ddl)
            keys = []
            for number, _, column, turned, _, own in self._ask(f"PRAGMA index_xinfo({ticked(name)})"):
                if own:
                    text = quoted(column) if column else texts[number] if number < len(texts) else "?"
                    keys.append(Key(text, column, bool(turned)))
            found.append(
                Index(name, tuple(keys), (), where, "btree", bool(unique), origin != "c", definition=ddl)
            )  # fmt: skip
        return found

    def _foreign_keys(self, table: str) -> list[ForeignKey]:
        grouped: dict[int, list[Any]] = {}
        for row in self._ask(f"PRAGMA foreign_key_list({ticked(table)})"):
            grouped.setdefault(row[0], []).append(row)
        return [
            ForeignKey(
                str(number), tuple(r[3] for r in rows), TableName("", rows[0][2]), tuple(r[4] or "" for r in rows)
            )
            for number, rows in sorted(grouped.items())
        ]


def _short(column: str) -> str:
    return (
        f"CASE WHEN typeof({column}) IN ('text', 'blob') AND length({column}) > {sampled.LONGEST} "
        f"THEN substr({column}, 1, {sampled.LONGEST}) ELSE {column} END"
    )


def key_texts(ddl: str) -> tuple[list[str], str]:
    """The keys of a CREATE INDEX as they were written, and what follows WHERE."""
    start = ddl.find("(")
    if start < 0:
        return [], ""
    depth, quote, texts, text, end = 0, "", [], "", len(ddl)
    for place in range(start, len(ddl)):
        letter = ddl[place]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"`":
            quote = letter
        elif letter == "(":
            depth += 1
            if depth == 1:
                continue
        elif letter == ")":
            depth -= 1
            if not depth:
                end = place
                break
        elif letter == "," and depth == 1:
            texts.append(_bare(text))
            text = ""
            continue
        text += letter
    rest = ddl[end + 1 :].strip()
    where = rest[5:].strip() if rest[:5].upper() == "WHERE" else ""
    return [*texts, _bare(text)], where


def _bare(text: str) -> str:
    words = text.strip()
    for direction in (" DESC", " ASC"):
        if words.upper().endswith(direction):
            words = words[: -len(direction)].strip()
    return words
