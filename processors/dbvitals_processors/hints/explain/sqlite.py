"""SQLite's planner, asked on a copy in memory of the schema and its statistics, where candidates really are built."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from dbvitals_processors.hints.explain import sqlite_plan
from dbvitals_processors.hints.explain.asked import Block, blocks
from dbvitals_processors.hints.explain.evaluating import Evaluator
from dbvitals_processors.hints.explain.filling import filled
from dbvitals_processors.hints.explain.paths import Shape, of_candidate, of_index
from dbvitals_processors.hints.explain.sqlite_catalogue import Reader
from dbvitals_processors.hints.explain.sqlite_copy import Copy
from dbvitals_processors.hints.model import AdvisorError, Candidate, Catalogue, Estimate, Unplannable, WorkloadQuery

BUSY = 1.0
"""Seconds to wait for a writer."""
_WAL = b"\x02\x02"


@contextmanager
def connect(url: str | URL) -> Iterator[Connection]:
    """A connection that can only read.

    Raises:
        AdvisorError: there is no such file, or it is no SQLite database.
    """
    path = _path(make_url(url))
    mode = "mode=ro" + ("&immutable=1" if _at_rest(path) else "")
    uri = f"file:{quote(str(path.resolve()))}?{mode}"
    engine = create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True, timeout=BUSY), poolclass=NullPool
    )
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
            yield connection
    except SQLAlchemyError as error:
        raise AdvisorError(f"{path}: {_reason(error)}") from None


def _path(url: URL) -> Path:
    name = url.database or ""
    if name.startswith("file:"):
        name = unquote(name.removeprefix("file:").partition("?")[0])
    if name in ("", ":memory:"):
        raise AdvisorError("a SQLite database in memory cannot be read from outside: name a file, sqlite:///shop.db")
    path = Path(name)
    if not path.is_file():
        raise AdvisorError(f"{path}: there is no such file; sqlite:/// is relative, sqlite://// absolute")
    return path


def _at_rest(path: Path) -> bool:
    """Whether it keeps a write-ahead log that nobody has open: reading it the usual way would leave files behind."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(20)[18:20] == _WAL and not Path(f"{path}-wal").exists()
    return False


def _reason(error: SQLAlchemyError) -> str:
    text = str(getattr(error, "orig", None) or error).partition("\n")[0]
    if "locked" in text:
        return f"{text}; try again once the writer is done"
    return f"{text}; is it a SQLite database that you may read?"


class SqlitePlanner:
    """Asks a copy. Not safe for several threads.

    Args:
        connection: from :func:`connect`; read once, never written to.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.what_if_calls = 0
        original: Any = connection.connection.dbapi_connection
        self._reader = Reader(original)
        try:
            self._catalogue = self._reader.read()
            self._copy = Copy(original, self._reader, self._catalogue)
        except (sqlite3.Error, Unplannable) as error:
            raise AdvisorError(f"the database cannot be read: {error}") from None
        self._evaluate = Evaluator("sqlite", self._value, own=True)
        self._read: dict[str, list[tuple[str, tuple[Block, ...]]]] = {}
        self._estimates: dict[tuple[str, frozenset[Candidate]], Estimate] = {}

    def close(self) -> None:
        """Forget the copy."""
        self._copy.close()

    def catalogue(self) -> Catalogue:
        """Tables, with statistics from a sample of their rows; read once."""
        return self._catalogue

    def why_impossible(self, candidate: Candidate) -> str | None:
        """Why SQLite would not build an index."""
        return self._copy.failed.get(candidate)

    def size(self, candidate: Candidate) -> int:
        """Bytes: a header of one byte a value, the values, the row's number, a pointer; pages are built nearly full."""
        table = self._catalogue.tables[candidate.table]
        widths = [table.columns[one].width if one in table.columns else 16.0 for one in candidate.columns]
        each = sum(widths) + len(widths) + 2 + 4 + 3
        return (2 + int(table.rows * self.selectivity(candidate) * each / 0.97 / 4096)) * 4096

    def selectivity(self, candidate: Candidate) -> float:
        """Share of a table's rows that a partial index holds, in the sample."""
        return self._copy.share(candidate)

    def estimate(self, query: WorkloadQuery, indexes: frozenset[Candidate] = frozenset()) -> Estimate:
        """Mean cost of the query over its parameter sets; remembered."""
        known = self._estimates.get((query.id, indexes))
        if known is None:
            known = self._estimates[query.id, indexes] = self._ask(query, indexes)
        return known

    def _ask(self, query: WorkloadQuery, indexes: frozenset[Candidate]) -> Estimate:
        asked = self._read.get(query.id)
        if asked is None:
            texts = filled(query, self._catalogue)
            asked = self._read[query.id] = [(one, blocks(one, self._catalogue, self._evaluate)) for one in texts]
        self._copy.have(indexes)
        new = {name: of_candidate(one, self._copy.averages(one)[1:]) for one, name in self._copy.built.items()}
        total, used, text = 0.0, set[str](), ""
        for sql, read in asked:
            self.what_if_calls += 1
            plan = sqlite_plan.tree(self._copy.run(f"EXPLAIN QUERY PLAN {sql}"))
            used |= sqlite_plan.index_names(plan)
            text = text or sqlite_plan.as_text(plan)
            total += sqlite_plan.Pricer(read, {**self._existing, **new}, self._primary).cost(plan)
        chosen = frozenset(one for one, name in self._copy.built.items() if name in used)
        return Estimate(total / len(asked), chosen, text, "explain")

    @cached_property
    def _existing(self) -> dict[str, Shape]:
        return {
            index.name: of_index(index, self._reader.averages.get(index.name, ())[1:])
            for table in self._catalogue.tables.values()
            for index in table.indexes
        }

    @cached_property
    def _primary(self) -> dict[str, Shape]:
        return {
            table.name.name: of_index(index, clustered=True)
            for table in self._catalogue.tables.values()
            for index in table.indexes
            if index.name == "PRIMARY KEY" or tuple(key.column for key in index.keys) == table.primary_key
        }

    def _value(self, text: str) -> Any:
        try:
            return self._copy.run(f"SELECT {text}")[0][0]
        except Unplannable as reason:
            raise ValueError(str(reason)) from None
