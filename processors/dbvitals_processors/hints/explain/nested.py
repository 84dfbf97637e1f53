"""The cheapest plan of nested loops for a statement, where the database cannot be asked about hypothetical indexes.

A small planner: each SELECT's tables in each order that its LEFT JOINs allow, each by its best index or by a scan; an
index's order saves a sort and lets a LIMIT stop early.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import log2, prod

from dbvitals_processors.hints.explain.asked import FROM_QUERY, Asked, Block
from dbvitals_processors.hints.explain.paths import Match, Shape, match
from dbvitals_processors.hints.model import Candidate, TableName
from dbvitals_processors.hints.terms import ELSEWHERE

MOST_PERMUTED = 5


@dataclass(frozen=True, slots=True)
class Prices:
    """In PostgreSQL's units, about 2.7 µs, so that an index's upkeep means the same everywhere.

    Attributes:
        page: of a scan; row: of a scan; entry: of an index; lookup: of a row by an index's entry.
        seek: entering an index; deeper: for each doubling of its entries.
        sorted: a row that is sorted; kept: a row that ORDER BY with LIMIT looks at; compared: a pair of a join.
        statement: once.
    """

    page: float = 0.3
    row: float = 0.08
    entry: float = 0.05
    lookup: float = 0.3
    seek: float = 0.3
    deeper: float = 0.02
    sorted: float = 0.15
    kept: float = 0.05
    compared: float = 0.01
    statement: float = 8.0


@dataclass(frozen=True, slots=True)
class Access:
    """How one table is read: cost and rows for one row before it; ``by`` are the indexes."""

    alias: str
    how: str
    cost: float
    rows: float
    by: tuple[Shape, ...] = ()
    once: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan for one SELECT or, with all their accesses, for all of a statement's."""

    cost: float
    rows: float
    accesses: tuple[Access, ...] = ()

    @property
    def used(self) -> frozenset[Candidate]:
        """Those of its indexes that do not exist."""
        return frozenset(shape.candidate for a in self.accesses for shape in a.by if shape.candidate is not None)


class Nested:
    """Plans a statement.

    Args:
        shapes: each table's indexes, existing ones and others.
    """

    def __init__(self, shapes: Mapping[TableName, Sequence[Shape]], prices: Prices | None = None) -> None:
        self._shapes = shapes
        self._prices = prices or Prices()

    def plan(self, blocks: Sequence[Block]) -> Plan:
        """The cheapest for all SELECTs together."""
        plans = [(block, self._block(block)) for block in blocks]
        around = max([plan.rows for block, plan in plans if not block.correlated], default=1.0)
        total = sum(plan.cost * (max(1.0, around) if block.correlated else 1.0) for block, plan in plans)
        accesses = tuple(one for _, plan in reversed(plans) for one in plan.accesses)
        return Plan(total + self._prices.statement, around, accesses)

    def _block(self, block: Block) -> Plan:
        found = [
            plan
            for order in _orders(block)
            for plan in (self._joined(block, order, ordered=False), self._joined(block, order, ordered=True))
            if plan is not None
        ]
        return min(found, key=lambda plan: plan.cost, default=Plan(0.0, FROM_QUERY))

    def _joined(self, block: Block, order: Sequence[Asked], *, ordered: bool) -> Plan | None:
        """The tables in this order; ``ordered``: the first by an index that gives the order asked for."""
        cost, loops = 0.0, FROM_QUERY**block.derived
        known = frozenset[str]()
        accesses = []
        for number, asked in enumerate(order):
            wanted = ordered and number == 0
            options = [one for one in self._options(asked, known) if not wanted or one[1]]
            if not options:
                return None
            best = min((one for one, _ in options), key=lambda one: one.once + loops * one.cost)
            accesses.append(best)
            cost += best.once + loops * best.cost
            loops *= best.rows
            known |= {asked.access.alias}
        if block.sorts and not ordered:
            few = block.limit is not None and block.limit < loops / 4
            cost += max(1.0, loops) * (self._prices.kept if few else self._prices.sorted + 0.01 * log2(loops + 2))
        elif block.limit is not None and loops > block.limit:
            cost *= block.limit / loops
        return Plan(cost, min(loops, block.limit or loops), tuple(accesses))

    # --- one table -----------------------------------------------------------------------------------------------

    def _options(self, asked: Asked, known: frozenset[str]) -> Iterator[tuple[Access, bool]]:
        """Ways to read a table, each with whether it gives the order or the groups asked for."""
        table, prices = asked.access.table, self._prices
        total = max(1.0, table.rows)
        out = max(1e-4, total * prod(c.share for c in asked.conditions if c.others <= known | {ELSEWHERE}))
        scan = table.pages * prices.page + total * prices.row
        alias = asked.access.alias
        yield Access(alias, "scan", scan, out), False
        if known:  # a join's buffer: read once, compared with everything
            yield Access(alias, "join buffer", total * prices.compared, out, (), scan), False
        shapes = self._shapes.get(table.name, ())
        for shape in shapes:
            found = match(shape, asked, known, table.primary_key)
            if found is not None and (found.served or found.covering or found.ordered or found.grouped):
                yield self._by(found, asked, out), found.ordered or found.grouped
        yield from ((one, False) for one in self._united(asked, shapes, out))

    def _by(self, found: Match, asked: Asked, out: float) -> Access:
        table, prices, shape = asked.access.table, self._prices, found.shape
        total = max(1.0, table.rows)
        rows = found.rows
        if len(asked.access.extremes) == 1 and not found.ranged and _next_is_extreme(found, asked):
            rows = out = 1.0
        if shape.clustered:
            each = prices.row + prices.page * table.pages / total
        else:
            each = prices.entry + (0.0 if found.covering else prices.lookup)
        several = [c.share * total for c in found.equal if any(p.operator == "in" for p in c.predicates)]
        seeks = min(100.0, prod(max(1.0, one / max(1.0, rows)) for one in several)) if several else 1.0
        cost = seeks * (prices.seek + prices.deeper * log2(total + 2)) + rows * each
        return Access(asked.access.alias, "index", cost, min(out, max(rows, 1e-4)), (shape,))

    def _united(self, asked: Asked, shapes: Sequence[Shape], out: float) -> Iterator[Access]:
        """OR by an index for each branch."""
        prices, total = self._prices, max(1.0, asked.access.table.rows)
        for condition in asked.conditions:
            for branches in condition.alternatives:
                by = [
                    next((s for s in shapes if any(p.term.column == s.keys[0].column for p in branch)), None)
                    for branch in branches
                ]
                if all(one is not None and not one.where and one.keys[0].column for one in by):
                    each = prices.entry + prices.lookup + prices.sorted
                    cost = len(by) * (prices.seek + prices.deeper * log2(total)) + condition.share * total * each
                    kept = tuple(one for one in by if one is not None)
                    yield Access(asked.access.alias, "index merge", cost, out, kept)


def _next_is_extreme(found: Match, asked: Asked) -> bool:
    number = len(found.equal)
    keys = found.shape.keys
    extreme = asked.access.extremes[0]
    others = sum(1 for one in asked.conditions if one not in found.equal)
    return number < len(keys) and keys[number].column == extreme.column and extreme.column is not None and not others


def _orders(block: Block) -> Iterator[Sequence[Asked]]:
    if len(block.tables) > MOST_PERMUTED:
        yield block.tables
        for first in block.tables:
            if not first.after:
                yield (first, *(one for one in block.tables if one is not first))
        return
    for order in permutations(block.tables):
        before: set[str] = set()
        for one in order:
            if not one.after <= before:
                break
            before.add(one.access.alias)
        else:
            yield order
