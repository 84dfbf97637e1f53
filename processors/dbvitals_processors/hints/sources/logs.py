"""The workload that servers have logged: PostgreSQL's log, or the slow log of MySQL and MariaDB, told by content."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from dbvitals_processors.hints.model import AdvisorError, WorkloadQuery
from dbvitals_processors.hints.sources import mysql_slow_log, postgres_log
from dbvitals_processors.hints.sources.sql import MYSQL, POSTGRESQL
from dbvitals_processors.hints.sources.tally import Entry, Tally

LOOK_AT = 2_000
"""Lines by which a log is recognised."""
MOST_LINE = 1_000_000
"""Characters; a longer line counts as several."""


class Format(NamedTuple):
    """A way to write a log.

    Attributes:
        knows: whether a line is written this way.
        read: the entries in the lines of a file.
    """

    system: str
    knows: Callable[[str], bool]
    read: Callable[[Iterable[str]], Iterator[Entry]]


def _is_json(line: str) -> bool:
    try:
        entry = json.loads(line) if line.startswith("{") else None
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and {"timestamp", "error_severity"} <= entry.keys()


def _is_csv(line: str) -> bool:
    columns = line.split(",")
    return len(columns) > 11 and postgres_log.moment(columns[0][:40]) is not None and ',"' in line and ",LOG," in line


FORMATS = (
    Format(MYSQL, lambda line: mysql_slow_log.HEAD.match(line) is not None, mysql_slow_log.read_slow_log),
    Format(POSTGRESQL, _is_json, postgres_log.read_json),
    Format(POSTGRESQL, _is_csv, postgres_log.read_csv),
    Format(POSTGRESQL, lambda line: postgres_log.LEVEL.search(line) is not None, postgres_log.read_text),
)


def read(path: Path | str, *, database: str | None = None) -> list[WorkloadQuery]:
    """The workload in a log file, or in all log files of a folder; ``.gz`` or not. The most expensive first.

    Rates are calls over the time from the first entry to the last, a minute at least. Literals have become binds, and
    of each statement a few calls' values are kept.

    Args:
        path: the file or folder.
        database: leave out what the log says was asked of another database.

    Raises:
        AdvisorError: it cannot be read, is no log, or has no statements; the message says what to do.
    """
    path = Path(path)
    try:
        files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        formats = [(file, found) for file in files if (found := _format(file)) is not None]
        systems = {form.system for _, form in formats}
        if not formats:
            raise AdvisorError(
                f"{path}: no log that is known here: PostgreSQL's (stderr, csvlog, jsonlog) or the slow log of MySQL "
                "or MariaDB is expected"
            )
        if len(systems) > 1:
            raise AdvisorError(f"{path}: logs of several database systems; name a file of one")
        tally = Tally(systems.pop(), database)
        for file, form in formats:
            with _open(file) as opened:
                for entry in form.read(_lines(opened)):
                    tally.add(entry)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AdvisorError(f"{path}: cannot be read: {reason}") from error
    queries = tally.queries()
    if not queries:
        raise AdvisorError(
            f"{path}: no statements in it: set log_min_duration_statement = 0 (PostgreSQL), or slow_query_log = ON and "
            "long_query_time = 0 (MySQL, MariaDB) for a while, and let the application run"
        )
    return queries


def _format(file: Path) -> Format | None:
    """The first format that knows one of the first lines, formats in their order."""
    with _open(file) as opened:
        lines = [line.rstrip("\r\n") for line in islice(_lines(opened), LOOK_AT)]
    return next((form for form in FORMATS if any(map(form.knows, lines))), None)


def _open(file: Path) -> IO[str]:
    with file.open("rb") as opened:
        packed = opened.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(file, "rt", encoding="utf-8", errors="replace", newline="\n")
    return file.open(encoding="utf-8", errors="replace", newline="\n")


def _lines(opened: IO[str]) -> Iterator[str]:
    return iter(lambda: opened.readline(MOST_LINE), "")
