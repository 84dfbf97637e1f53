"""A workload that lies in files: JSON Lines, SQL, or what ``dbvitals run`` has recorded."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from dbvitals_processors.hints.model import AdvisorError, Parameters, WorkloadQuery
from dbvitals_processors.hints.sources import recorded
from dbvitals_processors.hints.sources.literals import bound
from dbvitals_processors.hints.sources.merging import merge
from dbvitals_processors.hints.sources.sql import POSTGRESQL, Piece, Unreadable, fingerprint, split

EXPECTED = '{"sql": "SELECT …", "calls": 120, "total_seconds": 4.2, "parameters": [{"name": "value"}], "id": "orders"}'
_LOOKS_BOUND = re.compile(r"\?|\$\d|%s|%\(|(?<!:):[A-Za-z_]")


def read_workload(path: Path | str, *, system: str = POSTGRESQL, namespace: str | None = None) -> list[WorkloadQuery]:
    """The workload in a file or folder.

    A ``.jsonl`` or ``.json`` file has one statement a line, a ``.sql`` file statements between semicolons, a folder its
    ``.sql`` files. A recording of ``dbvitals run`` is a folder of snapshots, one of them, or the report as JSON.

    Args:
        path: the file or folder.
        system: whose SQL it is, as ``db.system.name``.
        namespace: of a recording, take this database's statements only.

    Raises:
        AdvisorError: it cannot be used; the message names the file, its line, and what is expected.
    """
    path = Path(path)
    try:
        queries = _read_folder(path, system, namespace) if path.is_dir() else _read_file(path, system, namespace)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise AdvisorError(f"{path}: cannot be read: {reason}") from error
    if not queries:
        raise AdvisorError(f"{path}: no statements in it")
    return queries


def _read_file(path: Path, system: str, namespace: str | None) -> list[WorkloadQuery]:
    text = _text(path)
    if path.suffix.lower() == ".sql":
        named = [(WorkloadQuery("", piece.sql), piece.line) for piece in _pieces(path, text, system)]
        return _gathered(path, named, system)
    recording = _loaded(text)
    if recorded.is_recording(recording):
        return recorded.from_recordings([_recording(path, recording, namespace)])
    return _gathered(path, _lines(path, text), system)


def _read_folder(path: Path, system: str, namespace: str | None) -> list[WorkloadQuery]:
    files = sorted(path.glob("*.sql"), key=_natural)
    if files:
        return [query for file in files for query in _of_folder(file, _pieces(file, _text(file), system))]
    found = [(file, _loaded(_text(file))) for file in sorted(path.glob("*.json"), key=_natural)]
    snapshots = [(file, data) for file, data in found if recorded.is_recording(data)]
    if not snapshots:
        raise AdvisorError(f"{path}: a folder of .sql files is expected, or one that `dbvitals run` recorded into")
    return recorded.from_recordings(_recording(file, data, namespace) for file, data in snapshots)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise AdvisorError(f"{path}: UTF-8 is expected") from None


def _loaded(text: str) -> Any:
    """The JSON of a whole file, ``None`` where it is something else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _recording(path: Path, data: Any, namespace: str | None) -> recorded.Recording:
    try:
        return recorded.recording(data, namespace)
    except recorded.Foreign as error:
        raise AdvisorError(f"{path}: no recording that can be used: {error}") from error


# --- SQL -----------------------------------------------------------------------------------------------------------


def _pieces(path: Path, text: str, system: str) -> list[Piece]:
    try:
        return split(text, system)
    except Unreadable as error:
        raise AdvisorError(f"{path}: {error}; SQL statements with semicolons between them are expected") from error


def _of_folder(path: Path, pieces: list[Piece]) -> list[WorkloadQuery]:
    """A file's one statement under the file's name; should there be more, they are numbered."""
    return [
        WorkloadQuery(path.stem if number == 1 else f"{path.stem}-{number}", piece.sql)
        for number, piece in enumerate(pieces, 1)
    ]


def _natural(path: Path) -> list[tuple[int, str]]:
    """``q2`` comes before ``q10``."""
    parts = re.split(r"([0-9]+)", path.stem.lower())
    return [(int(part[:18]), part) if part[:1] in set("0123456789") and part else (0, part) for part in parts]


# --- JSON Lines ----------------------------------------------------------------------------------------------------


def _lines(path: Path, text: str) -> list[tuple[WorkloadQuery, int]]:
    read = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if line and not line.startswith(("#", "--")):
            try:
                read.append((_query(json.loads(line)), number))
            except (ValueError, RecursionError, OverflowError) as error:
                reason = "no JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
                raise AdvisorError(f"{path}:{number}: {reason}; one object a line is expected: {EXPECTED}") from error
    return read


def _query(entry: Any) -> WorkloadQuery:
    if not isinstance(entry, dict):
        raise ValueError("no JSON object")
    sql = entry.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        raise ValueError('"sql" must be the text of a statement')
    name = entry.get("id", entry.get("name", ""))
    if not isinstance(name, str | int) or isinstance(name, bool):
        raise ValueError('"id" must be a text')
    seconds = entry.get("total_seconds")
    return WorkloadQuery(
        str(name),
        sql.strip().rstrip(";").rstrip(),
        _number("calls", entry.get("calls", 1), positive=True),
        None if seconds is None else _number("total_seconds", seconds),
        _parameters(entry.get("parameters")),
    )


def _number(key: str, value: Any, *, positive: bool = False) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else -1.0
    if not isfinite(number) or number < 0 or (positive and not number):
        raise ValueError(f'"{key}" must be a number an hour{", more than 0" if positive else ""}')
    return number


def _parameters(value: Any) -> tuple[Parameters, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(sample, dict | list) for sample in value):
        raise ValueError('"parameters" must be a list of samples, each an object by name or a list by position')
    return tuple(value)


# --- both ----------------------------------------------------------------------------------------------------------


def _gathered(path: Path, read: list[tuple[WorkloadQuery, int]], system: str) -> list[WorkloadQuery]:
    """Statements under their names, those without one under their fingerprint; the same ones merged."""
    prints = [fingerprint(query.sql, system) for query, _ in read]
    owners: dict[str, tuple[str, int]] = {}
    for (query, number), its_print in zip(read, prints, strict=True):
        owner = owners.setdefault(query.id or its_print, (its_print, number))
        if owner[0] != its_print:
            raise AdvisorError(f'{path}:{number}: the id "{query.id}" is another statement\'s, of line {owner[1]}')
    return merge(_alike(zip((query for query, _ in read), prints, strict=True), system))


def _alike(queries: Iterable[tuple[WorkloadQuery, str]], system: str) -> list[WorkloadQuery]:
    """Where statements of one id differ in literals, these become binds: then they are samples of one text."""
    named = [replace(query, id=query.id or its_print) for query, its_print in queries]
    texts: dict[str, set[str]] = defaultdict(set)
    for query in named:
        texts[query.id].add(query.sql)
    return [_with_binds(query, system) if len(texts[query.id]) > 1 else query for query in named]


def _with_binds(query: WorkloadQuery, system: str) -> WorkloadQuery:
    if query.parameters or _LOOKS_BOUND.search(query.sql):
        return query
    sql, values = bound(query.sql, system)
    return replace(query, sql=sql, parameters=(values,)) if values else query
