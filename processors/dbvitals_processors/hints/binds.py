"""The binds of an SQL text, whatever style it uses, and the values that sample sets give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbvitals_processors.hints.model import Parameters

_TOKEN = re.compile(
    r"""
    (?P<skip> [eE]?'(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | --[^\n]* | /\*.*?\*/
      | \$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$ | :: | := )
  | %\((?P<pyformat>[^)]+)\)s
  | (?P<format>%s)
  | (?<![:\w]):(?P<named>[A-Za-z_]\w*)
  | (?<![\w$])\$(?P<dollar>[0-9]+)
  | (?P<question>\?(?![|&]))
  | (?P<escaped>%%)
    """,
    re.VERBOSE | re.DOTALL,
)
_BY_NAME_OR_NUMBER = ("pyformat", "format", "named", "dollar")


@dataclass(frozen=True, slots=True)
class Bound:
    """A text split at its binds.

    Attributes:
        pieces: text between binds; one more than ``places``.
        places: the number of the bind, from 0, at each place.
        keys: for each bind the name, or position from 0, that sample sets know it by.
    """

    pieces: tuple[str, ...]
    places: tuple[int, ...]
    keys: tuple[str | int, ...]

    def text(self, form: str) -> str:
        """The text with each bind as ``form.format(n)``, ``n`` from 1: ``"${}"`` or ``":b{}"``."""
        words = [self.pieces[0]]
        for place, piece in zip(self.places, self.pieces[1:], strict=True):
            words += (form.format(place + 1), piece)
        return "".join(words)

    def filled(self, literals: tuple[str, ...]) -> str:
        """The text with each bind replaced by a literal."""
        words = [self.pieces[0]]
        for place, piece in zip(self.places, self.pieces[1:], strict=True):
            words += (literals[place], piece)
        return "".join(words)

    def values(self, parameters: Parameters) -> tuple[Any, ...] | None:
        """The value of each bind in a sample set; ``None`` if one is missing."""
        try:
            if isinstance(parameters, Mapping):
                named: Mapping[Any, Any] = parameters
                return tuple(named[key if key in named else _other(key)] for key in self.keys)
            return tuple(parameters[key] if isinstance(key, int) else parameters[n] for n, key in enumerate(self.keys))
        except (KeyError, IndexError):
            return None


def split(sql: str) -> Bound:
    """Find the binds of a text; a ``?`` beside binds of another style is an operator (PostgreSQL's jsonb has one)."""
    found = [match for match in _TOKEN.finditer(sql) if match.group("skip") is None]
    others = any(match.lastgroup in _BY_NAME_OR_NUMBER for match in found)
    percent = any(match.lastgroup in ("pyformat", "format") for match in found)
    pieces: list[str] = []
    places: list[int] = []
    keys: list[str | int] = []
    numbers: dict[str | int, int] = {}
    start = position = 0
    text = ""
    for match in found:
        kind = match.lastgroup
        if kind == "escaped":
            if percent:
                text += sql[start : match.start()] + "%"
                start = match.end()
            continue
        if kind == "question" and others:
            continue
        key: str | int
        if kind in ("pyformat", "named"):
            key = match.group(kind)
        elif kind == "dollar":
            key = int(match.group("dollar")) - 1
        else:
            key, position = position, position + 1
        if key not in numbers:
            numbers[key] = len(keys)
            keys.append(key)
        pieces.append(text + sql[start : match.start()])
        text, start = "", match.end()
        places.append(numbers[key])
    pieces.append(text + sql[start:])
    return Bound(tuple(pieces), tuple(places), tuple(keys))


def constants(bound: Bound, samples: Sequence[Parameters]) -> tuple[Mapping[int, Any], Mapping[int, list[Any]]]:
    """Binds that have one value in 95 % of the samples, and all sample values, by the bind's number."""
    seen: dict[int, list[Any]] = {}
    for parameters in samples:
        for number, value in enumerate(bound.values(parameters) or ()):
            seen.setdefault(number, []).append(value)
    fixed = {}
    for number, values in seen.items():
        texts = list(map(repr, values))
        most = max(set(texts), key=texts.count)
        if texts.count(most) >= 0.95 * len(values):
            fixed[number] = values[texts.index(most)]
    return fixed, seen


def _other(key: str | int) -> str:
    """Mappings of positional binds count from 1 and have text for keys."""
    return str(key + 1) if isinstance(key, int) else key
