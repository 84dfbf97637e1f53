"""PostgreSQL's log: as plain text with any ``log_line_prefix``, as CSV, or as JSON.

Statements come from ``log_min_duration_statement`` (text and time in one message), or from ``log_statement`` with
``log_duration`` (the time in a later message of the same process). Times of parsing and binding are left out, as is
what auto_explain says: it would count calls twice. Messages must be in English (``lc_messages``).
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

from dbvitals_processors.hints.sources.tally import Entry

MOST_CHARACTERS = 1_000_000
"""Of one message."""
MOST_PREFIX = 1_000
MOST_SESSIONS = 10_000
CSV_COLUMNS = 23

LEVEL = re.compile(
    r"(?<![A-Za-z0-9_])"
    r"(LOG|ERROR|WARNING|FATAL|PANIC|NOTICE|INFO|DEBUG[1-5]?|DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION):  "
)
_BELONGS = frozenset({"DETAIL", "HINT", "QUERY", "CONTEXT", "STATEMENT", "LOCATION"})
_TIMED = re.compile(r"duration: ([0-9]+(?:\.[0-9]+)?) ms(?:  (statement|(?:parse|bind|execute) [^:]*): (.*))?\Z", re.S)
_UNTIMED = re.compile(r"(statement|execute [^:]*): (.*)\Z", re.S)
_PARAMETERS = re.compile(r"parameters: (\$1 = .*)\Z", re.S | re.I)
_PARAMETER = re.compile(r"\$([0-9]{1,5}) = (NULL|'((?:[^']|'')*)')(?:, |\Z)")

_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?")
_EPOCH = re.compile(r"(?<![0-9.])(1[0-9]{9}(?:\.[0-9]{1,6})?)(?![0-9])")
_SYSLOG = re.compile(r"([A-Z][a-z]{2}) ([ 0-9][0-9]) ([0-9]{2}:[0-9]{2}:[0-9]{2})")
_PROCESS = re.compile(r"\[([0-9]+)[\]-]|(?:^|[\s=:])([0-9]{2,10})(?=[\s,:\]]|\Z)")
_DATABASE = re.compile(r"\b(?:db|database)=([^\s,\[\]]+)|[^\s@:\[\](),=]+@([^\s@:\[\](),=]+)")


@dataclass(frozen=True, slots=True)
class _Message:
    process: str
    database: str
    at: float | None
    text: str
    detail: str = ""


def read_text(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of a log in plain text."""
    return _entries(_plain(lines))


def read_csv(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of a csvlog."""
    return _entries(_csv(lines))


def read_json(lines: Iterable[str]) -> Iterator[Entry]:
    """The entries of a jsonlog."""
    return _entries(_json(lines))


def moment(text: str) -> float | None:
    """The time that a text begins with or holds, in seconds; zones are as they are in the whole log, and left out."""
    found = _MOMENT.search(text)
    if found is not None:
        whole = _second(f"{found[1]} {found[2]}")
        return None if whole is None else whole + float(found[3] or 0)
    epoch = _EPOCH.search(text)
    if epoch is not None:
        return float(epoch[1])
    found = _SYSLOG.search(text)
    return None if found is None else _second_of_syslog(f"2000 {found[1]} {found[2].strip()} {found[3]}")


@lru_cache(maxsize=64)
def _second(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


@lru_cache(maxsize=64)
def _second_of_syslog(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y %b %d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        return None


# --- three ways to write a message -----------------------------------------------------------------------------------


class _Record:
    """A message that is being read line by line."""

    def __init__(self, prefix: str, text: str) -> None:
        self.prefix = prefix
        self.text, self.detail = [text], list[str]()
        self.into: list[str] | None = self.text
        self._characters = 0

    def more(self, line: str) -> None:
        """A further line of what is being read."""
        self._characters += len(line)
        if self.into is not None and self._characters < MOST_CHARACTERS:
            self.into.append(line)

    def message(self) -> _Message:
        process, database = _PROCESS.search(_MOMENT.sub("", self.prefix)), _DATABASE.search(self.prefix)
        return _Message(
            (process[1] or process[2]) if process else "",
            (database[1] or database[2]) if database else "",
            moment(self.prefix),
            "\n".join(self.text),
            "\n".join(self.detail),
        )


def _plain(lines: Iterable[str]) -> Iterator[_Message]:
    record: _Record | None = None
    for line in lines:
        line = line.rstrip("\r\n")
        level = None if line.startswith("\t") else LEVEL.search(line)
        if level is None:
            if record is not None and line.startswith("\t"):
                record.more(line[1:])
            continue
        text = line[level.end() :]
        if level[1] in _BELONGS:
            if record is not None:
                record.into = record.detail if level[1] == "DETAIL" else None
                record.more(text)
            continue
        if record is not None:
            yield record.message()
        record = _Record(line[max(0, level.start() - MOST_PREFIX) : level.start()], text)
    if record is not None:
        yield record.message()


def _csv(lines: Iterable[str]) -> Iterator[_Message]:
    rows = csv.reader(line.replace("\0", "") for line in lines)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error:  # a field that is longer than the module reads; it goes on with the next line
            continue
        if len(row) >= CSV_COLUMNS:
            yield _Message(row[3], row[2], moment(row[0]), row[13], row[14])


def _json(lines: Iterable[str]) -> Iterator[_Message]:
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            process, database, at, text, detail = (
                str(entry.get(key, "")) for key in ("pid", "dbname", "timestamp", "message", "detail")
            )
            yield _Message(process, database, moment(at), text, detail)


# --- messages become entries -----------------------------------------------------------------------------------------


def _entries(messages: Iterable[_Message]) -> Iterator[Entry]:
    untimed: dict[str, Entry] = {}  # by process: a statement whose time may come
    for message in messages:
        yield Entry(message.at)
        timed = _TIMED.match(message.text)
        if timed is not None:
            took = float(timed[1]) / 1000
            if timed[2] is None:
                entry = untimed.pop(message.process, None)
                if entry is not None:
                    yield replace(entry, seconds=took)
            elif timed[2].startswith("execute fetch from"):
                yield Entry(None, timed[3], took, (), 0, message.database)
            elif timed[2].startswith(("statement", "execute")):
                yield _entry(message, timed[2], timed[3], took)
            continue
        statement = _UNTIMED.match(message.text)
        if statement is not None:
            entry = untimed.pop(message.process, None)
            if entry is not None:
                yield entry
            if len(untimed) >= MOST_SESSIONS:
                yield untimed.pop(next(iter(untimed)))
            untimed[message.process] = _entry(message, statement[1], statement[2], None)
    yield from untimed.values()


def _entry(message: _Message, kind: str, sql: str, seconds: float | None) -> Entry:
    values = _values(message.detail) if kind.startswith("execute") else None
    return Entry(None, sql, seconds, values, 1, message.database)


def _values(detail: str) -> list[Any]:
    """What ``parameters: $1 = 'x', $2 = NULL`` says, by position."""
    listed = _PARAMETERS.match(detail)
    if listed is None:
        return []
    found: dict[int, str | None] = {}
    for one in _PARAMETER.finditer(listed[1]):
        found[int(one[1])] = None if one[3] is None else one[3].replace("''", "'")
    if not 0 < max(found, default=0) <= len(found):
        return []
    return [found.get(number) for number in range(1, len(found) + 1)]
