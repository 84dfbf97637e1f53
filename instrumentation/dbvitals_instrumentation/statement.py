"""What kind of statement an SQL text is: its text without literals, a fingerprint, OpenTelemetry's query summary.

A tokeniser, not a parser: one pass, linear in the length of the text, in any dialect, and it never raises. Where
dialects disagree on where a literal ends, more is taken for literal rather than less: what was a literal in any of
them is never shown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from dbvitals_instrumentation import semconv

MAX_TOKENS = 20_000
"""Text, fingerprint and summary stand for this many tokens at most, counted after lists have been collapsed."""

_CACHE_ENTRIES = 2_000
_CACHE_CHARACTERS = 4_000_000
_MAX_LISTS = 4
"""How deep collapsing lists may be nested; each level reads its tokens once more."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_Token = tuple[str, str, bool]
"""Kind, text as written, and whether white space came before it."""


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
        if size > _CACHE_CHARACTERS // 100 or not self._lock.acquire(blocking=False):
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


# ---------------------------------------------------------------------------------------------------------- tokens

_START = r"[^\x00-\x40\x5b-\x5e\x60\x7b-\x7f\s]"  # of a word: letters, _ and whatever is not ASCII
_PART = r"[^\x00-\x23\x25-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f\s]"  # digits and $ as well
_ESCAPED = r"{0}(?:[^{0}\\]+|{0}{0}|\\.)*(?:{0}|\\?\Z)"  # to the closing quote or to the end: it cannot fail,
_PLAIN = r"{0}(?:[^{0}]+|{0}{0})*(?:{0}|\Z)"  # and so never goes back

_GRAMMAR = r"""
[\s\x00-\x1f]*(?:
  (?P<word>(?![eEnNbBxXqQ]'|[nN][qQ]'|[uU]&['"]|_[A-Za-z0-9]+['"]|__\[POST){start}{part}*)
  | (?P<comma>,) | (?P<dot>\.(?![0-9])|(?<={part})\.|(?<=[\])"`])\.) | (?P<value>
      [eE]{escaped}
    | [nN]?[qQ]'(?:\[.*?(?:\]'|\Z) | \(.*?(?:\)'|\Z) | \{{.*?(?:\}}'|\Z) | <.*?(?:>'|\Z) | (?P<q>\S).*?(?:(?P=q)'|\Z))
    | (?:[nNbBxX]|[uU]&|_[A-Za-z0-9]+)?(?:{string})
    | (?P<tag>\$(?:{start}\w*)?\$)(?:.*?(?P=tag)|.*)
    | 0[xX][0-9A-Fa-f]{part}*
    | (?:[0-9]|(?<!{part})(?<![\])"`])\.[0-9])[0-9_.]*(?:[eE][+-]?[0-9][0-9_]*)?{part}*
    | \?(?![|&](?![|&]))[0-9]*
    | %\([^()]*\)[sbt] | %s(?!{part}) | (?<!{part})(?<![\])"`])%[bt](?!{part})
    | (?<!{part})(?<![:\])"`]):{part}+
    | \$[0-9]+ | \${start}\w*
    | (?<!{part})(?<!@)@{part}+
    | __\[POSTCOMPILE_[^\[\]]*\]
  )
  | (?P<line>{line}|\Z) | (?P<block>/\*)
  | (?P<variable>@@{start}{part}* | (?<!{part})(?<![\])"'`?#])\#\#?{start}{part}*)
  | (?P<name>
      (?:[uU]&)?"[^"]*(?:""[^"]*)*" | `[^`]*(?:``[^`]*)*`
    | (?<!{part})(?<![\])"`?])\[{start}[\w\ $\#.]*\]
  )
  | (?P<open>\() | (?P<bracket>\[) | (?P<close>[)\]]) | (?P<semicolon>;[\s;]*)
  | (?P<broken>["`].*)
  | (?P<cast>::) | (?P<star>\*(?!(?!/\*)[<>=!~^&|*/])) | (?P<operator>
      := | ->>? | \#>>? | \#- | \?[|&] | @[>?@] | <@ | <[-\#]> | %% | (?:(?!/\*)[<>=!~^&|*/])+ | [^\s\x00-\x1f]
  )
)
"""


@lru_cache(maxsize=4)
def _tokenizer(strings: bool, escapes: bool) -> re.Pattern[str]:
    literal = _ESCAPED if escapes else _PLAIN
    source = _GRAMMAR.format(
        start=_START,
        part=_PART,
        escaped=_ESCAPED.format("'"),
        string="|".join(literal.format(quote) for quote in ("'\"" if strings else "'")),
        line=r"(?:--(?![^\s\x00-\x1f])|\#)[^\n]*" if strings else r"--[^\n]*",
    )
    return re.compile(source, re.VERBOSE | re.DOTALL)


_DELIMITER = re.compile(r"/\*|\*/")


def _tokens(sql: str, strings: bool) -> Iterator[_Token]:
    if "\\'" not in sql and not (strings and '\\"' in sql):
        return _scan(sql, strings, False)
    # Whether \' ends a literal depends on dialect and settings. The reading that is no SQL is out of question;
    # where that leaves both or none, all is literal from where they part.
    plain = _is_sound(sql, strings, False)
    if plain != _is_sound(sql, strings, True):
        return _scan(sql, strings, not plain)
    return _agreed(_scan(sql, strings, False), _scan(sql, strings, True))


def _is_sound(sql: str, strings: bool, escapes: bool) -> bool:
    """Whether all literals of this reading end, and no backslash is left outside them."""
    kind, raw = "", ""
    for kind, raw, _ in _scan(sql, strings, escapes):
        if kind == "broken" or (kind == "operator" and raw == "\\"):
            return False
    return kind != "value" or _ends(raw, escapes)


def _ends(raw: str, escapes: bool) -> bool:
    """Whether a value that stands last is closed."""
    literal = re.fullmatch(r"(?:[nNbBxXeE]|[uU]&|_[A-Za-z0-9]+)?(['\"])(.*)", raw, re.DOTALL)
    if literal is None:
        return True
    quote, body = literal.groups()
    if escapes or raw[0] in "eE":
        body = re.sub(r"\\.", "x", body, flags=re.DOTALL)
    return (len(body) - len(body.rstrip(quote))) % 2 == 1


def _agreed(one: Iterator[_Token], other: Iterator[_Token]) -> Iterator[_Token]:
    for token, same in zip(one, other, strict=False):
        if token != same:
            yield "value", "?", True
            return
        yield token


def _scan(sql: str, strings: bool, escapes: bool) -> Iterator[_Token]:
    """The tokens of one reading, comments left out."""
    matches = _tokenizer(strings, escapes).finditer
    position, end = 0, len(sql)
    begun, nested = False, True
    while position < end:
        here, position = position, end
        for match in matches(sql, here):
            kind = match.lastgroup
            assert kind is not None
            raw = match[kind]
            if kind == "line":
                continue
            if kind == "block":
                position, nested = _after_comment(sql, match.end(), nested)
                break
            if raw == "#" and (not begun or "\n" in match[0]):  # at the start of a line: a comment, no operator
                position = sql.find("\n", match.end()) + 1 or end
                break
            begun = begun or kind != "semicolon"
            yield kind, raw, len(match[0]) > len(raw)


def _after_comment(sql: str, start: int, nested: bool) -> tuple[int, bool]:
    """Where the comment ends that was opened before ``start``; nested ones are one comment if they all close."""
    if nested:
        depth = 1
        for match in _DELIMITER.finditer(sql, start):
            depth += 1 if match[0] == "/*" else -1
            if not depth:
                return match.end(), True
    end = sql.find("*/", start)
    return (end + 2 if end >= 0 else len(sql)), False


# ------------------------------------------------------------------------------------------------------------ text

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
_BEFORE_OPERAND = _set(
    "all and as between by case default distinct div else from having ilike in interval is like limit mod not of "
    "offset on or regexp return returning rlike select set similar then to top values when where xor"
)


class _Level:
    """What is between one pair of brackets, as far as lists of values go."""

    __slots__ = ("comma", "kind", "mark", "rows", "seen", "start")

    def __init__(self, kind: Literal["plain", "list", "row"], start: int, mark: int) -> None:
        self.kind = kind
        self.start = start  # of the present member, its comma included
        self.mark = mark  # length of the summary at that point
        self.seen: set[str] = set()
        self.rows: set[str] | None = None  # a VALUES list is going on
        self.comma = -1  # before its next row


class _Text:
    """Puts tokens together again, and leaves out the members of a list that are like an earlier one."""

    def __init__(self, summary: _Summary) -> None:
        self.value_rows = 0
        self.keys: list[str] = []
        self._out: list[str] = []
        self._summary = summary
        self._kinds = [""]
        self._levels = [_Level("plain", 0, 0)]
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

    def add(self, kind: str, raw: str, key: str, spaced: bool) -> None:
        """Append a token; ``key`` is what the fingerprint sees of it."""
        if kind == "semicolon":
            self._semicolon = bool(self.keys)
            return
        if self._semicolon:
            self._semicolon = self._duplicate = False
            self._levels = [_Level("plain", 0, 0)]
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
            return
        elif kind == "comma":
            self._comma(level)
        elif kind == "close" and len(self._levels) > 1 and self._close():
            return
        self._append(kind, raw, key, spaced)

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
            if before in _OPERANDS and not (before == "word" and keys[-2] in _BEFORE_OPERAND):
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

    def _comma(self, level: _Level) -> None:
        if level.kind == "list":
            self._end_member(level)
            level.start, level.mark = len(self.keys), len(self._summary.entries)
        elif level.rows is not None:
            if self._kinds[-1] == "close":
                level.comma, level.mark = len(self.keys), len(self._summary.entries)
            else:
                level.rows = None

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
        if outer.comma >= 0 and row in rows:
            self._cut(outer.comma, outer.mark)
            return True
        rows.add(row)
        return False

    def _end_member(self, level: _Level) -> None:
        keys = self.keys
        start = level.start + (level.start < len(keys) and keys[level.start] == ",")
        member = " ".join(keys[start:])
        if member in level.seen:
            self._cut(level.start, level.mark)
        else:
            level.seen.add(member)

    def _cut(self, start: int, mark: int) -> None:
        del self.keys[start:], self._kinds[start + 1 :], self._out[start:], self._summary.entries[mark:]


# --------------------------------------------------------------------------------------------------------- summary

_DEFINES = frozenset({"create", "drop", "alter", "refresh", "reindex"})
_DEFINED = _set(
    "table view index sequence schema database function procedure trigger type extension role user domain event rule "
    "policy package aggregate operator collation publication subscription server tablespace language cast synonym "
    "login statistics system privileges owned group"
)
_BODIES = frozenset({"function", "procedure", "trigger", "event", "rule", "package", "policy"})
_ONE_TARGET = frozenset({"insert", "replace", "merge", "copy", "call", "exec", "execute", "pragma", "upsert"})
_MANY_TARGETS = frozenset({"update", "truncate", "vacuum", "analyze", "analyse", "lock", "optimize", "table"})
_DYNAMIC = frozenset({"savepoint", "release", "rollback", "save"})
_SILENT = frozenset({"grant", "revoke", "deny", "comment", "set", "show", "reset", "use", "listen", "notify", "fetch"})
_OPERATIONS = (
    _DEFINES
    | _ONE_TARGET
    | _MANY_TARGETS
    | _DYNAMIC
    | _SILENT
    | _set(
        "select delete values explain describe desc begin start commit end abort do declare close move prepare "
        "deallocate load import unload checkpoint discard attach detach flush kill handler unlock unlisten cluster "
        "rename purge backup restore security reassign xa shutdown check checksum repair install if"
    )
)
_AFTER_WITH = frozenset({"select", "insert", "update", "delete", "merge", "replace", "values", "table"})
_SKIPPED = _set(
    "into only table tables lateral low_priority high_priority delayed quick ignore if not exists concurrently or "
    "abort fail rollback replace overwrite full freeze verbose analyze skip_locked local no_write_to_binlog extended "
    "immediate top temp temporary unlogged"
)
_CLAUSES = _set(
    "where set group order having limit offset fetch window returning union intersect except minus for values qualify "
    "when connect output"
)
_NO_TARGET = _CLAUSES | _set(
    "select from join inner left right cross natural on using as with and case delete insert update by outfile "
    "dumpfile default is in like null end then else to begin"
)
_READS = frozenset({"select", "update", "delete"})
_NO_COLLECTION = frozenset({"call", "exec", "execute", "pragma"})


class _Scope:
    """What is between one pair of parentheses, as far as operations and targets go."""

    __slots__ = (
        "cte",
        "expect",
        "joined",
        "kind",
        "lazy",
        "listing",
        "mark",
        "names",
        "op",
        "recursive",
        "start",
        "under",
    )

    def __init__(self, *, start: bool = False, expect: str = "", names: int = 0) -> None:
        self.op = ""
        self.under = ""  # the operation whose query this one is: INSERT ... SELECT
        self.kind = ""  # of what CREATE creates; "?" before it is known
        self.start = start  # a statement may begin
        self.expect = expect  # the next name is a "source" (unless it is a function) or a "sink"
        self.listing = bool(expect)  # a comma is followed by another one
        self.joined = False  # USING belongs to a JOIN
        self.cte = ""  # how far a WITH clause has come: name, head, as, body, after
        self.recursive = False
        self.mark = 0  # length of the summary after DELETE
        self.lazy = ""  # an operation that shows only if it has a target
        self.names = names  # how many CTE names were known outside


class _Summary:
    """Reads operations and their targets off the tokens."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Literal["operation", "collection", "other"]]] = []
        self._scopes = [_Scope(start=True)]
        self._path: list[str] = []
        self._names: list[str] = []
        self._known: dict[str, int] = {}
        self._pending = ""  # a CTE whose body is being read
        self._silent = ""  # nothing more to tell until "statement" or "text" ends

    def __str__(self) -> str:
        summary = ""
        for entry, _ in self.entries:
            longer = f"{summary} {entry}" if summary else entry
            if len(longer) > semconv.MAX_SUMMARY:
                break
            summary = longer
        return summary

    @property
    def operation(self) -> str | None:
        operations = [entry for entry, kind in self.entries if kind == "operation"]
        return operations[0] if len(operations) == 1 else None

    @property
    def collection(self) -> str | None:
        targets = {target for target in self.entries if target[1] != "operation"}
        if len(targets) != 1:
            return None
        name, kind = targets.pop()
        return name if kind == "collection" and "?" not in name else None

    def feed(self, kind: str, raw: str, key: str, before: str) -> bool:
        """Take in a token after the one ``before``; true where it is a name that changes with each call."""
        if self._path:
            if kind == "dot" or (self._path[-1] == "." and kind in ("word", "name", "value")):
                self._path.append("?" if kind == "value" else raw)
                return False
            self._settle(raw == "(")
        scope = self._scopes[-1]
        if kind == "word":
            return before != "." and self._word(scope, raw, key, before)
        if kind == "name":
            return self._name(scope, raw)
        if kind == "value":
            if scope.op in _DYNAMIC:
                scope.start = False
            elif scope.expect and before != "top":
                if scope.op == "select" and scope.expect == "sink":
                    scope.expect = ""  # a variable
                else:
                    self._path = ["?"]
        elif kind == "open" or kind == "bracket":
            self._open(scope, raw, before)
        elif kind == "close":
            self._close()
        elif kind == "comma":
            if scope.cte:
                scope.cte = "name"
            elif scope.listing:
                scope.expect, scope.joined = "source", False
        elif kind == "semicolon":
            self.finish()
        elif raw not in ("{", "}", "="):
            scope.start = scope.start and scope.op == "explain"
            scope.expect = ""
        return False

    def finish(self) -> None:
        """End the statement."""
        if self._path:
            self._settle(False)
        if self._silent != "text":
            self._silent = ""
            self._scopes = [_Scope(start=True)]
            self._names.clear()
            self._known.clear()

    def _settle(self, call: bool) -> None:
        scope = self._scopes[-1]
        path, self._path = self._path, []
        expect, scope.expect = scope.expect, ""
        if path[-1] == ".":
            path.pop()
        name = "".join(path)
        if (call and expect == "source") or (len(path) == 1 and self._known.get(_folded(name))):
            return
        if scope.lazy:
            self.entries.append((scope.lazy, "operation"))
            scope.lazy = ""
        is_collection = scope.op not in _NO_COLLECTION and scope.kind in ("", "table", "view")
        self.entries.append((name, "collection" if is_collection else "other"))

    def _open(self, scope: _Scope, raw: str, before: str) -> None:
        inner = _Scope(names=len(self._names))
        if scope.cte == "as":
            inner.start, scope.cte = True, "body"
        elif scope.cte == "name":
            scope.cte = ""
        elif scope.expect and before not in ("top", "vacuum", "analyze") and raw == "(":
            if scope.op == "copy":
                inner.start = True
            else:
                inner.expect, inner.listing = "source", True
            scope.expect = ""
        elif scope.start and not scope.op and not scope.cte:
            inner.start = True
            scope.start = False
        self._scopes.append(inner)

    def _close(self) -> None:
        if len(self._scopes) == 1:
            return
        scope = self._scopes.pop()
        while len(self._names) > scope.names:
            self._known[self._names.pop()] -= 1
        outer = self._scopes[-1]
        if outer.cte == "body":
            outer.cte = "after"
            self._learn(self._pending)

    def _learn(self, name: str) -> None:
        if name:
            self._names.append(name)
            self._known[name] = self._known.get(name, 0) + 1

    def _name(self, scope: _Scope, raw: str) -> bool:
        if scope.cte == "name":
            self._begin_cte(scope, raw)
        elif scope.expect:
            self._path = [raw]
        elif scope.op in _DYNAMIC and scope.start:
            scope.start = False
            return True
        elif scope.op != "explain":
            scope.start = False
        return False

    def _begin_cte(self, scope: _Scope, raw: str) -> None:
        scope.cte = "head"
        self._pending = _folded(raw)
        if scope.recursive:
            self._learn(self._pending)

    def _word(self, scope: _Scope, raw: str, key: str, before: str) -> bool:
        if scope.cte and self._in_with(scope, raw, key):
            return False
        if scope.op in _DYNAMIC and scope.start:
            return self._dynamic(scope, raw, key)
        if scope.kind == "?":
            if key in _DEFINED:
                self._define(scope, raw, key)
            return False
        if scope.expect:
            if key in _SKIPPED:
                return False
            if key not in _NO_TARGET:
                self._path = [raw]
                return False
            scope.expect = ""
        if self._silent:
            return False
        if scope.start and key in _OPERATIONS and not self._is_part(scope, key):
            self._begin(scope, raw, key)
        elif key == "with":
            if scope.start or before == "(" or before == "as" or scope.op in ("insert", "replace"):
                scope.cte, scope.recursive = "name", False
        else:
            scope.start = scope.start and scope.op in ("explain", "describe", "desc")
            self._clause(scope, raw, key, before)
        return False

    def _is_part(self, scope: _Scope, key: str) -> bool:
        """Whether a word that could be an operation is none: an option of EXPLAIN, the rows of a CTE."""
        return (scope.op == "explain" and key in ("analyze", "analyse")) or (key == "values" and len(self._scopes) > 1)

    def _in_with(self, scope: _Scope, raw: str, key: str) -> bool:
        """Whether a word belongs to a WITH clause."""
        if scope.cte == "name":
            if key == "recursive":
                scope.recursive = True
            else:
                self._begin_cte(scope, raw)
        elif scope.cte == "head":
            scope.cte = "as" if key == "as" else ""
        elif scope.cte == "after" and key in _AFTER_WITH:
            scope.cte, scope.start = "", True
            return False
        return True

    def _dynamic(self, scope: _Scope, raw: str, key: str) -> bool:
        if key in ("to", "savepoint") or (scope.op == "save" and key in ("transaction", "tran")):
            self.entries[-1] = (f"{self.entries[-1][0]} {raw}", "operation")
            return False
        if key in ("work", "transaction", "tran"):
            return False
        scope.start = False
        return key not in ("and", "prepared")

    def _define(self, scope: _Scope, raw: str, key: str) -> None:
        self.entries[-1] = (f"{self.entries[-1][0]} {raw}", "operation")
        scope.kind, scope.expect, scope.listing = key, "sink", scope.op == "drop"
        if key in _BODIES and scope.op == "create":
            self._silent = "text"
        elif scope.op != "create":
            self._silent = "statement"

    def _begin(self, scope: _Scope, raw: str, key: str) -> None:
        scope.under, scope.op = scope.op, key
        scope.listing, scope.expect, scope.joined, scope.lazy, scope.kind = False, "", False, "", ""
        scope.start = key in ("explain", "describe", "desc") or key in _DYNAMIC
        self.entries.append((raw, "operation"))
        if key in _ONE_TARGET:
            scope.expect = "sink"
        elif key in _MANY_TARGETS:
            scope.expect, scope.listing = "sink", True
        elif key == "delete":
            scope.expect, scope.listing, scope.mark = "sink", True, len(self.entries)
        elif key in _DEFINES:
            scope.kind = "?"
        elif key in _SILENT:
            self._silent = "statement"

    def _clause(self, scope: _Scope, raw: str, key: str, before: str) -> None:
        if key == "select":
            self._begin(scope, raw, key)
        elif key == "from":
            if scope.op in _READS and before != "distinct":
                if scope.op == "delete" and scope.mark:
                    del self.entries[scope.mark :]
                    scope.mark = 0
                scope.expect, scope.listing, scope.joined = "source", True, False
        elif key == "join" or (key in ("straight_join", "apply") and scope.listing):
            if scope.listing or scope.op in _READS:
                scope.expect, scope.listing, scope.joined = "source", True, key != "apply"
        elif key == "using":
            if scope.op in ("delete", "merge") and not scope.joined:
                scope.expect, scope.listing = "source", True
        elif key == "into":
            if scope.op in ("select", "insert", "replace", "merge", "load", "import"):
                scope.expect, scope.listing = "sink", False
        elif key in _CLAUSES:
            scope.listing = False
            if key == "values":
                self._values(before)
        elif key == "transaction" and scope.op == "start":
            self.entries[-1] = (f"{self.entries[-1][0]} {raw}", "operation")

    def _values(self, before: str) -> None:
        """INSERT ... SELECT ... FROM (VALUES ...), SQLAlchemy's insertmanyvalues, is an INSERT and no SELECT."""
        if before == "(" and len(self._scopes) > 1:
            outer = self._scopes[-2]
            inserts = outer.op == "select" and outer.under == "insert" and outer.listing
            if inserts and self.entries[-1][1] == "operation":
                outer.lazy = self.entries.pop()[0]


def _folded(name: str) -> str:
    return name.strip('"`[]').lower()


def _parse(sql: str, strings: bool) -> Statement:
    try:
        sql.encode()
    except UnicodeEncodeError:  # half of a surrogate pair could be neither hashed nor exported
        sql = sql.encode("utf-8", "replace").decode()
    summary = _Summary()
    text = _Text(summary)
    keys = text.keys
    for kind, raw, spaced in _tokens(sql, strings):
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
        text.add(kind, raw, key, spaced)
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
