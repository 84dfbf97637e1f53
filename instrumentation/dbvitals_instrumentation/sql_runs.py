"""A run: members of a long list that differ in nothing but placeholders and numbers, and so may be skipped."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby

from dbvitals_instrumentation import sql_words as words

_TERM = r"(?!with\b)[a-z_][a-z0-9_]*(?: [a-z_][a-z0-9_]*| \( (?:\?(?: , \?)* )?\)| \[ \])*"
_ITEM = rf"(?:\?|{_TERM})(?: :: {_TERM})?"
_is_plain = re.compile(rf"(?:\( )?{_ITEM}(?: , {_ITEM})*(?: \))?").fullmatch
"""Values, casts and calls without arguments of their own; the brackets of a member pair."""

_TELLING = (words.NO_TARGET - {"with"}) | frozenset(
    {"straight_join", "apply", "transaction", "value", "table", "row", "array", "duplicate"}
)
"""Words after which the text or the summary is read in another way."""

_VALUE = r"%\([^(),]*\)s|%s|\?[0-9]*|[:@]\w+|\$[0-9]+|[+-]?[0-9]+(?:\.[0-9]+)?"
"""Less than the tokeniser takes for a value; no literal that has quotes."""

_LONGEST = 4_000
"""The characters of a member: a pattern is compiled for it."""


@lru_cache(maxsize=256)
def run_of(member: str, is_row: bool) -> re.Pattern[str] | None:
    """What matches the next thousand members that have the tokens of this one, the comma after each included.

    No more than that: a repetition keeps a way back to each of its rounds, and megabytes of them are slow.

    Args:
        member: its tokens, a space between any two.
        is_row: it stood in parentheses, and NULL and DEFAULT in it are values.
    """
    if len(member) > _LONGEST or not _is_plain(member) or not _TELLING.isdisjoint(member.split(" ")):
        return None
    value = rf"(?:{_VALUE}|(?i:null|default))" if is_row else rf"(?:{_VALUE})"
    parts = (f"( {member} )" if is_row else member).split(" , ")
    # Like parts are counted: to compile a part takes as long as to read some lines of SQL.
    pattern = "".join(
        f"(?:{written}){{{count}}}" if (count := len([*like])) > 1 else written
        for written, like in groupby(_written(part, value) for part in parts)
    )
    return re.compile(f"(?:{pattern}){{0,1000}}", re.ASCII)


def _written(part: str, value: str) -> str:
    """A pattern of a part of a member, up to the comma, in all the ways to write it."""
    pattern, word = "", False
    for key in part.split(" "):
        is_word = key[0].isalpha() or key[0] == "_"
        pattern += r"\s+" if word and is_word else r"\s*"
        pattern += value if key == "?" else f"(?i:{key})" if is_word else re.escape(key)
        word = is_word
    return rf"{pattern}\s*,"
