"""Calls that were logged one by one, added up for each statement, with a fair sample of their values."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dbvitals_processors.hints.model import WorkloadQuery
from dbvitals_processors.hints.sources.literals import Bound, bound
from dbvitals_processors.hints.sources.merging import costliest_first, per_hour
from dbvitals_processors.hints.sources.sql import Unreadable, fingerprint, is_workload, split

SAMPLES = 5
MOST_STATEMENTS = 10_000
"""Statements that are told apart; beyond them the cheapest tenth is forgotten."""


_VALUES = re.compile(r"'(?:[^']|'')*'|\b[0-9]+(?:\.[0-9]+)?\b")
_TRICKY = re.compile(r"--|/\*|[\\\"`#$]")
"""With these in it, an apostrophe may stand where no literal begins."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a log.

    Attributes:
        at: Unix time, or the log's own; ``None`` where it has none.
        sql: empty for an entry that tells of no statement.
        calls: 0 for a further part of a call, such as a fetch.
        values: parameters by position, where they were logged beside the text.
        database: empty where the log does not say.
    """

    at: float | None = None
    sql: str = ""
    seconds: float | None = None
    values: Sequence[Any] | None = None
    calls: int = 1
    database: str = ""


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    seconds: float | None = None
    seen: int = 0
    examples: list[tuple[str, Sequence[Any] | None]] = field(default_factory=list)


class Tally:
    """Adds entries up."""

    def __init__(self, system: str, database: str | None = None) -> None:
        self._system = system
        self._database = database
        self._sums: dict[str, _Sum] = {}
        self._prints: dict[str, str | None] = {}
        self._first: float | None = None
        self._last: float | None = None
        self._random = random.Random(0)  # the same log, the same samples

    def add(self, entry: Entry) -> None:
        """Count an entry."""
        if entry.at is not None:
            self._first = entry.at if self._first is None else min(self._first, entry.at)
            self._last = entry.at if self._last is None else max(self._last, entry.at)
        if not entry.sql or (self._database and entry.database and entry.database != self._database):
            return
        sql = entry.sql.rstrip("; \n\r\t")
        if ";" in sql and entry.values is None:
            self._add_several(sql, entry)
        else:
            self._count(sql, entry.calls, entry.seconds, entry.values)

    def queries(self) -> list[WorkloadQuery]:
        """The statements with their rates over the log's own time, the most expensive first."""
        rate = 1.0
        if self._first is not None and self._last is not None:
            rate = per_hour(self._last - self._first)
        return costliest_first(
            self._query(its_print, one, rate) for its_print, one in self._sums.items() if one.calls and one.examples
        )

    def _add_several(self, sql: str, entry: Entry) -> None:
        """One message with several statements; whose the time was, nobody knows."""
        try:
            pieces = [piece.sql for piece in split(sql, self._system)]
        except Unreadable:
            pieces = [sql]
        pieces = [piece for piece in pieces if self._print(piece) is not None]
        for piece in pieces:
            self._count(piece, entry.calls, entry.seconds if len(pieces) == 1 else None, None)

    def _count(self, sql: str, calls: int, seconds: float | None, values: Sequence[Any] | None) -> None:
        its_print = self._print(sql)
        if its_print is None:
            return
        one = self._sums.get(its_print)
        if one is None:
            if len(self._sums) >= MOST_STATEMENTS:
                self._forget()
            one = self._sums[its_print] = _Sum()
        one.calls += calls
        if seconds is not None:
            one.seconds = (one.seconds or 0.0) + seconds
        if not calls:
            return
        one.seen += 1
        if len(one.examples) < SAMPLES:
            one.examples.append((sql, values))
        elif (place := self._random.randrange(one.seen)) < SAMPLES:
            one.examples[place] = (sql, values)

    def _print(self, sql: str) -> str | None:
        """The fingerprint, ``None`` for what is no workload; calls that differ in plain literals are parsed once."""
        key = sql if _TRICKY.search(sql) else _VALUES.sub("?", sql)
        try:
            return self._prints[key]
        except KeyError:
            if len(self._prints) > MOST_STATEMENTS:
                self._prints.clear()
        its_print = fingerprint(sql, self._system) if is_workload(sql, self._system) else None
        self._prints[key] = its_print
        return its_print

    def _forget(self) -> None:
        worth = {its_print: (one.seconds or 0.0, one.calls) for its_print, one in self._sums.items()}
        for its_print in sorted(worth, key=worth.__getitem__)[: MOST_STATEMENTS // 10]:
            del self._sums[its_print]

    def _query(self, its_print: str, one: _Sum, rate: float) -> WorkloadQuery:
        examples = [
            Bound(sql, tuple(values)) if values is not None else bound(sql, self._system)
            for sql, values in one.examples
        ]
        [(sql, _)] = Counter(example.sql for example in examples).most_common(1)
        seconds = None if one.seconds is None else one.seconds * rate
        samples = tuple(example.values for example in examples if example.sql == sql and example.values)
        return WorkloadQuery(its_print, sql, one.calls * rate, seconds, samples)
