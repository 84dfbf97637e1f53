"""What kind of statement an SQL text is: its text without literals, a fingerprint, OpenTelemetry's query summary.

A tokeniser, not a parser: one pass, linear in the length of the text, in any dialect, and it never raises.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from dbvitals_instrumentation.sql_summary import Summary
from dbvitals_instrumentation.sql_text import MAX_TOKENS, Text
from dbvitals_instrumentation.sql_tokens import tokens

__all__ = ["MAX_TOKENS", "Statement", "parse"]

_CACHE_ENTRIES = 2_000
_CACHE_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Statement:
    """What is known of a statement from its text alone.

    Attributes:
        text: one line, literals and placeholders as ``?``, without comments; lists of values show their first member.
        fingerprint: 16 hexadecimal digits, the same for statements that differ in literals, white space, comments,
            the case of unquoted words and the length of lists.
        summary: operations and targets in order, as written, at most 255 characters.
        operation: the operation, where there is exactly one.
        collection: the table, where there is exactly one and it is the only target.
        value_rows: the rows of the first VALUES list, 0 without one.
    """

    text: str
    fingerprint: str
    summary: str
    operation: str | None
    collection: str | None
    value_rows: int


def parse(sql: str, *, double_quotes: Literal["identifier", "string"] = "identifier") -> Statement:
    """The :class:`Statement` of a text; never raises.

    Args:
        double_quotes: what ``"..."`` is; ``string`` also stands for the other ways of MySQL (``#`` comments).
    """
    cache = _STRINGS if double_quotes == "string" else _IDENTIFIERS
    statement = cache.get(sql)
    if statement is None:
        statement = _parse(sql, double_quotes == "string")
        cache.put(sql, statement)
    return statement


class _Cache:
    """Statements by their text, the oldest forgotten first; bounded in entries and in characters."""

    def __init__(self) -> None:
        self._kept: dict[str, Statement] = {}
        self._characters = 0
        self._lock = threading.Lock()
        self.get = self._kept.get

    def put(self, sql: str, statement: Statement) -> None:
        size = len(sql) + len(statement.text)
        # Nobody waits here: a lock that a fork has copied while it was held costs entries, not the process.
        if size > _CACHE_CHARACTERS // 10 or not self._lock.acquire(blocking=False):
            return
        try:
            if sql not in self._kept:
                self._kept[sql] = statement
                self._characters += size
            while len(self._kept) > _CACHE_ENTRIES or self._characters > _CACHE_CHARACTERS:
                oldest = next(iter(self._kept))
                self._characters -= len(oldest) + len(self._kept.pop(oldest).text)
        finally:
            self._lock.release()


_IDENTIFIERS = _Cache()
_STRINGS = _Cache()


def _parse(sql: str, strings: bool) -> Statement:
    try:
        sql.encode()
    except UnicodeEncodeError:  # half of a surrogate pair could be neither hashed nor exported
        sql = sql.encode("utf-8", "replace").decode()
    summary = Summary()
    text = Text(summary)
    keys = text.keys
    read = tokens(sql, strings)
    for kind, raw, spaced in read:
        before = keys[-1] if keys else ""
        key = raw
        if kind == "word":
            key = raw.lower()
            if key in ("true", "false") and not (before == "is" or keys[-2:] == ["is", "not"]):
                kind = "value"
        elif kind == "variable":
            kind, key = "word", raw.lower()
        elif kind == "broken":
            kind = "value"
        if kind == "value":
            raw = key = "?"
        if summary.feed(kind, raw, key, before):
            kind, raw, key = "value", "?", "?"
        run = text.add(kind, raw, key, spaced)
        if run is not None and summary.is_idle:
            text.skip(read.send(run)[1])
        if len(keys) >= MAX_TOKENS:
            break
    summary.finish()
    return Statement(
        text=str(text),
        fingerprint=blake2b("\0".join(keys).encode(), digest_size=8).hexdigest(),
        summary=str(summary),
        operation=summary.operation,
        collection=summary.collection,
        value_rows=text.value_rows,
    )
