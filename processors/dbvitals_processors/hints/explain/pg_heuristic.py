"""PostgreSQL without HypoPG: its own plan of today, with what indexes would change worked into it.

Scans, sorts, joins and limits are priced anew from the bottom up, by PostgreSQL's formulas, with rows by its estimates;
every other node keeps what it costs itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dbvitals_processors.hints import parsing
from dbvitals_processors.hints.explain.pg_conditions import Condition, bare, of_join, plain
from dbvitals_processors.hints.explain.pg_plan import Plan, nodes
from dbvitals_processors.hints.explain.pg_shapes import SCANS, Scan, Shape, SortKeys, shapes_of
from dbvitals_processors.hints.model import Candidate, Catalogue, Table, Unplannable, WorkloadQuery
from dbvitals_processors.hints.reading import Access

_JOINS = frozenset(("Nested Loop", "Hash Join", "Merge Join"))
_MEMOIZE = 140_000
"""The first version that has it."""
_PROBED = {"Inner": (0, 1), "Left": (1,), "Semi": (1,), "Anti": (1,), "Right": (0,)}
"""Which sides of a join an index may be asked for, row by row of the other."""


def replanned(
    plan: Plan,
    indexes: frozenset[Candidate],
    catalogue: Catalogue,
    accesses: Sequence[Access],
    rows_of: Callable[[str], float],
) -> Plan:
    """The plan as it would be with these indexes, as far as formulas tell; the same where none would be used.

    Args:
        accesses: what the query needs of each table.
        rows_of: rows of a source, which is SQL for what follows FROM, by the planner's own estimate.
    """
    found = _Planner(plan, indexes, catalogue, accesses, rows_of).rewritten(plan)
    return found if found["Total Cost"] < plan["Total Cost"] else plan


def accesses_of(query: WorkloadQuery, catalogue: Catalogue) -> tuple[Access, ...]:
    """What a query needs of each table; nothing where nobody can read it."""
    try:
        return parsing.read(parsing.parse(query.sql, catalogue.system), catalogue).accesses
    except Unplannable:
        return ()


class _Planner:
    def __init__(
        self,
        plan: Plan,
        indexes: frozenset[Candidate],
        catalogue: Catalogue,
        accesses: Sequence[Access],
        rows_of: Callable[[str], float],
    ) -> None:
        self._catalogue = catalogue
        self._rows_of = rows_of
        self._candidates = sorted((one for one in indexes if one.method == "btree"), key=lambda c: (len(c.keys), c.id))
        self._accesses = {one.alias: one for one in accesses}
        self._shapes: dict[str, list[Shape]] = {}
        scans = ((one["Alias"], self._table(one)) for one in nodes(plan) if "Alias" in one)
        self._aliases = {alias: table for alias, table in scans if table is not None}

    def rewritten(self, node: Plan) -> Plan:
        """The cheapest that can be made of a node."""
        return min(self._alternatives(node), key=lambda one: float(one["Total Cost"]))

    def _alternatives(self, node: Plan) -> Iterator[Plan]:
        kind = node["Node Type"]
        if kind in SCANS and self._table(node) is not None:
            yield node
            yield from self._scans(node)
            return
        below = [self.rewritten(one) for one in node.get("Plans", ())]
        if kind == "Limit":
            yield from (_limited(node, one, below[1:]) for one in (below[0], *self._unsorted(node["Plans"][0])))
            return
        yield _with(node, below)
        if kind in ("Sort", "Incremental Sort"):
            yield from self._unsorted(node)
        elif kind in _JOINS:
            yield from self._probed(node, below)
        elif kind == "Aggregate" and node.get("Strategy") == "Plain":
            yield from self._extreme(node)

    # --- scans ---------------------------------------------------------------------------------------------------

    def _table(self, node: Plan) -> Table | None:
        return self._catalogue.find(node["Relation Name"], node.get("Schema", "")) if "Relation Name" in node else None

    def _scan(self, node: Plan, joined: tuple[Condition, ...] = (), loops: float = 1.0) -> Scan | None:
        table = self._table(node)
        if table is None or node["Node Type"] not in SCANS:
            return None
        access = self._accesses.get(node["Alias"])
        needed = access.needed if access is not None else None
        return Scan(node, table, needed, self._catalogue.settings, self._rows_of, joined, loops)

    def _of(self, table: Table) -> list[Shape]:
        return self._shapes.setdefault(str(table.name), shapes_of(table, self._candidates))

    def _scans(self, node: Plan) -> Iterator[Plan]:
        scan = self._scan(node)
        if scan is None:
            return
        shapes = self._of(scan.table)
        yield from (one for shape in shapes if not shape.exists and (one := scan.by(shape)) is not None)
        yield from scan.united(shapes)

    def _extreme(self, node: Plan) -> Iterator[Plan]:
        """min() or max(), by the first entry of an index."""
        scan = self._scan(node["Plans"][0])
        access = self._accesses.get(node["Plans"][0].get("Alias", ""))
        if scan is None or access is None or len(set(access.extremes)) != 1:
            return
        wanted = ((plain(access.extremes[0].column or access.extremes[0].sql), False),)
        for shape in self._of(scan.table):
            found = scan.ordered_by(shape, wanted)
            if found is not None:
                cost = len(access.extremes) * float(_first_row(found)["Total Cost"])
                yield {**node, "Plans": [found], "Startup Cost": cost, "Total Cost": cost + 0.02}

    # --- order ---------------------------------------------------------------------------------------------------

    def _unsorted(self, node: Plan) -> Iterator[Plan]:
        """What gives a sort's order without it."""
        if node["Node Type"] in ("Sort", "Incremental Sort"):
            yield from self._ordered(node["Plans"][0], _sort_keys(node))
        elif node["Node Type"] in ("LockRows", "Subquery Scan", "Result") and node.get("Plans"):
            yield from (_with(node, [one]) for one in self._unsorted(node["Plans"][0]))

    def _ordered(self, node: Plan, keys: SortKeys) -> Iterator[Plan]:
        """The node's rows in an order."""
        if node["Node Type"] in SCANS:
            scan = self._scan(node)
            if scan is not None:
                yield from (one for s in self._of(scan.table) if (one := scan.ordered_by(s, keys)) is not None)
        elif node["Node Type"] in _JOINS and node.get("Join Type") in ("Inner", "Left", "Semi", "Anti"):
            outer, inner = node["Plans"][:2]
            for first in self._ordered(bare(outer), keys):
                if node["Node Type"] == "Nested Loop":
                    yield _with(node, [first, self.rewritten(inner), *node["Plans"][2:]])
                yield from self._looped(node, first, inner)
            if node["Join Type"] == "Inner":
                for first in self._ordered(bare(inner), keys):
                    yield from self._looped(node, first, outer)

    # --- joins ---------------------------------------------------------------------------------------------------

    def _probed(self, node: Plan, below: Sequence[Plan]) -> Iterator[Plan]:
        """A nested loop that asks an index for each row of the other side."""
        for side in _PROBED.get(node.get("Join Type", ""), ()):
            yield from self._looped(node, bare(below[1 - side]), node["Plans"][side])

    def _values(self, joined: Sequence[Condition], loops: float) -> float:
        """How many different values the other side asks for."""
        if self._catalogue.version < _MEMOIZE:
            return loops
        found = 1.0
        for one in joined:
            table = next((self._aliases[alias] for alias in one.others if alias in self._aliases), None)
            columns = table.columns.values() if table is not None else ()
            found *= next((c.distinct for c in columns if plain(c.name) == one.right), loops)
        return min(loops, found)

    def _freed(self, node: Plan) -> Plan:
        """A scan that was asked row by row of another table, standing by itself."""
        scan = self._scan(node)
        if scan is None or not any(one.others for one in scan.conditions):
            return node
        alone = scan.freed()
        return self.rewritten(alone)

    def _looped(self, node: Plan, outer: Plan, inner: Plan) -> Iterator[Plan]:
        side = bare(inner)
        if "Alias" not in side:
            return
        joined = tuple(of_join(node, side["Alias"]))
        outer = self._freed(outer)
        loops = max(1.0, float(outer["Plan Rows"]))
        scan = self._scan(side, joined, loops) if joined else None
        if scan is None:
            return
        per_row = self._catalogue.settings["cpu_tuple_cost"]
        for shape in self._of(scan.table):
            probe = scan.by(shape)
            if probe is None or not any(one.text in probe.get("Index Cond", "") for one in joined):
                continue
            asked = self._values(joined, loops)
            if asked < loops:  # Memoize remembers what was found for a value
                again = scan.again(shape, asked)
                run = asked * again["Total Cost"] + loops * 2 * per_row
                total = min(loops * probe["Total Cost"], run)
            else:
                total = loops * probe["Total Cost"]
            total += outer["Total Cost"] + node["Plan Rows"] * per_row
            startup = outer["Startup Cost"] + probe["Startup Cost"]
            yield {**node, "Node Type": "Nested Loop", "Plans": [outer, probe, *node["Plans"][2:]],
                   "Startup Cost": startup, "Total Cost": total}  # fmt: skip


def _with(node: Plan, below: Sequence[Plan]) -> Plan:
    """A node with other ones below it; it keeps what it costs itself, and how often it runs them."""
    before: Sequence[Plan] = node.get("Plans", ())
    if all(one is other for one, other in zip(before, below, strict=True)):
        return node
    total, startup = float(node["Total Cost"]), float(node["Startup Cost"])
    for number, (old, new) in enumerate(zip(before, below, strict=True)):
        if old is new:
            continue
        beside = [one for one in before if one is not old and one.get("Parent Relationship") != "InitPlan"]
        if node["Total Cost"] < old["Total Cost"]:  # EXISTS and the like stop at the first row
            old, new = _first_row(old), _first_row(new)
        times = 1.0
        if (node["Node Type"] == "Nested Loop" and number == 1) or old.get("Parent Relationship") == "SubPlan":
            own = node["Total Cost"] - sum(one["Total Cost"] for one in beside)
            times = max(1.0, own / max(1e-6, old["Total Cost"]))
        total -= times * (old["Total Cost"] - new["Total Cost"])
        point = "Total Cost" if node["Startup Cost"] >= 0.99 * old["Total Cost"] else "Startup Cost"
        startup -= old[point] - new[point]
    total = max(total, 0.01, startup)
    return {**node, "Plans": list(below), "Total Cost": total, "Startup Cost": max(0.0, startup)}


def _first_row(node: Plan) -> Plan:
    run = (node["Total Cost"] - node["Startup Cost"]) / max(1.0, float(node["Plan Rows"]))
    return {**node, "Total Cost": node["Startup Cost"] + run}


def _limited(node: Plan, below: Plan, rest: Sequence[Plan]) -> Plan:
    """A limit over something else, which is read as far as before."""
    old = node["Plans"][0]
    if old is below:
        return node
    rows = max(1.0, float(node["Plan Rows"]))
    run = old["Total Cost"] - old["Startup Cost"]
    share = (node["Total Cost"] - old["Startup Cost"]) / run if run > 0 else 1.0
    read = max(rows, share * float(old["Plan Rows"]))
    fraction = min(1.0, read / max(1.0, float(below["Plan Rows"])))
    total = below["Startup Cost"] + fraction * (below["Total Cost"] - below["Startup Cost"])
    return {**node, "Plans": [below, *rest], "Total Cost": total, "Startup Cost": below["Startup Cost"]}


def _sort_keys(node: Plan) -> SortKeys:
    found = []
    for text in node["Sort Key"]:
        words = text.removesuffix(" NULLS LAST").removesuffix(" NULLS FIRST")
        found.append((plain(words.removesuffix(" DESC")), words.endswith(" DESC")))
    return found
