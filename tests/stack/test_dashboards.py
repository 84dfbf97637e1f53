"""The dashboards: as the generator writes them, as Grafana reads them, and with links that lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_rules import Breach, breaches, needless
from house_rules import dead_links
from jsonschema import Draft7Validator
from panel_queries import (
    DASHBOARDS,
    PanelQuery,
    dashboards,
    filled,
    panel_queries,
    panels,
    variable_queries,
    variables_of,
)
from promql_text import selectors

from dbvitals.stack import names

ROOT = Path(__file__).parent.parent.parent
SCHEMA = json.loads((Path(__file__).parent / "grafana_dashboard.schema.json").read_text(encoding="utf-8"))
ALL = dashboards()
QUERIES = panel_queries()
CHOSEN = {
    "environment": ".*",
    "service": ["shop"],
    "instance": ".+",
    "namespace": ["shop|public"],
    "fingerprint": "0123456789abcdef",
    "compare": "1d",
    "pool": ["127.0.0.1:5432/shop"],
    "cache": ".*",
    "collector": ".+",
}

# The kit would rather make dashboards of the second format, which Grafana 11 does not read.
pytestmark = pytest.mark.filterwarnings("ignore:Prefer using dashboardv2:DeprecationWarning")
each_dashboard = pytest.mark.parametrize("file", ALL)


def test_there_is_a_dashboard_for_each_question() -> None:
    wanted = {"overview", "queries", "query", "pool", "cache", "hints", "pipeline"}
    assert {dashboard["uid"] for dashboard in ALL.values()} == {f"dbvitals-{name}" for name in wanted}


if sys.version_info >= (3, 11):  # the kit that makes them asks for it

    def test_the_files_are_what_the_generator_writes() -> None:
        checked = generate("--check")
        assert (checked.stdout, checked.returncode) == ("", 0), checked.stdout + checked.stderr

    def test_the_generator_names_what_differs_and_puts_it_right(tmp_path: Path) -> None:
        from dashboards.command import files, main

        assert main([], tmp_path) == 0
        assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files()
        (tmp_path / "pool.json").write_text("{}\n", encoding="utf-8")
        (tmp_path / "cache.json").unlink()
        (tmp_path / "old.json").write_text("{}\n", encoding="utf-8")
        assert main(["--check"], tmp_path) == 1
        assert main([], tmp_path) == 0
        assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == files()

    @each_dashboard
    def test_the_kit_of_grafana_reads_them_and_loses_nothing(file: str) -> None:
        from grafana_foundation_sdk.cog import plugins
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
        from grafana_foundation_sdk.models.dashboard import Dashboard

        plugins.register_default_plugins()
        read = json.loads(JSONEncoder().encode(Dashboard.from_json(ALL[file])))
        assert lost(ALL[file], read) == []


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/dashboards", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def lost(written: Any, read: Any, where: str = "") -> list[str]:
    """What was written and is not what was read; the kit may add what is usual."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [one for key, value in written.items() for one in lost(value, read.get(key), f"{where}.{key}")]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return [
            one
            for place, (old, new) in enumerate(zip(written, read, strict=True))
            for one in lost(old, new, f"{where}[{place}]")
        ]
    return [] if written == read else [f"{where}: {written!r} is read as {read!r}"]


@each_dashboard
def test_they_obey_the_schema_of_grafana(file: str) -> None:
    errors = Draft7Validator(SCHEMA).iter_errors(ALL[file])
    assert [f"{list(error.absolute_path)}: {error.message[:200]}" for error in errors] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda board: board.update(schemaVersion=16),
        lambda board: board["panels"][1].update(gridpos={}),
        lambda board: board["panels"][1]["gridPos"].update(w=25),
        lambda board: board["panels"][1]["targets"][0].pop("refId"),
        lambda board: board["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["steps"][0].pop("value"),
        lambda board: board["templating"]["list"][0].update(type="list"),
    ],
)
def test_the_schema_sees_what_grafana_would_not_read(change: Any) -> None:
    board = json.loads(json.dumps(ALL["overview.json"]))
    change(board)
    assert not Draft7Validator(SCHEMA).is_valid(board)


@each_dashboard
def test_they_obey_the_rules_of_the_linter_and_ours(file: str) -> None:
    assert [str(breach) for breach in breaches(ALL[file])] == []


def test_each_exception_is_needed_and_has_a_reason() -> None:
    assert needless(ALL) == []


@pytest.mark.parametrize(
    "rule, change",
    [
        ("panel-title-description-rule", lambda panel: panel.pop("description")),
        ("panel-units-rule", lambda panel: panel["fieldConfig"]["defaults"].pop("unit")),
        ("panel-datasource-rule", lambda panel: panel["datasource"].update(uid="dbvitals-prometheus")),
        (
            "target-instance-rule",
            lambda panel: panel["targets"][0].update(expr='sum(rate(a{b="c"}[$__rate_interval]))'),
        ),
        ("target-rate-interval-rule", lambda panel: panel["targets"][0].update(expr="sum(rate(a[5m]))")),
        ("target-counter-agg-rule", lambda panel: panel["targets"][0].update(expr="sum(a_total)")),
        ("ranges-follow", lambda panel: panel["targets"][0].update(expr="max_over_time(a[1h])")),
        ("variables-exist", lambda panel: panel["targets"][0].update(expr='a{b=~"$shard"}')),
        ("several-values", lambda panel: panel["targets"][0].update(expr='a{service_name="$service"}')),
        ("legends", lambda panel: panel["targets"][0].update(legendFormat="all")),
        ("places", lambda panel: panel["gridPos"].update(y=0)),
        ("colours", lambda panel: panel["fieldConfig"]["defaults"]["color"].update(fixedColor="#ff0000")),
        ("core-only", lambda panel: panel.update(type="piechart")),
    ],
)
def test_the_rules_see_what_breaks_them(rule: str, change: Any) -> None:
    board = json.loads(json.dumps(ALL["overview.json"]))
    change(next(panel for panel in panels(board) if panel["title"] == "Queries per second by service"))
    found: list[Breach] = breaches(board)
    assert rule in {breach.rule for breach in found}


def test_every_link_leads_to_a_dashboard_and_its_variables() -> None:
    assert dead_links(ALL) == []


def test_every_alert_leads_to_a_dashboard_and_its_variables() -> None:
    variables = {
        dashboard["uid"]: {one["name"] for one in dashboard["templating"]["list"]} for dashboard in ALL.values()
    }
    groups = yaml.safe_load((ROOT / "alerts/alerting.yml").read_text(encoding="utf-8"))["groups"]
    links = {rule["annotations"]["dashboard"] for group in groups for rule in group["rules"]}
    for link in links:
        found = re.fullmatch(r"/d/([\w-]+)(?:\?(.+))?", link)
        assert found, link
        assert set(re.findall(r"var-(\w+)=", found[2] or "")) <= variables[found[1]], link


@each_dashboard
def test_all_dashboards_link_to_each_other_and_keep_the_choice(file: str) -> None:
    (link,) = ALL[file]["links"]
    assert set(link["tags"]) <= set(ALL[file]["tags"])
    assert link["type"] == "dashboards"
    assert link["includeVars"]
    assert link["keepTime"]
    assert "placement" not in link  # in Grafana 13 it would be behind a button


@each_dashboard
def test_limits_begin_with_no_limit_and_rise(file: str) -> None:
    for panel in panels(ALL[file]):
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": [{"value": None}]})["steps"]
        values = [step["value"] for step in steps]
        assert values[0] is None
        assert all(low < high for low, high in pairwise(values[1:])), panel["title"]


def test_promtool_reads_every_expression(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "apt-get install prometheus"
    expressions = [filled(query.expr, CHOSEN) for query in QUERIES if query.datasource_type == "prometheus"]
    expressions += [filled(query.series, CHOSEN) for query in variable_queries()]
    rules = [{"record": f"one:of:{number}", "expr": expr} for number, expr in enumerate(expressions)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}, width=1000), encoding="utf-8")
    checked = subprocess.run(
        [promtool, "check", "rules", "--lint=none", file], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stderr


OTHERS = re.compile(
    r"otelcol_\w+|prometheus_\w+|alertmanager_\w+|up|scrape_duration_seconds|ALERTS|service:db_client_operation_slo:\w+"
)
"""Metrics of Prometheus, Alertmanager and the Collector, and recording rules."""


def test_the_metrics_and_labels_that_are_asked_for_are_those_of_the_contract() -> None:
    contract = {value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}
    known = contract | {f"{name}_{series}" for name in contract for series in ("bucket", "count", "sum")}
    found = {series.metric for query in asked() for series in selectors(query) if series.metric}
    assert {metric for metric in found if metric not in known and not OTHERS.fullmatch(metric)} == set()
    labels = {label for query in asked() for label in re.findall(r'(\w+)(?:=~|!~|!=|=)"', query)}
    assert labels - contract == {"__name__", "alertname", "alertstate", "error", "instance", "otel_metric_overflow"}


def asked() -> list[str]:
    return [query.expr for query in QUERIES if query.datasource_type == "prometheus"] + [
        query.series for query in variable_queries()
    ]


def test_exemplars_are_asked_for_where_a_point_leads_to_a_trace() -> None:
    with_exemplars = {(query.dashboard, query.panel) for query in QUERIES if query.exemplar}
    assert ("dbvitals-overview", "p95 and p99 duration by service") in with_exemplars
    assert ("dbvitals-query", "Durations") in with_exemplars
    assert ("dbvitals-pool", "Wait for a connection") in with_exemplars


def test_variables_are_filled_in_as_grafana_does() -> None:
    expr = 'rate(a{b=~"$service", c="${fingerprint}", d=~"${namespace:regex}"}[$__rate_interval] offset $compare)'
    assert filled(expr, CHOSEN | {"service": ["a.b", "c"]}) == (
        r'rate(a{b=~"(a\\.b|c)", c="0123456789abcdef", d=~"shop\\|public"}[1m] offset 1d)'
    )
    assert variables_of(expr) == {"service", "fingerprint", "namespace", "compare"}
    with pytest.raises(KeyError):
        filled("$unheard_of")


def test_a_query_of_a_panel_says_where_it_belongs() -> None:
    (traces,) = [query for query in QUERIES if query.datasource_type == "tempo"]
    assert traces == PanelQuery(
        dashboard="dbvitals-query",
        panel="Traces",
        ref="A",
        expr='{ span.dbvitals.query.fingerprint = "$fingerprint" }',
        instant=False,
        exemplar=False,
        datasource_type="tempo",
    )


def test_what_is_provisioned_is_what_the_dashboards_ask() -> None:
    sources = yaml.safe_load((DASHBOARDS / "provisioning/datasources/dbvitals.yaml").read_text(encoding="utf-8"))
    by_uid = {source["uid"]: source for source in sources["datasources"]}
    for dashboard in ALL.values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "datasource":
                assert by_uid[variable["current"]["value"]]["type"] == variable["query"]
    (exemplars,) = by_uid["dbvitals-prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert by_uid[exemplars["datasourceUid"]]["type"] == "tempo"
    queries = by_uid["dbvitals-traces"]["jsonData"]["tracesToMetrics"]
    assert by_uid[queries["datasourceUid"]]["type"] == "prometheus"
    metrics = {metric for one in queries["queries"] for metric in re.findall(r"\((\w+)\{", one["query"])}
    assert metrics == {f"{names.OPERATION_DURATION}_sum", f"{names.OPERATION_DURATION}_count"}
    assert {tag["key"]: tag["value"] for tag in queries["tags"]} == {
        "service.name": names.SERVICE,
        "dbvitals.query.fingerprint": names.FINGERPRINT,
    }
    (provider,) = yaml.safe_load((DASHBOARDS / "provisioning/dashboards/dbvitals.yaml").read_text(encoding="utf-8"))[
        "providers"
    ]
    assert (provider["folder"], provider["allowUiUpdates"]) == ("dbvitals", False)
