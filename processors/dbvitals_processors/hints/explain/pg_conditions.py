"""Conditions as PostgreSQL's plans write them, and whether a key of an index serves one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from dbvitals_processors.hints.explain.pg_plan import Plan
from dbvitals_processors.hints.model import Key

Kind = Literal["eq", "in", "range", "prefix", "or", ""]

_CAST = re.compile(r"::(?:\"[^\"]+\"|character varying|double precision|bit varying|timestamp with(?:out)? time zone"
                   r"|time with(?:out)? time zone|\w+)(?:\(\d+(?:,\d+)?\))?(?:\[\])?")  # fmt: skip
_NAMED_CAST = re.compile(r"\bcast\((.+?) as [a-z ]+(?:\(\d+\))?\)")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_QUALIFIED = re.compile(r'(?<![\w.])("[^"]+"|[a-z_]\w*)\.(?=["a-z_])')
_PARTS = re.compile(
    r"^(?P<left>.+?) (?P<operator>=|<=|>=|<|>|~~|IS NULL|IS NOT NULL|IS TRUE|IS FALSE)(?: (?P<right>.+))?$", re.DOTALL
)
_ROW = re.compile(r"^ROW\(([^,]+),")


@dataclass(frozen=True, slots=True)
class Condition:
    """One conjunct.

    Attributes:
        text: as the plan has it.
        left, right: what is compared, normalised by :func:`plain`.
        others: aliases of other tables in it.
        opaque: whether it can only be tried where it stands: it needs a subplan's or an outer query's value.
    """

    text: str
    kind: Kind
    left: str
    right: str
    others: frozenset[str]
    opaque: bool = False

    def on(self, key: Key) -> bool:
        """Whether it is a condition on the key."""
        return self.left == plain(key.column if key.column is not None else key.sql)

    def turned(self) -> Condition:
        """The same with its sides exchanged; of equality alone."""
        return replace(self, left=self.right, right=self.left)


def of_scan(node: Plan) -> list[Condition]:
    """All conditions that a scan's rows meet."""
    texts = dict.fromkeys(text for name in ("Filter", "Index Cond", "Recheck Cond") for text in conjuncts(node, name))
    return [read(text, node["Alias"]) for text in texts]


def of_join(node: Plan, alias: str) -> list[Condition]:
    """Equalities between the table ``alias`` and others, the table's side on the left."""
    found = []
    for text in (text for name in ("Hash Cond", "Merge Cond", "Join Filter") for text in conjuncts(node, name)):
        one = read(text, alias)
        if _mentions(text, alias):
            found.append(one if _begins_with(text, alias) else one.turned())
    inner = bare(node["Plans"][1])
    if (
        node["Node Type"] == "Nested Loop" and "Alias" in inner
    ):  # what it is asked for, row by row; its own side is bare
        for one in of_scan(inner):
            if inner["Alias"] == alias:
                found.append(one)
            elif alias in one.others:
                found.append(replace(one.turned(), others=frozenset({inner["Alias"]})))
    return [one for one in found if one.kind == "eq" and one.others and not one.opaque]


def conjuncts(node: Plan, name: str) -> list[str]:
    """The parts of one of a node's conditions, each between parentheses; none where it has no such."""
    return [f"({part})" for part in _parts(node[name], " AND ")] if name in node else []


def bare(node: Plan) -> Plan:
    while node["Node Type"] in ("Hash", "Sort", "Materialize", "Memoize") and len(node.get("Plans", ())) == 1:
        node = node["Plans"][0]
    return node


def read(text: str, alias: str) -> Condition:
    """A conjunct, read; ``alias`` is the table that it is looked at from."""
    bare = _TEXT.sub("''", text)
    others = frozenset(name.strip('"') for name in _QUALIFIED.findall(bare)) - {alias}
    opaque = "SubPlan" in bare or "InitPlan" in bare or bool(re.search(r"\$\d", bare))
    inner = _unwrapped(text)
    if " OR " in _TEXT.sub("", inner) and len(list(disjuncts(text))) > 1:
        return Condition(text, "or", "", "", others, opaque)
    if inner.startswith("NOT ") or re.fullmatch(r"[\w.\"]+", inner):
        return Condition(text, "eq", plain(inner.removeprefix("NOT ")), inner[:3], others, opaque)
    found = _PARTS.match(inner)
    if found is None:
        return Condition(text, "", "", "", others, opaque)
    left, operator, right = found["left"], found["operator"], found["right"] or ""
    row = _ROW.match(left)
    if row is not None:
        left = row.group(1)
    kind: Kind = "range"
    if operator in ("=", "IS NULL", "IS TRUE", "IS FALSE"):
        kind = "in" if right.startswith("ANY ") else "eq"
    elif operator == "~~":
        kind = "prefix" if re.match(r"'[^%_']", right) else ""
    elif operator == "IS NOT NULL":
        kind = "range"
    return Condition(text, kind, plain(left), plain(right), others, opaque)


def disjuncts(text: str) -> Iterator[str]:
    """The branches of an OR."""
    return _parts(text, " OR ")


def _parts(text: str, word: str) -> Iterator[str]:
    inner = _unwrapped(text)
    depth, start, quoted = 0, 0, False
    for place, letter in enumerate(inner):
        if letter == "'":
            quoted = not quoted
        elif not quoted:
            depth += (letter == "(") - (letter == ")")
            if depth == 0 and inner.startswith(word, place):
                yield _unwrapped(inner[start:place])
                start = place + len(word)
    yield _unwrapped(inner[start:])


def plain(sql: str) -> str:
    """An expression without casts, table names, parentheses and spaces: for comparison only."""
    pieces, end = [], 0
    for match in _TEXT.finditer(sql):
        pieces += [_squeezed(sql[end : match.start()]), match.group()]
        end = match.end()
    return "".join([*pieces, _squeezed(sql[end:])])


def _squeezed(sql: str) -> str:
    sql = _NAMED_CAST.sub(r"\1", _QUALIFIED.sub("", _CAST.sub("", sql)).lower())
    return re.sub(r'[\s()"]', "", sql)


def implies(text: str, where: str) -> bool:
    """Whether a conjunct is the very predicate of a partial index."""
    several = re.fullmatch(r"(.+?) IN \((.*)\)", where, re.DOTALL)
    if several is None:
        return plain(text).removesuffix("istrue") == plain(where).removesuffix("istrue")
    any_of = re.fullmatch(r"(.+?)=any'\{(.*)\}'", plain(text), re.DOTALL)
    if any_of is None or any_of[1] != plain(several[1]):
        return False
    return {one.strip('"') for one in any_of[2].split(",")} == {one.strip().strip("'") for one in several[2].split(",")}


def _unwrapped(text: str) -> str:
    while text.startswith("(") and _closes_last(text):
        text = text[1:-1]
    return text


def _closes_last(text: str) -> bool:
    depth, quoted = 0, False
    for place, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted:
            depth += (letter == "(") - (letter == ")")
            if depth == 0:
                return place == len(text) - 1
    return False


def _begins_with(text: str, alias: str) -> bool:
    return re.match(rf'\(*(?:\w+\()?\(*"?{re.escape(alias)}"?\.', text) is not None


def _mentions(text: str, alias: str) -> bool:
    return re.search(rf'(?<![\w.])"?{re.escape(alias)}"?\.', _TEXT.sub("''", text)) is not None
