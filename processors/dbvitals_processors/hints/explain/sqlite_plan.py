"""SQLite's EXPLAIN QUERY PLAN, and what it costs: SQLite itself gives no cost.

One unit is PostgreSQL's, about 2.7 µs, so that the upkeep of an index means the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log2, prod

from dbvitals_processors.hints.explain.asked import FROM_QUERY, Asked, Block
from dbvitals_processors.hints.explain.paths import Match, Shape, entries, match
from dbvitals_processors.hints.terms import ELSEWHERE

PAGE, ROW, ENTRY, LOOKUP, SEEK, DEEPER, SORTED, KEPT = 0.15, 0.02, 0.013, 0.25, 0.1, 0.008, 0.08, 0.02
STATEMENT = 2.0
"""Measured: 30,000 rows of 90 bytes, cached. ``KEPT`` is for a row that ORDER BY with LIMIT looks at."""

_ACCESS = re.compile(r"(SCAN|SEARCH) (?:TABLE |SUBQUERY )?(\S+)(?: AS (\S+))?(?: USING (.*))?$")
_INDEX = re.compile(
    r"(?P<how>(?:AUTOMATIC |PARTIAL |COVERING )*)(?:INDEX (?P<name>\S+)?|INTEGER PRIMARY KEY|PRIMARY KEY)"
)
_ONCE = ("SCALAR SUBQUERY", "LIST SUBQUERY", "MATERIALIZE", "CO-ROUTINE", "COMPOUND", "LEFT-MOST", "UNION", "MERGE",
         "EXCEPT", "INTERSECT", "LEFT", "RIGHT", "REUSE", "SETUP", "RECURSIVE")  # fmt: skip


@dataclass
class Node:
    """One line of the plan, and those below it."""

    detail: str
    below: list[Node] = field(default_factory=list)


def tree(rows: Iterable[tuple[int, int, int, str]]) -> Node:
    """The plan's lines as a tree."""
    nodes = {0: Node("")}
    for number, parent, _, detail in rows:
        nodes[number] = Node(detail)
        nodes.get(parent, nodes[0]).below.append(nodes[number])
    return nodes[0]


def as_text(node: Node, depth: int = 0) -> str:
    """One line a node; SQLite's own text has ``?`` where values were."""
    return "\n".join(f"{'  ' * depth}{one.detail}\n{as_text(one, depth + 1)}".rstrip() for one in node.below)


def index_names(node: Node) -> set[str]:
    """Names of the indexes that it uses."""
    found = {m.group(1) for m in re.finditer(r"\bINDEX (\S+)", node.detail)}
    return found.union(*(index_names(one) for one in node.below))


@dataclass
class Pricer:
    """Prices one plan.

    Args:
        shapes: indexes by name, those of each table's row id and primary key as ``table`` with ``""``.
    """

    blocks: Sequence[Block]
    shapes: Mapping[str, Shape]
    primary: Mapping[str, Shape]
    derived: dict[str, float] = field(default_factory=dict)
    _taken: list[Asked] = field(default_factory=list)

    def cost(self, plan: Node) -> float:
        """Units for one execution."""
        return self._level(plan)[0] + STATEMENT

    def _level(self, node: Node) -> tuple[float, float]:
        """Cost and rows of one SELECT."""
        cost, rows, stop = 0.0, 1.0, 1.0
        partly, block = False, None
        sorts: list[str] = []
        known = frozenset[str]()
        for one in node.below:
            detail = one.detail
            access = _ACCESS.match(detail)
            if access is not None or detail.startswith("MULTI-INDEX OR"):
                price, out, asked = self._access(one, known)
                cost, rows = cost + rows * price, rows * out
                if asked is not None:
                    known |= {asked.access.alias}
                    block = block or next((b for b in self.blocks if any(asked is t for t in b.tables)), None)
            elif detail.startswith("USE TEMP B-TREE"):
                partly = partly or " OF ORDER BY" in detail
                sorts.append(detail)
            elif detail.startswith("CORRELATED"):
                cost += max(1.0, rows) * self._level(one)[0]
            elif detail.startswith(_ONCE) or one.below:
                price, out = self._level(one)
                name = detail.rpartition(" ")[2]
                self.derived[name] = out
                cost += price
                if not detail.startswith(("SCALAR", "LIST", "MATERIALIZE", "CO-ROUTINE", "REUSE")):
                    rows = max(rows, out)
        if block is not None and block.limit is not None and (not sorts or partly) and rows > block.limit:
            stop = (block.limit + (rows**0.5 if partly else 0)) / rows
        for kind in sorts:
            few = kind.endswith("ORDER BY") and block is not None and block.limit is not None and block.limit < rows / 4
            cost += max(1.0, rows) * (KEPT if few else SORTED + DEEPER * log2(rows + 2))
        return cost * min(1.0, stop), max(rows * min(1.0, stop), 0.1)

    def _access(self, node: Node, known: frozenset[str]) -> tuple[float, float, Asked | None]:
        """Price and rows for one row of what is before it."""
        if node.detail.startswith("MULTI-INDEX OR"):
            return self._united(node, known)
        found = _ACCESS.match(node.detail)
        assert found is not None
        verb, name, alias, how = found.groups()
        asked = self._asked(alias or name)
        if asked is None:
            rows = self.derived.get(name.strip("()"), self.derived.get(name, FROM_QUERY))
            return rows * ROW, rows if verb == "SCAN" else 1.0, None
        table = asked.access.table
        total = max(1.0, table.rows)
        out = max(total * prod(c.share for c in asked.conditions if c.others <= known | {ELSEWHERE}), 1e-4)
        scan = table.pages * PAGE + total * ROW
        index = _INDEX.match(how or "")
        if index is None:
            return scan, out, asked
        if "AUTOMATIC" in index["how"]:
            build = scan + total * (SORTED + DEEPER * log2(total + 2))
            return build / 20 + SEEK + out * ENTRY, out, asked
        shape = self.shapes.get(index["name"] or "", self.primary.get(table.name.name))
        if shape is None:
            return scan, out, asked
        covering = shape.clustered or "COVERING" in index["how"]
        each = ENTRY + (0.0 if covering else LOOKUP)
        if verb == "SCAN":
            return total * each * (_partial(shape, asked)), out, asked
        taken = match(shape, asked, known)
        read, seeks = self._read(shape, asked, taken, how or "")
        return seeks * (SEEK + DEEPER * log2(total + 2)) + read * each, min(out, read), asked

    def _read(self, shape: Shape, asked: Asked, taken: Match | None, how: str) -> tuple[float, float]:
        """Entries that are read, and how often the index is entered anew."""
        if taken is None:
            return asked.access.table.rows, 1.0
        told = re.search(r"\((.*)\)", how)
        if told is None:  # min() or max()
            return 1.0, 1.0
        if "ANY(" in told.group(1):  # it skips from one value of the first key to the next
            return asked.access.table.rows * asked.left, 100.0
        number = len(re.findall(r"[^<>]=\?", told.group(1).replace("<expr>", "expression")))
        equal = taken.equal[:number]
        ranged = taken.ranged if number == len(taken.equal) else ()
        read = entries(shape, asked.access.table, equal, ranged, asked)
        extreme = asked.access.extremes[0].column if len(asked.access.extremes) == 1 else None
        if extreme is not None and number < len(shape.keys) and shape.keys[number].column == extreme:
            read = 1.0
        several = [c for c in equal if any(p.operator == "in" for p in c.predicates)]
        column = asked.access.table.columns
        seeks = prod(
            max(1.0, c.share * column[key.column or ""].distinct if key.column in column else 2.0)
            for key, c in zip(shape.keys, equal, strict=False)
            if c in several
        )
        return max(read, 0.1), min(seeks, 1000.0)

    def _united(self, node: Node, known: frozenset[str]) -> tuple[float, float, Asked | None]:
        """OR by several indexes: each branch's entries, each row looked up once."""
        lines = [line for one in node.below for line in (one.below or [one])]
        accesses = [m for line in lines if (m := _ACCESS.match(line.detail)) is not None]
        if not accesses:
            return SEEK, 1.0, None
        asked = self._asked(accesses[0][3] or accesses[0][2])
        if asked is None:
            return SEEK, 1.0, None
        total = max(1.0, asked.access.table.rows)
        share = min([c.share for c in asked.conditions if c.alternatives], default=0.1)
        out = max(total * asked.left, 1e-4)
        return len(accesses) * SEEK + total * share * (ENTRY + LOOKUP + SORTED), out, asked

    def _asked(self, alias: str) -> Asked | None:
        found = [one for block in self.blocks for one in block.tables if one.access.alias == alias]
        fresh = [one for one in found if not any(one is taken for taken in self._taken)]
        if not found:
            return None
        one = (fresh or found)[0]
        self._taken.append(one)
        return one


def _partial(shape: Shape, asked: Asked) -> float:
    if not shape.where:
        return 1.0
    return min((c.share for c in asked.conditions if any(p.sql == shape.where for p in c.predicates)), default=1.0)
