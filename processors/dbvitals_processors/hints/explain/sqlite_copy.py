"""A SQLite database's schema and statistics in memory, where indexes can be built; beside it a sample of the rows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dbvitals_processors.hints.explain.sampled import distinct_of
from dbvitals_processors.hints.explain.sqlite_catalogue import Reader, ticked
from dbvitals_processors.hints.model import Candidate, Catalogue, Unplannable

_MOST_MISSING = 20


class Copy:
    """The copy. The schema ``main`` has empty tables and full statistics, ``sample`` has the sampled rows.

    Args:
        original: read here once.
        reader: of the original; its averages are completed for indexes that ANALYZE has not seen.

    Attributes:
        built: the candidates that exist now, with their names.
        failed: those that SQLite would not build, with the reason.
    """

    def __init__(self, original: Any, reader: Reader, catalogue: Catalogue) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._catalogue = catalogue
        self._existing = {index.name for table in catalogue.tables.values() for index in table.indexes}
        self._prefixes: dict[Candidate, tuple[float, ...]] = {}
        self.built: dict[Candidate, str] = {}
        self.failed: dict[Candidate, str] = {}
        try:
            self._copy_schema(original)
            self._copy_sample(reader.samples)
            self._copy_statistics(original, reader)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Forget it."""
        self._connection.close()

    def run(self, sql: str) -> list[Any]:
        """Run a statement; functions and collations of the application's own are made up as they prove to be missing.

        Raises:
            Unplannable: SQLite refuses it.
        """
        for _ in range(_MOST_MISSING):
            try:
                return self._connection.execute(sql).fetchall()
            except (sqlite3.Error, sqlite3.Warning) as error:
                missing = re.match(r"no such (function|collation sequence): (\S+)", str(error))
                if missing is None:
                    raise Unplannable(f"the database refuses it: {error}") from None
                if missing[1] == "function":
                    self._connection.create_function(missing[2], -1, lambda *_: None, deterministic=True)
                else:
                    self._connection.create_collation(missing[2], lambda one, other: (one > other) - (one < other))
        raise Unplannable("it uses too many functions that SQLite does not have")

    def share(self, candidate: Candidate) -> float:
        """Share of the sample's rows that a partial index holds."""
        if not candidate.where:
            return 1.0
        condition = f"avg(CASE WHEN {candidate.where} THEN 1.0 ELSE 0.0 END)"
        with suppress(Unplannable):
            found = self.run(f"SELECT {condition} FROM sample.{ticked(candidate.table.name)}")[0][0]  # noqa: S608
            return float(found) if found is not None else 1.0
        return 1.0

    def averages(self, candidate: Candidate, *, unique: bool = False) -> tuple[float, ...]:
        """Rows of an index, then rows for each value of its first key, of the first two, and so on, by the sample.

        Raises:
            Unplannable: a key is no expression that SQLite knows.
        """
        known = self._prefixes.get(candidate)
        if known is None:
            total = max(1.0, self._catalogue.tables[candidate.table].rows * self.share(candidate))
            keys = ", ".join(key.sql for key in candidate.keys)
            where = f" WHERE {candidate.where}" if candidate.where else ""
            rows = self.run(f"SELECT {keys} FROM sample.{ticked(candidate.table.name)}{where}")  # noqa: S608
            lengths = range(1, len(candidate.keys) + 1)
            each = (max(1.0, total / distinct_of([row[:length] for row in rows], total)) for length in lengths)
            known = self._prefixes[candidate] = (total, *each)
        return (*known[:-1], 1.0) if unique else known

    def have(self, wanted: frozenset[Candidate]) -> None:
        """Make exactly these indexes exist."""
        gone = [one for one in self.built if one not in wanted]
        new = sorted((one for one in wanted - self.built.keys() if one not in self.failed), key=lambda one: one.id)
        for candidate in gone:
            name = self.built.pop(candidate)
            self._connection.execute(f"DROP INDEX main.{ticked(name)}")
            self._connection.execute("DELETE FROM main.sqlite_stat1 WHERE idx = ?", (name,))
        for candidate in new:
            name = candidate.name
            while name in self._existing or name in self.built.values():
                name += "_"
            try:
                numbers = self.averages(candidate)
                self.run(f"CREATE INDEX {ticked(name)} {candidate.definition}")
            except Unplannable as reason:
                self.failed[candidate] = str(reason)
                continue
            self.built[candidate] = name
            self._tell(candidate.table.name, name, numbers)
        if gone or new:
            self._connection.execute("ANALYZE main.sqlite_master")

    # --- making it -----------------------------------------------------------------------------------------------

    def _copy_schema(self, original: Any) -> None:
        for (sql,) in original.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'trigger' AND substr(name, 1, 7) "
            "<> 'sqlite_' ORDER BY CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, rowid"
        ).fetchall():
            with suppress(Unplannable):  # shadow tables are there once their virtual table is
                self.run(sql)

    def _copy_sample(self, samples: Mapping[str, tuple[tuple[str, ...], list[Any]]]) -> None:
        self.run("ATTACH ':memory:' AS sample")
        tables = {name.name: table for name, table in self._catalogue.tables.items()}
        for name, (columns, rows) in samples.items():
            words = ", ".join(f"{ticked(one)} {_affinity(tables[name].columns[one].type)}" for one in columns)
            self.run(f"CREATE TABLE sample.{ticked(name)} ({words})")
            marks = ", ".join("?" * len(columns))
            self._connection.executemany(f"INSERT INTO sample.{ticked(name)} VALUES ({marks})", rows)  # noqa: S608

    def _copy_statistics(self, original: Any, reader: Reader) -> None:
        """What the user's ANALYZE found; estimates from the sample where there was none."""
        self.run("ANALYZE main")
        self.run("DELETE FROM main.sqlite_stat1")
        for table in self._catalogue.tables.values():
            if table.kind != "table" or not table.rows:
                continue
            name = table.name.name
            self._tell(name, None, reader.averages.get(name, (table.rows,))[:1])
            for index in table.indexes:
                if index.name == "PRIMARY KEY":
                    continue
                if index.name not in reader.averages:
                    with suppress(Unplannable):
                        same = Candidate(table.name, index.keys, (), index.where)
                        reader.averages[index.name] = self.averages(same, unique=index.unique)
                if index.name in reader.averages:
                    self._tell(name, index.name, reader.averages[index.name])
        with suppress(sqlite3.Error):  # where both this SQLite and the one that wrote them have such
            rows = original.execute("SELECT tbl, idx, neq, nlt, ndlt, sample FROM sqlite_stat4").fetchall()
            self._connection.executemany("INSERT INTO main.sqlite_stat4 VALUES (?, ?, ?, ?, ?, ?)", rows)
        self.run("ANALYZE main.sqlite_master")

    def _tell(self, table: str, index: str | None, numbers: tuple[float, ...]) -> None:
        text = " ".join(str(max(1, round(number))) for number in numbers)
        self._connection.execute("INSERT INTO main.sqlite_stat1 VALUES (?, ?, ?)", (table, index, text))


def _affinity(declared: str) -> str:
    return re.sub(r"[^a-z ]", "", declared)
