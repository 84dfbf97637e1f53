"""The file ``dbvitals.toml`` of a project.

[advise]
dismiss = [{ id = "6243bca8b88d", reason = "the table is archived in May" }]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from dbvitals_instrumentation.config import ConfigError

_PROJECT = "dbvitals"
NAME = f"{_PROJECT}.toml"

_toml: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
_OWN_TABLE = re.compile(r"\s*\[\[\s*advise\s*\.\s*dismiss\s*\]\]")
_PLACE = re.compile(r"\(at line (\d+), column \d+\)")


@dataclass(frozen=True)
class Settings:
    """What the file says.

    Attributes:
        dismissed: ids of hints that are not wanted, each with its reason.
    """

    dismissed: tuple[tuple[str, str], ...] = ()


def load(path: Path | None = None, *, start: Path | None = None) -> Settings:
    """The settings in ``path``, or else in the ``dbvitals.toml`` that :func:`find` finds from ``start`` on.

    Raises:
        ConfigError: the file cannot be read or understood; the message names it and the line.
    """
    if path is None:
        path = find(start or Path.cwd())
        if path is None:
            return Settings()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, a null character in the name
        reason = error.strerror if isinstance(error, OSError) else "UTF-8 is expected"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    return _parsed(path, text)


def find(start: Path) -> Path | None:
    """``dbvitals.toml`` in a folder or the nearest above it, up to the repository's root; outside one, in it alone."""
    folders = [start, *start.parents]
    root = next((folder for folder in folders if (folder / ".git").exists()), start)
    for folder in folders[: folders.index(root) + 1]:
        if (folder / NAME).is_file():
            return folder / NAME
    return None


def _parsed(path: Path, text: str) -> Settings:
    try:
        data = _toml.loads(text)
    except _toml.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        raise ConfigError(f"{path}:{line}: {_PLACE.sub('', str(error)).strip()}") from None
    advise = data.get("advise", {})
    if not isinstance(advise, dict):
        raise ConfigError(f"{path}:{_line(text, 'advise')}: [advise] is a table")
    for key in advise:
        if key != "dismiss":
            raise ConfigError(f"{path}:{_line(text, key)}: [advise] has no setting {key}; it has dismiss")
    entries = advise.get("dismiss", [])
    if not isinstance(entries, list):
        raise ConfigError(f'{path}:{_line(text, "dismiss")}: expected is dismiss = [{{ id = "…", reason = "…" }}]')
    lines = list(_entries(text))
    return Settings(
        tuple(
            _entry(entry, f"{path}:{lines[n] if n < len(lines) else _line(text, 'dismiss')}")
            for n, entry in enumerate(entries)
        )
    )


def _entry(entry: Any, place: str) -> tuple[str, str]:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"].strip():
        raise ConfigError(f'{place}: an entry of dismiss is {{ id = "…", reason = "…" }}, the id in quotes')
    unknown = sorted(entry.keys() - {"id", "reason"})
    if unknown:
        raise ConfigError(f"{place}: an entry of dismiss has id and reason, no {unknown[0]}")
    if not isinstance(entry.get("reason", ""), str):
        raise ConfigError(f"{place}: the reason is text, in quotes")
    return entry["id"].strip(), " ".join(entry.get("reason", "").split())


def _line(text: str, key: str) -> int:
    """The line in which a key stands."""
    word = re.compile(rf"(?<![\w-]){re.escape(key)}(?![\w-])")
    return next((number for number, line in enumerate(text.splitlines(), 1) if word.search(line.partition("#")[0])), 1)


def _entries(text: str) -> Iterator[int]:
    """The lines in which the entries of ``dismiss`` begin, as tables of their own or within brackets."""
    own = [
        n for n, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*advise\s*\.\s*dismiss\s*\]\]", line)
    ]
    if own:
        yield from own
        return
    first = _line(text, "dismiss")
    for number, line in enumerate(text.splitlines()[first - 1 :], first):
        yield from (number for _ in re.findall(r"\{", re.sub(r'"[^"]*"', "", line)))
