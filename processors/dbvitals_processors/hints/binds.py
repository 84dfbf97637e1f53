"""The binds of an SQL text, whatever style it uses, and the values that sample sets give them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dbvitals_processors.hints.model import Parameters

_BINDS = r"""
  | %\((?P<pyformat>[^()]{1,200})\)(?-i:s)
  | (?P<format>%(?-i:s)(?!\w))
  | (?<![:\w]):(?P<named>[A-Za-z_]\w*)
  | (?<![\w$])\$(?P<dollar>[0-9]+)
  | \?(?P<numbered>[0-9]+)
  | (?P<question>\?(?!\|(?!\|)|&|\s*(?:'|\?|array\b)))
  | (?P<escaped>%%)
"""
_STANDARD = re.compile(
    r"""
    (?P<skip> (?<!\w)e'(?:[^'\\]|\\.|'')*(?:'|\Z) | '(?:[^']|'')*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z)
      | --[^\n]* | /\*.*?(?:\*/|\Z) | (?<![\w$])\$(?P<tag>[a-z_]*)\$.*?(?:\$(?P=tag)\$|\Z) | :: | := )
    """
    + _BINDS,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
"""What is open at its end is skipped to the end of the text: no text is looked through more than once."""
_MYSQL = re.compile(
    r"""
    (?P<skip> '(?:[^'\\]|\\.)*(?:'|\Z) | "(?:[^"\\]|\\.)*(?:"|\Z) | `[^`]*(?:`|\Z)
      | --[^\n]* | \#[^\n]* | /\*.*?(?:\*/|\Z) | := )
    """
    + _BINDS,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BY_NAME_OR_NUMBER = ("pyformat", "format", "named", "dollar", "numbered")


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


def split(sql: str, system: str = "postgresql") -> Bound:
    """Find the binds of a text; a ``?`` beside binds of another style is an operator (PostgreSQL's jsonb has one).

    Args:
        system: what the database is: strings of MySQL and MariaDB have backslashes, and # begins a comment.
    """
    token = _MYSQL if system in ("mysql", "mariadb") else _STANDARD
    found = list(token.finditer(sql))
    kinds = {match.lastgroup for match in found}
    others = not kinds.isdisjoint(_BY_NAME_OR_NUMBER)
    percent = not kinds.isdisjoint(("pyformat", "format"))
    pieces: list[str] = []
    places: list[int] = []
    keys: list[str | int] = []
    numbers: dict[str | int, int] = {}
    start = position = 0
    text = ""
    for match in found:
        kind = match.lastgroup
        if kind in ("skip", "escaped"):
            if percent and "%%" in match.group():  # drivers take them for one, in strings as well
                text += sql[start : match.start()] + match.group().replace("%%", "%")
                start = match.end()
            continue
        if kind == "question" and others:
            continue
        key: str | int
        if kind in ("pyformat", "named"):
            key = match.group(kind)
        elif kind in ("dollar", "numbered"):
            key = int(match.group(kind)) - 1
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
