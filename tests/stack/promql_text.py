"""Enough of PromQL's grammar to see what an expression selects. Whether it is right, promtool says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\s*(\{[^{}]*\})?\s*(\[[^\]]*\])?")
_DURATION = re.compile(r"\boffset\s+\S+")


@dataclass(frozen=True)
class Selector:
    """Series that an expression selects.

    Attributes:
        metric: its name, empty where only matchers say it.
        matchers: what is between the braces.
        window: what is between the brackets, ``None`` where it is no range.
        function: what the range is given to.
    """

    metric: str
    matchers: str
    window: str | None
    function: str


def selectors(expr: str) -> Iterator[Selector]:
    """All of them. Variables are to be in the expression as they are written, ``$name``."""
    text = _DURATION.sub("", _LISTS.sub("", expr))
    place = 0
    while place < len(text):
        if text[place] == '"':  # a string outside of braces
            place = text.index('"', place + 1) + 1
            continue
        found = _selector(text, place)
        if found is None:
            place += 1
            continue
        end, metric, matchers, window = found
        if matchers or (metric and not _call(text, end) and metric not in _WORDS and not metric[0].isdigit()):
            yield Selector(metric, matchers, window, _function(text, place))
        place = end


def _selector(text: str, place: int) -> tuple[int, str, str, str | None] | None:
    if re.match(r"[\d.]", text[place]):  # a number: its letters are no name
        number = re.compile(r"[\w.]+").match(text, place)
        return (number.end(), "0", "", None) if number else None
    match = _SELECTOR.match(_masked(text), place)
    if match is None or not (match[1] or match[2]):
        return None
    window = match[3]
    matchers = text[match.start(2) : match.end(2)] if match[2] else ""
    return match.end(), match[1] or "", matchers, window[1:-1] if window else None


def _masked(text: str) -> str:
    """Braces and brackets within strings mean nothing."""
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda string: '"' + "_" * (len(string[0]) - 2) + '"', text)


def _call(text: str, end: int) -> bool:
    return text[end:].lstrip().startswith("(")


def _function(text: str, place: int) -> str:
    found = re.search(r"(\w+)\s*\($", text[:place].rstrip())
    return found[1] if found else ""
