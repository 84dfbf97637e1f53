"""The tokens of an SQL text, in any dialect.

Where dialects disagree on where a literal ends, more is taken for literal rather than less: what was a literal in any
of them is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from functools import lru_cache
from typing import TypeAlias

Token: TypeAlias = tuple[str, str, bool]
"""Kind, text as written, and whether white space came before it."""

Tokens: TypeAlias = Generator[Token, "re.Pattern[str] | None", None]
"""Send a pattern to skip what matches it after the last token: the answer is a token ``run``, what has been skipped."""

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
  | (?P<broken>(?:[uU]&)?["`].*)
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


def tokens(sql: str, strings: bool) -> Tokens:
    """The tokens of a text, comments left out; ``strings``: ``"..."`` is one, and ``#`` begins a comment."""
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


def _agreed(one: Tokens, other: Tokens) -> Tokens:
    for token, same in zip(one, other, strict=False):
        if token != same:
            yield "value", "?", True
            return
        if (yield token) is not None:
            yield "run", "", False


def _scan(sql: str, strings: bool, escapes: bool) -> Tokens:
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
            run = yield kind, raw, len(match[0]) > len(raw)
            if run is not None:
                skipped = run.match(sql, match.end())
                position = skipped.end() if skipped else match.end()
                yield "run", sql[match.end() : position], False
                break


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
