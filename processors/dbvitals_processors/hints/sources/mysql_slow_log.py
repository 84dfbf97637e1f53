"""The slow query log of MySQL and MariaDB."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from dbvitals_processors.hints.sources.postgres_log import moment
from dbvitals_processors.hints.sources.tally import Entry

HEAD = re.compile(r"# (?:Time: +[0-9]|User@Host: |Query_time: |Thread_id: )")
MOST_CHARACTERS = 1_000_000
"""Of one statement."""

_BANNER = (", Version: ", "started with:")
_TOOK = re.compile(r"Query_time: ([0-9]+(?:\.[0-9]+)?)")
_SCHEMA = re.compile(r"# Thread_id: .*Schema: (\S+)")
_USE = re.compile(r"use `?([^`;]+)`?;\s*\Z", re.I)
_SET = re.compile(r"SET (?:\w+=[0-9]+,)*timestamp=([0-9]{1,11})(?:\.[0-9]+)?(?:,\w+=[0-9]+)*;\s*\Z", re.I)
_SHORT = re.compile(r"# Time: ([0-9]{2})([0-9]{2})([0-9]{2}) +([0-9]{1,2}:[0-9]{2}:[0-9]{2})")


class _Slow:
    """One entry that is being read."""

    def __init__(self, database: str) -> None:
        self.seconds: float | None = None
        self.at: float | None = None
        self.database = database
        self.lines: list[str] = []
        self._characters = 0

    def head(self, line: str) -> None:
        """A line of what comes before the statement."""
        took, schema = _TOOK.search(line), _SCHEMA.match(line)
        if took is not None:
            self.seconds = float(took[1])
        if schema is not None:
            self.database = schema[1]
        if line.startswith("# Time:"):
            short = _SHORT.match(line)
            text = line if short is None else f"20{short[1]}-{short[2]}-{short[3]} {short[4]:0>8}"
            self.at = moment(text)

    def body(self, line: str) -> None:
        """A line of the statement, or of what the server writes before it."""
        use = None if self.lines else _USE.match(line)
        at = None if self.lines else _SET.match(line)
        self._characters += len(line)
        if use is not None:
            self.database = use[1]
        elif at is not None:
            self.at = float(at[1])
        elif self._characters < MOST_CHARACTERS:
            self.lines.append(line)

    def entry(self) -> Entry:
        sql = "\n".join(self.lines).strip()
        return Entry(self.at, "" if sql.startswith("# administrator") else sql, self.seconds, database=self.database)


def read_slow_log(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of a slow log."""
    slow = _Slow("")
    begun = False
    for line in lines:
        line = line.rstrip("\r\n")
        if HEAD.match(line):
            if slow.lines:
                yield slow.entry()
                slow = _Slow(slow.database)
            slow.head(line)
            begun = True
        elif all(words in line for words in _BANNER):
            if slow.lines:
                yield slow.entry()
            slow, begun = _Slow(""), False
        elif begun and (slow.lines or not line.startswith("#") or line.startswith("# administrator")):
            slow.body(line)
    if slow.lines:
        yield slow.entry()
