"""One table of a PostgreSQL plan, and the scans that its indexes, existing or not, would make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

from dbvitals_processors.hints.explain import size
from dbvitals_processors.hints.explain.pg_btree import Cost, Tree, bitmap_scan, index_part, index_scan
from dbvitals_processors.hints.explain.pg_conditions import Condition, disjuncts, implies, of_scan, plain, read
from dbvitals_processors.hints.explain.pg_plan import Plan
from dbvitals_processors.hints.model import Candidate, Column, Index, Key, Table, Unplannable, quoted, quoted_name

_UNKNOWN = 0.1
_CONDITIONS = ("Plans", "Filter", "Index Cond", "Recheck Cond", "Index Name")
SCANS = frozenset(("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"))
SortKeys = Sequence[tuple[str, bool]]
"""What a Sort sorts by: normalised expressions, each with whether it descends."""


@dataclass(frozen=True)
class Shape:
    """A B-tree, existing or not; ``constant`` are the columns of a partial one's predicate."""

    name: str
    keys: tuple[Key, ...]
    include: tuple[str, ...]
    where: str
    table: Table
    unique: bool = False
    exists: bool = False
    constant: frozenset[str] = frozenset()

    @cached_property
    def bytes(self) -> int:
        """On disk, as the formula has it, were it full."""
        return size.index_bytes(Candidate(self.table.name, self.keys, self.include), self.table)

    def tree(self, share: float) -> Tree:
        """Its size and order; ``share`` is that of the rows which it holds."""
        first = self.table.columns.get(self.keys[0].column or "")
        correlation = first.correlation * (1 - first.null_share) if first is not None else 0.0
        return Tree(
            max(1.0, self.table.rows * share), max(1.0, self.bytes * share / size.PAGE), correlation, len(self.keys)
        )  # fmt: skip

    def covers(self, needed: frozenset[str] | None) -> bool:
        """Whether it holds all the columns that the query needs."""
        return needed is not None and needed <= {*(key.column for key in self.keys), *self.include, *self.constant}


def shapes_of(table: Table, candidates: Sequence[Candidate]) -> list[Shape]:
    """The table's own B-trees, and the candidates."""
    return [
        *(_existing(one, table) for one in table.indexes if one.valid and one.method == "btree"),
        *(_possible(one, table) for one in candidates if one.table == table.name),
    ]


def _possible(one: Candidate, table: Table) -> Shape:
    constant = frozenset(key.column for key in one.stands_for if key.column is not None)
    return Shape(one.name, one.keys, one.include, one.where, table, constant=constant)


def _existing(index: Index, table: Table) -> Shape:
    return Shape(index.name, index.keys, index.include, index.where, table, index.unique, True)


@dataclass(frozen=True)
class Scan:
    """A scan of a plan, looked at anew.

    Args:
        joined: equalities with tables whose rows are at hand; they lead into the index as constants do.
        needed: columns that the query needs; ``None`` for all.
        rows_of: rows of a source, which is SQL for what follows FROM, by the planner's own estimate.
    """

    node: Plan
    table: Table
    needed: frozenset[str] | None
    settings: Mapping[str, float]
    rows_of: Callable[[str], float]
    joined: tuple[Condition, ...] = ()
    loops: float = 1.0

    @cached_property
    def conditions(self) -> list[Condition]:
        """All that its rows must meet."""
        known = of_scan(self.node)
        return [*known, *(one for one in self.joined if one.text not in {c.text for c in known})]

    @cached_property
    def rows(self) -> float:
        """Rows that meet all conditions, joins with others as well."""
        return max(1e-3, self._found([one for one in self.conditions if not one.opaque]))

    def freed(self) -> Plan:
        """A scan of the whole table, without the conditions that need rows of others."""
        kept = [one for one in self.conditions if not one.others]
        alone = replace(self, node={k: v for k, v in self.node.items() if k not in _CONDITIONS}, joined=())
        settings = self.settings
        each = settings["cpu_tuple_cost"] + len(kept) * settings["cpu_operator_cost"]
        total = self.table.pages * settings["seq_page_cost"] + self.table.rows * each
        node = alone._node("Seq Scan", [], Cost(0.0, total), [])
        node |= {"Plan Rows": self._found([one for one in kept if not one.opaque])}
        return {**node, "Filter": f"({' AND '.join(one.text for one in kept)})"} if kept else node

    def by(self, shape: Shape) -> Plan | None:
        """The scan by an index, as a node; ``None`` where the index serves nothing."""
        return self._by(shape, None)

    def again(self, shape: Shape, loops: float) -> Plan:
        """The same scan by an index, run so many times."""
        found = replace(self, loops=loops).by(shape)
        assert found is not None
        return found

    def ordered_by(self, shape: Shape, keys: SortKeys) -> Plan | None:
        """The scan by an index in an order; ``None`` where it has not that order."""
        return self._by(shape, keys)

    def united(self, shapes: Sequence[Shape]) -> Iterator[Plan]:
        """OR, by an index for each branch."""
        for condition in self.conditions:
            if condition.kind != "or" or condition.others or condition.opaque:
                continue
            parts, names = [], []
            for branch in disjuncts(condition.text):
                one = read(branch, self.node["Alias"])
                shape = next((s for s in shapes if not s.where and one.kind and self._serves(s.keys[0], one)), None)
                if shape is None or one.opaque:
                    break
                found = self._found([one])
                parts.append((index_part(shape.tree(1.0), found, 1, self.settings), found))
                names.append(shape.name)
            else:
                rows = self._found([condition])
                cost = bitmap_scan(parts, self.table, rows, len(self.conditions), self.settings)
                yield self._node("Bitmap Heap Scan", names, cost, [condition])

    # --- one index -----------------------------------------------------------------------------------------------

    def _by(self, shape: Shape, order: SortKeys | None) -> Plan | None:
        implied = [one for one in self.conditions if shape.where and implies(one.text, shape.where)]
        if shape.where and not implied:
            return None
        share = min(1.0, self._found(implied) / max(1.0, self.table.rows)) if implied else 1.0
        served, pinned = self._served(shape)
        if order is not None and not _gives(shape, pinned, order, self._constants()):
            return None
        covering = shape.covers(self.needed)
        if order is None and not (served or implied or covering):
            return None
        tree = shape.tree(share)
        found = self._found([*served, *implied])
        if shape.unique and len(pinned) == len(shape.keys):
            found = 1.0
        several = next((one for one in served if one.kind == "in"), None)
        seeks = max(1.0, min(100.0, several.text.count(",") + 1.0)) if several is not None else 1.0
        filters = len(self.conditions) - len(served) - len(implied)
        plainly = index_scan(
            tree, self.table, found, len(served), filters, self.settings,
            covering=covering, seeks=seeks, loops=self.loops,
        )  # fmt: skip
        kind = "Index Only Scan" if covering else "Index Scan"
        if order is None and not covering and self.loops == 1:
            part = index_part(tree, found, len(served), self.settings, seeks)
            bitmap = bitmap_scan([(part, found)], self.table, found, len(served) + filters, self.settings)
            if bitmap.total < plainly.total:
                plainly, kind = bitmap, "Bitmap Heap Scan"
        return self._node(kind, [shape.name], plainly, served)

    def _served(self, shape: Shape) -> tuple[list[Condition], list[Key]]:
        """Conditions by which the index is entered, and the keys that those leave one value each."""
        served: list[Condition] = []
        pinned: list[Key] = []
        for key in shape.keys:
            equal = [one for one in self.conditions if one.kind in ("eq", "in") and not one.opaque and one.on(key)]
            if not equal:
                served += [one for one in self.conditions if not one.opaque and self._bounds(key, one)]
                break
            best = min(equal, key=lambda one: self._found([one]))
            served.append(best)
            if best.kind == "eq":
                pinned.append(key)
        return served, pinned

    def _serves(self, key: Key, one: Condition) -> bool:
        return (one.kind in ("eq", "in") and one.on(key)) or self._bounds(key, one)

    def _bounds(self, key: Key, one: Condition) -> bool:
        if one.kind == "prefix":
            column = self.table.columns.get(key.column or "")
            return one.on(key) and ("pattern_ops" in key.opclass or (column is not None and not column.collated))
        return one.kind == "range" and one.on(key) and not one.others and "pattern_ops" not in key.opclass

    def _constants(self) -> set[str]:
        return {one.left for one in self.conditions if one.kind == "eq"}

    def _found(self, conditions: Sequence[Condition]) -> float:
        """Rows that meet some conditions: the planner's estimate for constants, one value's share for joins."""
        texts = [one.text for one in dict.fromkeys(conditions) if not one.others]
        rows = max(1.0, self.table.rows)
        if texts:
            source = f"{quoted_name(self.table.name)} AS {quoted(self.node['Alias'])} WHERE {' AND '.join(texts)}"
            try:
                rows = min(rows, self.rows_of(source))
            except Unplannable:  # its text makes no sense outside the plan
                rows *= _UNKNOWN ** len(texts)
        return rows * prod(1 / self._distinct(one) for one in conditions if one.others)

    def _distinct(self, one: Condition) -> float:
        column: Column | None = next((c for c in self.table.columns.values() if plain(c.name) == one.left), None)
        return column.distinct if column is not None else 200.0

    def _node(self, kind: str, names: Sequence[str], cost: Cost, served: Sequence[Condition]) -> Plan:
        node = {k: v for k, v in self.node.items() if k not in _CONDITIONS}
        subplans = [p for p in self.node.get("Plans", ()) if p.get("Parent Relationship") in ("SubPlan", "InitPlan")]
        rest = [one.text for one in self.conditions if one not in served and not one.others]
        by = {"Index Cond": f"({' AND '.join(one.text for one in served)})"} if served else {}
        below = [{"Node Type": "Bitmap Index Scan", "Index Name": name, "Plan Rows": self.rows, "Startup Cost": 0.0,
                  "Total Cost": cost.startup, "Parent Relationship": "Outer", **by} for name in names]  # fmt: skip
        node |= {"Node Type": kind, "Startup Cost": cost.startup, "Total Cost": cost.total, "Plan Rows": self.rows}
        if kind == "Bitmap Heap Scan":
            node["Plans"] = [*below, *subplans]
        elif names:
            node |= {"Index Name": names[0], **by}
            if subplans:
                node["Plans"] = subplans
        if rest:
            node["Filter"] = f"({' AND '.join(rest)})"
        return node


def _gives(shape: Shape, pinned: Sequence[Key], order: SortKeys, constants: set[str]) -> bool:
    """Whether an index gives an order, forwards or backwards."""
    done = {plain(key.column or key.sql) for key in pinned} | constants
    wanted = [one for one in order if one[0] not in done]
    keys = [key for key in shape.keys if plain(key.column or key.sql) not in done]
    if len(keys) < len(wanted):
        return False
    turns = set()
    for key, (text, descending) in zip(keys, wanted, strict=False):
        if plain(key.column or key.sql) != text:
            return False
        turns.add(key.descending != descending)
    return len(turns) <= 1
