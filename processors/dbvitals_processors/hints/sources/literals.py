"""Literals of a statement become binds, so that calls that differ in them are samples of one statement.

What belongs to the statement rather than to the call stays: keys of JSON paths, units and types, ``ORDER BY 1``, and
arguments of functions that have several, such as ``date_trunc('day', …)``, which an index on an expression repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

from sqlglot import Token, TokenType

from dbvitals_processors.hints.sources.sql import POSTGRESQL, Unreadable, tokens

MOST_LITERALS = 200
"""Literals that are made binds; a statement with more (a large import) stays as it is."""

_LITERALS = frozenset({TokenType.STRING, TokenType.NUMBER})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STAYS_AFTER = _words("-> ->> #> #>> ? ?| ?& . interval date time timestamp timestamptz timetz zone escape uescape as")
_NO_FUNCTION = _words(
    "in values value any all some and or not exists row array select where on having when then else case limit offset "
    "between like ilike is from join using set by returning as union except intersect with over"
)
_ENDS_LIST = _words("limit offset having fetch for window union except intersect returning order group")
_BEFORE_SIGN = _words("( [ , = < > <= >= <> != + * / % || and or not between when then else in select limit where")
_LOOK_AHEAD = 2_000


class Bound(NamedTuple):
    """A statement with binds, and the values that stood in their places."""

    sql: str
    values: tuple[Any, ...]


class _Level:
    """What is known between one pair of brackets."""

    def __init__(self, *, stays: bool = False) -> None:
        self.stays = stays
        self.ordinals = False


def bound(sql: str, system: str = POSTGRESQL) -> Bound:
    """The statement with ``$1``, ``$2``, … (MySQL: ``?``) for its literals; as it is where that cannot be done."""
    try:
        read = tokens(sql, system)
    except Unreadable:
        return Bound(sql, ())
    if any(token.token_type is TokenType.PARAMETER for token in read):
        return Bound(sql, ())
    parts: list[str] = []
    values: list[Any] = []
    end = 0
    for start, stop, value in _found(sql, read):
        values.append(value)
        parts += [sql[end:start], f"${len(values)}" if system == POSTGRESQL else "?"]
        end = stop
    if not values or len(values) > MOST_LITERALS:
        return Bound(sql, ())
    return Bound("".join([*parts, sql[end:]]), tuple(values))


def _found(sql: str, read: Sequence[Token]) -> list[tuple[int, int, Any]]:
    """Start, end and value of each literal that may be a bind."""
    found = []
    levels = [_Level()]
    for index, token in enumerate(read):
        kind, word = token.token_type, token.text.lower()
        if kind is TokenType.L_PAREN:
            levels.append(_Level(stays=_keeps(sql, read, index)))
        elif kind is TokenType.R_PAREN and len(levels) > 1:
            levels.pop()
        elif "order by" in word or "group by" in word:
            levels[-1].ordinals = True
        elif kind is TokenType.SEMICOLON or word in _ENDS_LIST:
            levels[-1].ordinals = False
        if kind not in _LITERALS or levels[-1].stays or _stays(sql, read, index, levels[-1]):
            continue
        start, value = token.start, _value(token)
        if value is None:
            continue
        if kind is TokenType.NUMBER and _is_sign(read, index - 1):
            start, value = read[index - 1].start, -value
        found.append((start, token.end + 1, value))
    return found


def _stays(sql: str, read: Sequence[Token], index: int, level: _Level) -> bool:
    token = read[index]
    before = read[index - 1] if index else None
    after = read[index + 1] if index + 1 < len(read) else None
    if after is not None:
        if after.token_type is TokenType.STRING and token.token_type is TokenType.STRING:
            return True  # parts of one string
        if after.start == token.end + 1 and (after.text[:1].isalnum() or after.text[:1] in "_."):
            return True  # part of a word that is no number
    if before is None:
        return False
    if before.token_type in _LITERALS or before.token_type is TokenType.INTRODUCER:
        return True
    if level.ordinals and token.token_type is TokenType.NUMBER:
        return before.token_type is TokenType.COMMA or before.text.lower().endswith(" by")
    return sql[before.start : before.end + 1].lower() in _STAYS_AFTER


def _keeps(sql: str, read: Sequence[Token], index: int) -> bool:
    """Whether literals between the bracket at ``index`` and its end stay: several arguments, or a type's width."""
    before = read[index - 1] if index else None
    if before is None or before.end + 1 != read[index].start:
        return False
    name = sql[before.start : before.end + 1].lower()
    if name in _NO_FUNCTION or not name.strip('"`').replace("_", "a").isalnum():
        return False
    if index > 1 and (read[index - 2].token_type is TokenType.DCOLON or read[index - 2].text.lower() == "as"):
        return True
    depth = 0
    for token in read[index : index + _LOOK_AHEAD]:
        kind = token.token_type
        depth += (kind is TokenType.L_PAREN) - (kind is TokenType.R_PAREN)
        if depth == 0 or (depth == 1 and kind is TokenType.COMMA):
            return depth == 1
    return False


def _is_sign(read: Sequence[Token], index: int) -> bool:
    """Whether a minus stands before a value, rather than between two."""
    if index < 1 or read[index].token_type is not TokenType.DASH:
        return False
    return read[index - 1].text.lower() in _BEFORE_SIGN


def _value(token: Token) -> Any:
    if token.token_type is TokenType.STRING:
        return token.text
    try:
        return int(token.text) if token.text.isdecimal() else _finite(float(token.text))
    except ValueError:
        return None


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
