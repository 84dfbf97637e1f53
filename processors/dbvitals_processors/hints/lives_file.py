"""Where the lives of hints are kept from run to run: a small JSON file, replaced atomically.

Whatever is wrong with it costs one line in the log and the history, nothing else.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from dbvitals_processors.hints.lifecycle import Effect, Life, State
from dbvitals_processors.hints.model import Candidate, Key, Method, Saving, TableName, Verification

VERSION = 1

_log = logging.getLogger("dbvitals")


class LivesFile:
    """The file; nothing here raises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._said: set[str] = set()

    def load(self) -> tuple[Life, ...]:
        """What is kept; nothing where there is no such file, or none that can be read."""
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            if data["version"] != VERSION:
                raise ValueError(f"version {data['version']!r}")
            return tuple(_read(one) for one in data["hints"])
        except FileNotFoundError:
            return ()
        except Exception as error:
            self._say("read: they begin anew", error)
            return ()

    def save(self, lives: Collection[Life]) -> bool:
        """Keep these in place of what is there; whether that was done."""
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            rows = ",\n".join(json.dumps(asdict(life), ensure_ascii=False) for life in lives)
            temporary.write_text(f'{{"version": {VERSION}, "hints": [\n{rows}\n]}}\n', encoding="utf-8")
            temporary.replace(self._path)
            return True
        except Exception as error:
            self._say("written", error)
            return False

    def _say(self, what: str, error: Exception) -> None:
        if what not in self._said:
            self._said.add(what)
            _log.warning("dbvitals: the hints in %s could not be %s. (%s)", self._path, what, type(error).__name__)


def place(hints_file: str, baseline_file: str) -> Path | None:
    """The file that is named, else one beside that of the baselines, where these are in a file."""
    if hints_file:
        return Path(hints_file)
    if baseline_file and "://" not in baseline_file:
        beside = Path(baseline_file)
        return beside.with_name(f"{beside.stem}.hints.json")
    return None


def _read(data: dict[str, Any]) -> Life:
    candidate, predicted = data["candidate"], data["predicted"]
    life = Life(
        str(data["namespace"]),
        Candidate(
            TableName(str(candidate["table"]["schema"]), str(candidate["table"]["name"])),
            tuple(Key(**key) for key in candidate["keys"]),
            tuple(map(str, candidate["include"])),
            str(candidate["where"]),
            _one_of(candidate["method"], get_args(Method)),
            tuple(Key(**key) for key in candidate["stands_for"]),
        ),
        str(data["ddl"]),
        _one_of(data["verification"], get_args(Verification)),
        _one_of(data["state"], get_args(State)),
        _number(data["first_seen"]),
        _number(data["since"]),
        _number(data["seen"]),
        None if predicted is None else Saving(*(_number(predicted[name]) for name in ("seconds", "low", "high"))),
        _number(data["upkeep"]),
        tuple(
            Effect(
                str(one["query"]), _number(one["calls"]), _maybe(one["before"]), _maybe(one["after"]),
                _number(one["share"]),
            )
            for one in data["effects"]
        ),
    )  # fmt: skip
    if not life.candidate.keys:
        raise ValueError("an index without keys")
    return life


def _number(value: Any) -> float:
    number = float(value)
    if not isfinite(number):
        raise ValueError("a number that is none")
    return number


def _maybe(value: Any) -> float | None:
    return None if value is None else _number(value)


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{value!r}")
    return value
