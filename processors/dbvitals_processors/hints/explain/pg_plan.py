"""PostgreSQL's plans, as EXPLAIN (FORMAT JSON) gives them."""

from __future__ import annotations

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


def filters(plan: Plan) -> Iterator[str]:
    """Conditions that are tried on each row."""
    for node in nodes(plan):
        if "Filter" in node:
            yield node["Filter"]


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
