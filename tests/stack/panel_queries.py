"""What the dashboards ask, and a stand-in for how Grafana fills in variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DASHBOARDS = ROOT / "dashboards"

Value = str | Sequence[str]
"""A variable's value: a string is put in as it is (``.*`` for "All"), of a sequence any element may match."""

BUILT_IN = {
    "__rate_interval": "1m",
    "__interval": "15s",
    "__interval_ms": "15000",
    "__range": "1h",
    "__range_s": "3600",
    "__range_ms": "3600000",
}


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel, or of an annotation.

    Attributes:
        dashboard: its uid.
        panel: the panel's title, or ``annotation …``.
        ref: its letter within the panel.
        expr: the expression, with variables.
        instant: whether it is asked for one moment, and not for a range.
        exemplar: whether exemplars are asked for, too.
        datasource_type: ``prometheus`` or ``tempo``.
    """

    dashboard: str
    panel: str
    ref: str
    expr: str
    instant: bool
    exemplar: bool
    datasource_type: str

    def __str__(self) -> str:
        return f"{self.dashboard} / {self.panel} / {self.ref}"


@dataclass(frozen=True)
class VariableQuery:
    """What a variable's values are taken from: the labels of ``series``, or of the answer to it."""

    dashboard: str
    variable: str
    series: str
    label: str


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard, by the name of its file."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, also those in collapsed rows; the rows themselves are none."""
    for panel in dashboard["panels"]:
        yield from panel.get("panels", [])
        if panel["type"] != "row":
            yield panel


def targets(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every query of a dashboard, with the title of its panel."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield panel["title"], target


def asks_prometheus(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those that are PromQL."""
    return ((title, target) for title, target in targets(dashboard) if target["datasource"]["type"] == "prometheus")


def panel_queries() -> list[PanelQuery]:
    """What all dashboards ask."""
    found = []
    for dashboard in dashboards().values():
        for panel in panels(dashboard):
            found += [_query(dashboard["uid"], panel["title"], target) for target in panel.get("targets", [])]
        for annotation in dashboard["annotations"].get("list", []):
            if "expr" in annotation:
                found.append(_query(dashboard["uid"], f"annotation {annotation['name']}", annotation))
    return found


def variable_queries() -> list[VariableQuery]:
    """What the values of the dashboards' variables are taken from."""
    found = []
    for dashboard in dashboards().values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] != "query":
                continue
            labels = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"])
            result = re.fullmatch(r"query_result\((.+)\)", variable["query"])
            assert labels or result, f"{dashboard['uid']}: {variable['query']}"
            if labels:
                found.append(VariableQuery(dashboard["uid"], variable["name"], labels[1], labels[2]))
            elif result:
                label = re.search(r'(\w+)="\(\?<value>', variable["regex"])
                assert label, f"{dashboard['uid']}: {variable['regex']}"
                found.append(VariableQuery(dashboard["uid"], variable["name"], result[1], label[1]))
    return found


def filled(expr: str, values: Mapping[str, Value] | None = None) -> str:
    """The expression with its variables filled in.

    ``values`` has those of the dashboard, and may override :data:`BUILT_IN`.

    Raises:
        KeyError: a variable has no value.
    """
    known: Mapping[str, Value] = {**BUILT_IN, **(values or {})}
    return re.sub(r"\$(?:(\w+)|\{(\w+)(?::(\w+))?\})", lambda found: _text(known[found[1] or found[2]]), expr)


def variables_of(expr: str) -> set[str]:
    """The names of the dashboard's variables in an expression."""
    return {one or other for one, other in re.findall(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})", expr)} - BUILT_IN.keys()


def _query(uid: str, title: str, target: Mapping[str, Any]) -> PanelQuery:
    return PanelQuery(
        dashboard=uid,
        panel=title,
        ref=target.get("refId", "A"),
        expr=target.get("expr") or target["query"],
        instant=bool(target.get("instant")),
        exemplar=bool(target.get("exemplar")),
        datasource_type=target["datasource"]["type"],
    )


def _text(value: Value) -> str:
    """A choice as a pattern within a string of PromQL: the pattern's escapes, and then the string's."""
    if isinstance(value, str):
        return value
    escaped = [re.sub(r"([\\^$*+?.()|\[\]{}])", r"\\\\\1", one) for one in value]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
