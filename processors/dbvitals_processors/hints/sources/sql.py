"""What the sources ask of an SQL text: its tokens with their places, its statements, its fingerprint.

The tokens are sqlglot's, not the instrumentation's: those have no places, and take more for a literal rather than less
where dialects disagree. Here the dialect is known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from sqlglot import Dialect, Token, TokenType
from sqlglot.errors import SqlglotError

from dbvitals_instrumentation import statement

POSTGRESQL = "postgresql"
MYSQL = "mysql"

OWN = "/* dbvitals */"
"""The comment in statements of the advisor's own, which are no part of anybody's workload."""

_DIALECTS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
_DATA = frozenset({"select", "insert", "update", "delete", "merge", "replace", "with", "values", "table"})
_SYSTEM_TABLE = re.compile(
    r"(pg_\w+|information_schema|performance_schema|mysql|sys|hypopg\w*|sqlite_\w+)(\..*)?", re.I
)
_EXTENSION = re.compile(r"\s*select\s.{0,80}\b(hypopg|pg_stat_statements)\w*\s*\(", re.I | re.S)


class Unreadable(ValueError):
    """A text that has no end: an open quote or comment."""


class Piece(NamedTuple):
    """One statement of a text, and the line on which it begins."""

    sql: str
    line: int


def tokens(sql: str, system: str = POSTGRESQL) -> Sequence[Token]:
    """The tokens of a text, comments left out.

    Raises:
        Unreadable: a quote or a comment is open at its end.
    """
    try:
        return _dialect(system).tokenize(sql)
    except (SqlglotError, ValueError, IndexError) as error:
        raise Unreadable("a quote or a comment that does not end") from error


def split(sql: str, system: str = POSTGRESQL) -> list[Piece]:
    """The statements between semicolons, without comments before and after them.

    Raises:
        Unreadable: a quote or a comment is open at the end.
    """
    pieces: list[Piece] = []
    first: Token | None = None
    last: Token | None = None
    for token in tokens(sql, system):
        if token.token_type is not TokenType.SEMICOLON:
            first, last = first or token, token
        elif first is not None and last is not None:
            pieces.append(_piece(sql, first, last))
            first = last = None
    if first is not None and last is not None:
        pieces.append(_piece(sql, first, last))
    return pieces


def fingerprint(sql: str, system: str = POSTGRESQL) -> str:
    """The fingerprint that the instrumentation gives to the statement, too."""
    return _parsed(sql, system).fingerprint


def is_workload(sql: str, system: str = POSTGRESQL) -> bool:
    """Whether a statement reads or writes rows of the application's: no utility, nothing of the catalogue's alone."""
    if OWN in sql or _EXTENSION.match(sql):
        return False
    parsed = _parsed(sql, system)
    words = parsed.text.lstrip("( ").split(None, 1)
    if not words or words[0].lower() not in _DATA:
        return False
    tables = [word for word in parsed.summary.split() if word.lower() not in _DATA]
    return not tables or not all(_SYSTEM_TABLE.fullmatch(table.replace('"', "")) for table in tables)


def _piece(sql: str, first: Token, last: Token) -> Piece:
    return Piece(sql[first.start : last.end + 1], sql.count("\n", 0, first.start) + 1)


def _parsed(sql: str, system: str) -> statement.Statement:
    return statement.parse(sql, double_quotes="string" if system in ("mysql", "mariadb") else "identifier")


@lru_cache(maxsize=8)
def _dialect(system: str) -> Dialect:
    return Dialect.get_or_raise(_DIALECTS.get(system, ""))
