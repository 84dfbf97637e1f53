"""What a Redis command says of itself without its keys and values: its name, its text, and whether a read found."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MOST_ARGUMENTS = 32
"""Arguments of one command that its text shows; an ellipsis stands for more."""

UNKNOWN = "UNKNOWN"
"""The name of a command whose first argument does not look like one: it may be data."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,31}")

_CONTAINERS = frozenset(
    [
        "ACL",
        "CLIENT",
        "CLUSTER",
        "COMMAND",
        "CONFIG",
        "DEBUG",
        "FUNCTION",
        "HIMPORT",
        "JSON.DEBUG",
        "LATENCY",
        "MEMORY",
        "MODULE",
        "OBJECT",
        "PUBSUB",
        "SCRIPT",
        "SENTINEL",
        "SLOWLOG",
        "XGROUP",
        "XINFO",
    ]
)
"""Commands whose second word is part of their name, which redis-py sends as one argument: ``CONFIG GET``."""


@dataclass(frozen=True)
class Words:
    """The option words that a command's text keeps, from its argument ``start`` on."""

    start: int
    words: dict[str | bytes, str]


def _words(start: int, words: str) -> Words:
    return Words(start, {form: word for word in words.split() for form in (word, word.encode(), word.lower())})


_EXPIRY = "EX PX EXAT PXAT KEEPTTL PERSIST"
_SCAN = "MATCH COUNT TYPE NOVALUES"
_SETS = "WEIGHTS AGGREGATE SUM MIN MAX WITHSCORES LIMIT"
_WORDS: dict[str, Words] = {
    "SET": _words(3, f"{_EXPIRY} NX XX GET"),
    "GETEX": _words(2, _EXPIRY),
    **dict.fromkeys(("EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"), _words(3, "NX XX GT LT")),
    **dict.fromkeys(("HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT"), _words(3, "NX XX GT LT FIELDS")),
    "HGETEX": _words(2, f"{_EXPIRY} FIELDS"),
    "HGETDEL": _words(2, "FIELDS"),
    "HSETEX": _words(2, f"{_EXPIRY} FNX FXX FIELDS"),
    "ZADD": _words(2, "NX XX GT LT CH INCR"),
    "ZRANGE": _words(4, "BYSCORE BYLEX REV LIMIT WITHSCORES"),
    **dict.fromkeys(("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), _words(4, "WITHSCORES LIMIT")),
    **dict.fromkeys(("ZREVRANGE", "ZRANK", "ZREVRANK"), _words(3, "WITHSCORES WITHSCORE")),
    **dict.fromkeys(("ZUNION", "ZINTER", "ZUNIONSTORE", "ZINTERSTORE"), _words(3, _SETS)),
    "SCAN": _words(2, _SCAN),
    **dict.fromkeys(("SSCAN", "HSCAN", "ZSCAN"), _words(3, _SCAN)),
    "XADD": _words(2, "NOMKSTREAM MAXLEN MINID LIMIT * ~ ="),
    "XREAD": _words(1, "COUNT BLOCK STREAMS $"),
    "XREADGROUP": _words(1, "GROUP COUNT BLOCK NOACK STREAMS >"),
    **dict.fromkeys(("XRANGE", "XREVRANGE"), _words(2, "COUNT - +")),
    "LPOS": _words(3, "RANK COUNT MAXLEN"),
    **dict.fromkeys(("LMOVE", "BLMOVE"), _words(3, "LEFT RIGHT")),
    "LINSERT": _words(2, "BEFORE AFTER"),
    "COPY": _words(3, "DB REPLACE"),
    "SORT": _words(2, "BY LIMIT GET ASC DESC ALPHA STORE"),
    "GEOSEARCH": _words(2, "FROMMEMBER FROMLONLAT BYRADIUS BYBOX M KM FT MI ASC DESC COUNT ANY WITHCOORD WITHDIST"),
    "JSON.SET": _words(4, "NX XX"),
    "FLUSHDB": _words(1, "ASYNC SYNC"),
    "FLUSHALL": _words(1, "ASYNC SYNC"),
}

PROCEDURES = frozenset({"EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO"})
"""Commands whose first argument names a script or a function of the server."""


def name_of(first: object) -> str:
    """The command's name as the application wrote it, without the arguments that may follow it in one string."""
    text = first.decode("utf-8", "replace") if isinstance(first, (bytes, bytearray)) else str(first)
    parts = text.split(None, 2)
    if not parts or not _NAME.fullmatch(parts[0]):
        return UNKNOWN
    if len(parts) > 1 and parts[0].upper() in _CONTAINERS and _NAME.fullmatch(parts[1]):
        return f"{parts[0]} {parts[1]}"
    return parts[0]


def has_words(name: str, arguments: int) -> bool:
    """Whether the text of a command with so many arguments (its name counts) depends on more than their number."""
    words = _WORDS.get(name.upper())
    return words is not None and arguments > words.start


def text_of(name: str, args: Sequence[Any]) -> str:
    """The command with ``?`` for every argument that is no option word of its own: ``SET ? ? EX ?``."""
    shown = args[1 : MOST_ARGUMENTS + 1]
    known = _WORDS.get(name.upper())
    tokens = ["?"] * len(shown)
    if known is not None:
        for index, argument in enumerate(shown):
            if index + 1 >= known.start and isinstance(argument, (str, bytes)):
                tokens[index] = known.words.get(argument, "?")
    if len(args) - 1 > MOST_ARGUMENTS:
        tokens.append("...")
    return " ".join([name, *tokens])


@dataclass(frozen=True)
class Read:
    """A command that looks something up: how many keys it asks for, and how many of them a response has."""

    others: int | None
    """How many arguments (the name counts) are no keys; ``None`` for one key whatever the arguments."""
    found: Callable[[Any], int | None]
    """How many keys were found; ``None`` for a response that does not tell."""

    def keys(self, args: Sequence[Any]) -> int:
        """How many keys the command asks for."""
        return 1 if self.others is None else max(1, len(args) - self.others)


def _value(response: Any) -> int | None:
    return 0 if response is None else 1


def _filled(response: Any) -> int | None:
    return 1 if response else 0


def _number(response: Any) -> int | None:
    return int(response) if isinstance(response, int) else None


def _values(response: Any) -> int | None:
    if not isinstance(response, (list, tuple)):
        return None
    return sum(item is not None for item in response)


READS: dict[str, Read] = {
    **dict.fromkeys(("GET", "GETEX", "GETDEL", "HGET", "JSON.GET"), Read(None, _value)),
    **dict.fromkeys(("HGETALL", "HEXISTS"), Read(None, _filled)),
    "EXISTS": Read(1, _number),
    "MGET": Read(1, _values),
    **dict.fromkeys(("HMGET", "JSON.MGET"), Read(2, _values)),
}
"""The reads that can miss. SISMEMBER and SMISMEMBER are not among them: there "no" is the answer, not its absence."""
