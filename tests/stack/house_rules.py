"""Our own rules for dashboards, beside those of the linter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from panel_queries import asks_prometheus, panels, targets, variables_of
from promql_text import selectors

Dashboard = Mapping[str, Any]
Said = Iterator[tuple[str, str]]
"""A panel's title, empty for the dashboard itself, and what is wrong with it."""

COLOURS = re.compile(r"(#[0-9a-fA-F]{3,8}\b|rgba?\()")
CORE = {"timeseries", "stat", "table", "heatmap", "bargauge", "state-timeline", "text"}


def ranges_follow(dashboard: Dashboard) -> Said:
    """A window is Grafana's to choose: the resolution's for graphs, the time shown for what is one number."""
    for title, target in asks_prometheus(dashboard):
        for series in selectors(target["expr"]):
            if series.window not in {None, "$__range" if target.get("instant") else "$__rate_interval"}:
                yield title, f"looks back {series.window}"


def variables_exist(dashboard: Dashboard) -> Said:
    names = {one["name"] for one in dashboard["templating"]["list"]}
    for title, target in targets(dashboard):
        asked = target.get("expr", target.get("query", "")) + target.get("legendFormat", "")
        if variables_of(asked) - names:
            yield title, f"asks for variables {variables_of(asked) - names}"
    for place, one in enumerate(dashboard["templating"]["list"]):
        before = {other["name"] for other in dashboard["templating"]["list"][:place]}
        if one["type"] == "query" and variables_of(one["query"]) - before:
            yield "", f"{one['name']} hangs on variables that come later: {variables_of(one['query']) - before}"


def variables_used(dashboard: Dashboard) -> Said:
    asked = str([target for _, target in targets(dashboard)]) + str(dashboard["templating"]["list"])
    asked += str([panel["datasource"] for panel in panels(dashboard)])
    for one in dashboard["templating"]["list"]:
        if not re.search(rf"\$\{{?{one['name']}\b", asked):
            yield "", f"nothing asks for {one['name']}"


def several_values(dashboard: Dashboard) -> Said:
    """A variable of several values is matched as a pattern, and "All" by one that is not a list of thousands."""
    several = {one["name"] for one in dashboard["templating"]["list"] if one["multi"]}
    for one in dashboard["templating"]["list"]:
        if one["multi"] and (not one["includeAll"] or one["allValue"] not in {".*", ".+"}):
            yield "", f"{one['name']} has no pattern for all"
    for title, target in asks_prometheus(dashboard):
        for name in re.findall(r'[^~]"\$\{?(\w+)', target["expr"]):
            if name in several:
                yield title, f"compares with ${name} as if it had one value"


def legends(dashboard: Dashboard) -> Said:
    """Lines have names, and the names tell all lines apart."""
    for panel in panels(dashboard):
        if panel["type"] not in {"timeseries", "state-timeline", "bargauge"}:
            continue
        named = [target.get("legendFormat", "") for target in panel["targets"]]
        if not all(named) or len(set(named)) < len(named):
            yield panel["title"], f"has legends {named}"
        for target in panel["targets"]:
            grouped = re.match(r"(?:\(|topk\(\d+, )*\w+ by \(([^)]*)\)", target["expr"])
            shown = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            if grouped and set(grouped[1].split(", ")) - set(shown):
                yield panel["title"], f"{target['refId']} does not name {set(grouped[1].split(', ')) - set(shown)}"


def unique(dashboard: Dashboard) -> Said:
    for of in ("id", "title"):
        values = [panel[of] for panel in panels(dashboard)]
        values += [row["id"] for row in dashboard["panels"] if row["type"] == "row"] if of == "id" else []
        for value in {value for value in values if values.count(value) > 1}:
            yield "", f"{of} {value} more than once"


def places(dashboard: Dashboard) -> Said:
    """No panel covers another, or leaves the grid."""
    every = [(panel["title"], panel["gridPos"]) for panel in dashboard["panels"]]
    for title, place in every:
        if place["x"] + place["w"] > 24:
            yield title, "leaves the grid"
    for (title, one), (other, two) in combinations(every, 2):
        apart = (
            one["x"] + one["w"] <= two["x"]
            or two["x"] + two["w"] <= one["x"]
            or one["y"] + one["h"] <= two["y"]
            or two["y"] + two["h"] <= one["y"]
        )
        if not apart:
            yield title, f"overlaps {other}"


def core_only(dashboard: Dashboard) -> Said:
    for panel in panels(dashboard):
        if panel["type"] not in CORE:
            yield panel["title"], f"needs the plugin {panel['type']}"


def colours(dashboard: Dashboard) -> Said:
    """Names of the theme's palette are right on dark and on light ground."""
    for panel in panels(dashboard):
        if COLOURS.search(str(panel)):
            yield panel["title"], "has a colour of its own"


def table_columns(dashboard: Dashboard) -> Said:
    """What a table renames, and what its links ask for, is there."""
    for panel in panels(dashboard):
        for step in panel.get("transformations", []):
            if step["id"] != "organize":
                continue
            labels = {"Value", *(f"Value #{target['refId']}" for target in panel["targets"])}
            for target in panel["targets"]:
                labels |= set(", ".join(re.findall(r" by \(([^)]*)\)", target["expr"])).split(", "))
            if step["options"]["renameByName"].keys() - labels:
                yield panel["title"], f"has no {step['options']['renameByName'].keys() - labels}"
            asked = set(re.findall(r"__data\.fields\.(\w+)", str(panel["fieldConfig"])))
            if asked - step["options"]["renameByName"].keys():
                yield panel["title"], f"links by {asked - step['options']['renameByName'].keys()}, not in the table"


def addresses(dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Every link of a panel to a dashboard, with the panel's title."""
    for panel in panels(dashboard):
        config = panel["fieldConfig"]
        links = [*panel.get("links", []), *config["defaults"].get("links", [])]
        for override in config["overrides"]:
            for one in override["properties"]:
                links += one["value"] if one["id"] == "links" else []
        for link in links:
            yield panel["title"], link["url"]


def dead_links(dashboard_of: Mapping[str, Dashboard]) -> list[str]:
    """Links to dashboards, or with variables, that there are none of."""
    variables = {
        dashboard["uid"]: {one["name"] for one in dashboard["templating"]["list"]}
        for dashboard in dashboard_of.values()
    }
    found = []
    for dashboard in dashboard_of.values():
        own = variables[dashboard["uid"]]
        for title, url in addresses(dashboard):
            where = f"{dashboard['title']} / {title}: {url}"
            target = re.fullmatch(r"/d/([\w-]+)\?(.+)", url)
            if target is None or target[1] not in variables:
                found.append(f"{where}: no such dashboard")
                continue
            carried = set(re.findall(r"\$\{(\w+):queryparam\}", target[2]))
            given = set(re.findall(r"var-(\w+)=", target[2]))
            if (carried | given) - variables[target[1]] or carried - own or "${__url_time_range}" not in target[2]:
                found.append(f"{where}: {((carried | given) - variables[target[1]]) | (carried - own) or 'no time'}")
    return found
