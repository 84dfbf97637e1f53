"""PostgreSQL's plans, as EXPLAIN (FORMAT JSON) gives them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

Plan = dict[str, Any]


def loaded(found: Any) -> Plan:
    """The plan in an answer; some drivers have read the JSON, some leave it as text."""
    plan: Plan = (json.loads(found) if isinstance(found, str | bytes) else found)[0]["Plan"]
    return plan


def nodes(plan: Plan) -> Iterator[Plan]:
    """All nodes, each before those below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def index_names(plan: Plan) -> Iterator[str]:
    """Names of the indexes that it uses."""
    for node in nodes(plan):
        if "Index Name" in node:
            yield node["Index Name"]


def conditions(plan: Plan) -> Iterator[str]:
    """Conditions by which rows are found, or that are tried on each row."""
    for node in nodes(plan):
        for name in ("Filter", "Index Cond"):
            if name in node:
                yield node[name]


def renamed(plan: Plan, names: Mapping[int, str]) -> Plan:
    """A plan with HypoPG's names of hypothetical indexes replaced by ours."""
    changed = dict(plan)
    if "Index Name" in plan:
        changed["Index Name"] = _name(plan["Index Name"], names)
    if "Plans" in plan:
        changed["Plans"] = [renamed(below, names) for below in plan["Plans"]]
    return changed


_BLOCKING = frozenset(("Sort", "Aggregate", "Hash", "Incremental Sort", "Materialize", "WindowAgg", "Unique"))
"""Nodes that need all of what is below them before they give anything."""


def paths(plan: Plan, relation: str, above: tuple[Plan, ...] = ()) -> Iterator[tuple[Plan, ...]]:
    """The ways from the top to each scan of a table that is not run over and over for a subquery."""
    path = (*above, plan)
    if plan.get("Relation Name") == relation:
        yield path
    for below in plan.get("Plans", ()):
        if below.get("Parent Relationship") in ("Outer", "Inner", "Member", None):
            yield from paths(below, relation, path)


def charged(path: tuple[Plan, ...]) -> float:
    """What the last node of a path adds to the whole plan's cost: less than its own where a LIMIT stops it early."""
    cost: float = path[-1]["Total Cost"]
    for above, below in itertools.pairwise(path):
        if above["Node Type"] in _BLOCKING:
            cost = path[-1]["Total Cost"]
        elif above["Node Type"] == "Limit" and below["Node Type"] not in _BLOCKING:
            cost = min(cost, above["Total Cost"])
    return cost


def as_text(plan: Plan, names: Mapping[int, str], depth: int = 0) -> str:
    """One line a node: what it does, on what, its rows and cost. Conditions are left out, for they hold values."""
    words = [plan["Node Type"]]
    if "Index Name" in plan:
        words.append(f"using {_name(plan['Index Name'], names)}")
    if "Relation Name" in plan:
        words.append(f"on {plan['Relation Name']}")
    line = f"{'  ' * depth}{' '.join(words)}  (rows {plan['Plan Rows']:,}, cost {plan['Total Cost']:,.0f})"
    return "\n".join([line, *(as_text(below, names, depth + 1) for below in plan.get("Plans", ()))])


def _name(name: str, names: Mapping[int, str]) -> str:
    if name.startswith("<"):
        number = name[1:].partition(">")[0]
        return names.get(int(number), name) if number.isdigit() else name
    return name
