"""Rules for dashboards: those of grafana/dashboard-linter by their names there, and some more of our own.

Exceptions are in ``dashboards/.lint``, in the linter's own format: the linter itself passes with it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import house_rules
import yaml
from house_rules import Dashboard, Said
from panel_queries import DASHBOARDS, asks_prometheus, panels, targets
from promql_text import selectors

UNITS = {"none", "short", "percentunit", "s", "bytes", "cps", "ops"}
"""Of Grafana's units those that we use."""


@dataclass(frozen=True)
class Breach:
    """A rule that a dashboard breaks."""

    rule: str
    dashboard: str
    panel: str
    said: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.dashboard}{f' / {self.panel}' if self.panel else ''}: {self.said}"


def breaches(dashboard: Dashboard) -> list[Breach]:
    """What breaks a rule, without what is excepted."""
    found = [
        Breach(name, dashboard["title"], panel, said) for name, rule in RULES.items() for panel, said in rule(dashboard)
    ]
    exceptions = yaml.safe_load((DASHBOARDS / ".lint").read_text(encoding="utf-8"))["exclusions"]
    return [breach for breach in found if not _excepted(breach, exceptions.get(breach.rule))]


def needless(dashboard_of: Mapping[str, Dashboard]) -> list[str]:
    """Exceptions that except nothing."""
    exceptions = yaml.safe_load((DASHBOARDS / ".lint").read_text(encoding="utf-8"))["exclusions"]
    broken = [
        Breach(name, dashboard["title"], panel, said)
        for dashboard in dashboard_of.values()
        for name, rule in RULES.items()
        for panel, said in rule(dashboard)
    ]
    found = []
    for rule, exception in exceptions.items():
        for entry in exception.get("entries", [{}]):
            if not any(breach.rule == rule and _matches(breach, entry) for breach in broken):
                found.append(f"{rule}: {entry}")
            if not (entry.get("reason") or exception.get("reason")):
                found.append(f"{rule}: {entry} has no reason")
    return found


def _excepted(breach: Breach, exception: Mapping[str, Any] | None) -> bool:
    return exception is not None and any(_matches(breach, entry) for entry in exception.get("entries", [{}]))


def _matches(breach: Breach, entry: Mapping[str, str]) -> bool:
    return entry.get("dashboard", breach.dashboard) == breach.dashboard and (
        entry.get("panel", breach.panel) == breach.panel
    )


def _of_type(dashboard: Dashboard, kind: str) -> list[dict[str, Any]]:
    return [one for one in dashboard["templating"]["list"] if one["type"] == kind]


# --- Rules of the linter -----------------------------------------------------------------------------------------
def template_datasource(dashboard: Dashboard) -> Said:
    sources = _of_type(dashboard, "datasource")
    if [source["name"] for source in sources] != ["datasource"]:
        yield "", "has not just one data source, called “datasource”"
    if not sources or sources[0]["label"] != "Data source":
        yield "", "has no data source with that label"


def _template(dashboard: Dashboard, name: str) -> Said:
    found = [one for one in dashboard["templating"]["list"] if one["name"] == name]
    if not found:
        yield "", f"has no variable {name}"
    for one in found:
        if one["datasource"]["uid"] != "${datasource}" or one["type"] != "query":
            yield "", f"{name} does not ask ${{datasource}}"
        if not one["multi"] or one["allValue"] != ".+" or one["label"] != name.title():
            yield "", f"{name} is not labelled {name.title()}, or takes not several values, or not .+ for all"


def template_job(dashboard: Dashboard) -> Said:
    return _template(dashboard, "job")


def template_instance(dashboard: Dashboard) -> Said:
    return _template(dashboard, "instance")


def template_reload(dashboard: Dashboard) -> Said:
    for one in _of_type(dashboard, "query"):
        if one["refresh"] != 2:
            yield "", f"{one['name']} does not follow the time range"


def panel_datasource(dashboard: Dashboard) -> Said:
    sources = {f"${{{one['name']}}}" for one in _of_type(dashboard, "datasource")}
    for panel in panels(dashboard):
        if panel["datasource"]["uid"] not in sources:
            yield panel["title"], f"asks {panel['datasource']['uid']}, and no variable"
    for title, target in targets(dashboard):
        if target["datasource"]["uid"] not in sources:
            yield title, f"{target['refId']} asks {target['datasource']['uid']}, and no variable"


def panel_title_description(dashboard: Dashboard) -> Said:
    for panel in panels(dashboard):
        if not panel.get("title") or len(panel.get("description", "")) < 20:
            yield panel.get("title", ""), "has no title, or no description that says something"


def panel_units(dashboard: Dashboard) -> Said:
    for panel in panels(dashboard):
        used = {panel["fieldConfig"]["defaults"].get("unit")}
        for override in panel["fieldConfig"]["overrides"]:
            used |= {one["value"] for one in override["properties"] if one["id"] == "unit"}
        if used - UNITS:
            yield panel["title"], f"has units {used - UNITS}"


def panel_no_targets(dashboard: Dashboard) -> Said:
    for panel in panels(dashboard):
        if panel["type"] != "text" and not panel.get("targets"):
            yield panel["title"], "asks nothing"


def target_promql(dashboard: Dashboard) -> Said:
    """Whether it is PromQL at all; promtool reads what is."""
    for title, target in targets(dashboard):
        if "expr" not in target:
            yield title, "has no expression"


def target_rate_interval(dashboard: Dashboard) -> Said:
    for title, target in asks_prometheus(dashboard):
        for series in selectors(target["expr"]):
            if series.function in {"rate", "irate"} and series.window != "$__rate_interval":
                yield title, f"{series.function} over {series.window}"


def _target_matches(dashboard: Dashboard, label: str) -> Said:
    for title, target in asks_prometheus(dashboard):
        for series in selectors(target["expr"]):
            if f'{label}=~"${label}"' not in series.matchers:
                yield title, f"{series.metric}{series.matchers} lacks {label}"


def target_job(dashboard: Dashboard) -> Said:
    return _target_matches(dashboard, "job")


def target_instance(dashboard: Dashboard) -> Said:
    return _target_matches(dashboard, "instance")


def target_counter(dashboard: Dashboard) -> Said:
    for title, target in asks_prometheus(dashboard):
        for series in selectors(target["expr"]):
            counter = series.metric.endswith(("_total", "_sum", "_bucket"))
            if counter and series.function not in {"rate", "irate", "increase"}:
                yield title, f"{series.metric} is not counted by rate or increase"


def uneditable(dashboard: Dashboard) -> Said:
    if dashboard["editable"]:
        yield "", "may be edited"


RULES: dict[str, Callable[[Dashboard], Said]] = {
    "template-datasource-rule": template_datasource,
    "template-job-rule": template_job,
    "template-instance-rule": template_instance,
    "template-on-time-change-reload-rule": template_reload,
    "panel-datasource-rule": panel_datasource,
    "panel-title-description-rule": panel_title_description,
    "panel-units-rule": panel_units,
    "panel-no-targets-rule": panel_no_targets,
    "target-promql-rule": target_promql,
    "target-rate-interval-rule": target_rate_interval,
    "target-job-rule": target_job,
    "target-instance-rule": target_instance,
    "target-counter-agg-rule": target_counter,
    "uneditable-dashboard": uneditable,
    "ranges-follow": house_rules.ranges_follow,
    "variables-exist": house_rules.variables_exist,
    "variables-used": house_rules.variables_used,
    "several-values": house_rules.several_values,
    "legends": house_rules.legends,
    "unique": house_rules.unique,
    "places": house_rules.places,
    "core-only": house_rules.core_only,
    "colours": house_rules.colours,
    "table-columns": house_rules.table_columns,
}
