"""The text of a statement without literals, and what its fingerprint is made of: one line, lists collapsed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from dbvitals_instrumentation import sql_words as words
from dbvitals_instrumentation.sql_runs import run_of
from dbvitals_instrumentation.sql_summary import Summary

MAX_TOKENS = 20_000
"""Text, fingerprint and summary stand for this many tokens at most, counted after lists have been collapsed."""

_LONG = 4
"""How many like members make it worth looking for a run of more."""
_MAX_LISTS = 4
"""How deep collapsing lists may be nested; each level reads its tokens once more."""

_OPERANDS = frozenset({"word", "name", "value", "close"})
_OPENED = frozenset({"", "open", "bracket"})
_KINDS = (*_OPERANDS, "comma", "dot", "open", "bracket", "list", "semicolon", "cast", "star", "operator")
_GLUED = frozenset(
    {(before, kind) for before in _KINDS for kind in ("comma", "close", "semicolon")}
    | {(before, kind) for before in _OPENED for kind in _KINDS}
    | {(before, kind) for before in _OPERANDS for kind in ("dot", "bracket", "cast")}
    | {("dot", kind) for kind in ("word", "name", "value", "star")}
    | {("cast", "word"), ("cast", "name"), ("word", "open"), ("name", "open")}
)
"""Which tokens stand side by side; a space between any others. What is read back must be the same tokens."""


@dataclass(slots=True)
class _Level:
    """What is between one pair of brackets, as far as lists of values go."""

    kind: Literal["plain", "list", "row"] = "plain"
    start: int = 0  # of the present member, its comma included
    mark: int = 0  # length of the summary at that point
    seen: set[str] = field(default_factory=set)
    rows: set[str] | None = None  # a VALUES list is going on
    comma: int = -1  # before its next row
    member: str = ""  # the last one, or the last row
    likes: int = 0  # how many came before it that are like it

    def repeats(self, member: str, seen: set[str]) -> bool:
        """Whether a member is like an earlier one."""
        self.likes = self.likes + 1 if member == self.member else 0
        self.member = member
        known = member in seen
        seen.add(member)
        return known


class Text:
    """Puts tokens together again, and leaves out the members of a list that are like an earlier one."""

    def __init__(self, summary: Summary) -> None:
        self.value_rows = 0
        self.keys: list[str] = []
        self._out: list[str] = []
        self._summary = summary
        self._kinds = [""]
        self._levels = [_Level()]
        self._lists = 0
        self._counted: set[str] | None = None
        self._semicolon = False
        self._duplicate = False  # after ON DUPLICATE, VALUES is a function

    def __str__(self) -> str:
        return "".join(self._out)

    @property
    def key(self) -> str:
        """The token before."""
        return self.keys[-1] if self.keys else ""

    def add(self, kind: str, raw: str, key: str, spaced: bool) -> re.Pattern[str] | None:
        """Append a token; ``key`` is what the fingerprint sees of it.

        Returns:
            after the comma of a long list: the pattern of the run that may follow and be handed to :meth:`skip`.
        """
        run = None
        if kind == "semicolon":
            self._semicolon = bool(self.keys)
            return None
        if self._semicolon:
            self._semicolon = self._duplicate = False
            self._levels = [_Level()]
            self._lists = 0
            self._append("semicolon", ";", ";", False)
        level = self._levels[-1]
        if level.rows is not None and kind not in ("comma", "open", "bracket") and key != "row":
            level.rows = None
        if kind == "value":
            self._fold_sign()
        elif kind == "word":
            self._word(level, key)
        elif kind == "open" or kind == "bracket":
            self._open(level, kind, raw, spaced)
            return None
        elif kind == "comma":
            run = self._comma(level)
        elif kind == "close" and len(self._levels) > 1 and self._close():
            return None
        self._append(kind, raw, key, spaced)
        return run

    def skip(self, run: str) -> None:
        """Leave out a run as if its tokens had come one by one; it may be empty."""
        level = self._levels[-1]
        if not run:
            level.likes = -4 * _LONG  # not to look for one after each comma
        elif level.rows is not None and level.rows is self._counted:
            self.value_rows += run.count(",") // (level.member.count(",") + 1)

    def _append(self, kind: str, raw: str, key: str, spaced: bool) -> None:
        if kind == "bracket" and self._kinds[-1] not in _OPERANDS:
            kind = "list"
        if (self._kinds[-1], kind) not in _GLUED or (spaced and kind == "open" and self._kinds[-1] not in _OPENED):
            raw = " " + raw
        self._out.append(raw)
        self.keys.append(key)
        self._kinds.append(kind)

    def _fold_sign(self) -> None:
        """Drop the signs before a value, as far as they are no operators between two."""
        keys, kinds = self.keys, self._kinds
        while keys and keys[-1] in ("-", "+"):
            before = kinds[-2]
            if before in _OPERANDS and not (before == "word" and keys[-2] in words.BEFORE_OPERAND):
                break
            del keys[-1], kinds[-1], self._out[-1]

    def _word(self, level: _Level, key: str) -> None:
        if key in ("select", "with", "values", "table") and level.kind == "list" and len(self.keys) == level.start:
            level.kind = "plain"
            self._lists -= 1
        if key == "values" or (key == "value" and self.keys and self.keys[0] in ("insert", "replace")):
            if not self._duplicate and self._kinds[-1] not in ("operator", "star", "comma", "dot"):
                level.rows, level.comma = set(), -1
        elif key == "duplicate":
            self._duplicate = self.key == "on"

    def _open(self, level: _Level, bracket: str, raw: str, spaced: bool) -> None:
        kind: Literal["plain", "list", "row"] = "plain"
        before = self.key
        tight = self._kinds[-1] in _OPERANDS
        self._append(bracket, raw, raw, spaced)
        if level.rows is not None:
            if raw == "(" and before in ("values", "value", "row", ","):
                kind = "row"
            else:
                level.rows = None
        elif before == "in" if raw == "(" else before == "array" or not tight:
            kind = "list"
        if kind != "plain":
            if self._lists == _MAX_LISTS:
                kind = "plain"
            else:
                self._lists += 1
        self._levels.append(_Level(kind, len(self.keys), len(self._summary.entries)))

    def _comma(self, level: _Level) -> re.Pattern[str] | None:
        is_list = level.kind == "list"
        if is_list:
            self._end_member(level)
            level.start = len(self.keys)
        elif level.rows is None:
            return None
        elif self._kinds[-1] == "close":
            level.comma = len(self.keys)
        else:
            level.rows = None
            return None
        level.mark = len(self._summary.entries)
        # No member of the run may be the one that fills the text: 4 are the comma, two brackets and a sign.
        if level.likes < _LONG or len(self.keys) + len(level.member) + 4 > MAX_TOKENS:
            return None
        return None if is_list and level.rows is not None else run_of(level.member, not is_list)

    def _close(self) -> bool:
        """Leave a level; true where it has been dropped and needs no closing bracket."""
        level = self._levels.pop()
        if level.kind == "plain":
            return False
        self._lists -= 1
        if level.kind == "list":
            self._end_member(level)
            return False
        outer = self._levels[-1]
        rows = outer.rows
        if rows is None:
            return False
        if self._counted is None:
            self._counted = rows
        self.value_rows += self._counted is rows
        row = " ".join("?" if key in ("null", "default") else key for key in self.keys[level.start :])
        if outer.repeats(row, rows) and outer.comma >= 0:
            self._cut(outer.comma, outer.mark)
            return True
        return False

    def _end_member(self, level: _Level) -> None:
        keys = self.keys
        start = level.start + (level.start < len(keys) and keys[level.start] == ",")
        if level.repeats(" ".join(keys[start:]), level.seen):
            self._cut(level.start, level.mark)

    def _cut(self, start: int, mark: int) -> None:
        del self.keys[start:], self._kinds[start + 1 :], self._out[start:], self._summary.entries[mark:]
