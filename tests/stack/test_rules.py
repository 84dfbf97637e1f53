"""The recording and alerting rules: what Prometheus' own tool says of them, and what people need of them."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from collectors import ROOT

import services
from dbvitals.stack import names
from dbvitals_instrumentation import semconv

ALERTS = ROOT / "alerts"
RULES = [ALERTS / "recording.yml", ALERTS / "alerting.yml"]
UNIT_TESTS = sorted((ALERTS / "tests").glob("*.yml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
RUNBOOK_URL = "https://github.com/dbvitals/dbvitals/blob/main/docs/runbooks"
SEVERITIES = {"critical", "warning", "information"}
WATCHDOG = "DbvitalsWatchdog"
NOT_OURS = re.compile(r"up|target_info|otelcol_\w+")
OTHER_LABELS = {"job", "instance", "le", "otel_metric_overflow"}
OTHER_LABELS |= {"error", "exporter", "data_type", "receiver", "transport"}  # the Collector's
OTHER_LABELS |= {names.label(semconv.SERVER_ADDRESS)}
OF_SERVICE = {"job", names.SERVICE, names.ENVIRONMENT}
LEVELS = {
    "service": set[str](),
    "fingerprint": {names.NAMESPACE, names.SUMMARY, names.FINGERPRINT},
    "pool": {names.POOL},
    "cache": {names.CACHE},
    "hint": {names.NAMESPACE, names.COLLECTION, names.HINT},
}
"""By what each level is told apart, beside the labels of the service."""
OPERATIONS = re.compile(r"(rate|increase|mean|burnrate|ratio)\d+[mhd]|ratio|ratio_max|sum|min|present")

GROUPING = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
MATCHERS = re.compile(r"\{([^}]*)\}")
TEXT = re.compile(r'"[^"]*"')
NAME = re.compile(r"(?<![\w$:])[a-z_][a-z0-9_]*(?::[a-z0-9_]+)*(?!\s*\()\b(?!\s*\()")
WORDS = {"and", "or", "unless", "by", "on", "bool", "offset"}


def rules() -> list[dict[str, Any]]:
    return [rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


ALERTING = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDING = {rule["record"]: rule for rule in rules() if "record" in rule}


SECTIONS = ["What it means", "Look at", "Do", "False alarm", "Silence it"]


@cache
def dashboards() -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in (ROOT / "dashboards").glob("*.json")]


def panel_titles(board: dict[str, Any]) -> set[str]:
    """The panels of a dashboard, those in rows, too."""
    return {panel["title"] for row in board["panels"] for panel in (row, *row.get("panels", ())) if "title" in panel}


@cache
def unit_tests() -> list[dict[str, Any]]:
    return [test for file in UNIT_TESTS for test in yaml.safe_load(file.read_text())["tests"]]


def promtool(*arguments: str | Path) -> str:
    """What promtool says, if it is content."""
    command = [services.tool("promtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def labels_and_metrics(expression: str) -> tuple[set[str], set[str]]:
    """What an expression groups, joins and selects by; and the series that it reads."""
    bare = TEXT.sub('""', expression)
    labels = {label.strip() for found in GROUPING.findall(bare) for label in found.split(",")}
    labels |= {re.split("[=!]", matcher)[0].strip() for found in MATCHERS.findall(bare) for matcher in found.split(",")}
    rest = re.sub(r"\[[^]]*\]|offset \w+", "", MATCHERS.sub("", GROUPING.sub("", bare)))
    return labels, {name for name in NAME.findall(rest) if name not in WORDS}


class TestPromtool:
    def test_it_finds_nothing_to_criticize(self) -> None:
        assert promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES).count("SUCCESS") == len(RULES)

    def test_the_configuration_finds_its_rules(self) -> None:
        assert promtool("check", "config", "--lint=all", ROOT / "stack" / "prometheus.yml").count("SUCCESS") >= 3

    @pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
    def test_the_unit_tests_of_the_rules_pass(self, file: Path) -> None:
        assert "SUCCESS" in promtool("test", "rules", file)


@pytest.mark.parametrize("name", ALERTING)
class TestEveryAlert:
    def test_has_a_test_that_it_fires_and_one_that_it_stays_silent(self, name: str) -> None:
        cases = {True: 0, False: 0}
        for test in unit_tests():
            for case in test.get("alert_rule_test", ()):
                if case["alertname"] == name:
                    fires = bool(case.get("exp_alerts"))
                    assert test["name"].startswith(f"{name} {'fires' if fires else 'stays silent'}: ")
                    cases[fires] += 1
        if name == WATCHDOG:  # is never silent: it is tested that it is one alert, whatever is there
            assert cases == {True: 2, False: 0}
        else:
            assert min(cases.values()) >= 1

    def test_says_how_bad_it_is_what_is_measured_and_what_to_do(self, name: str) -> None:
        rule = ALERTING[name]
        assert re.fullmatch(r"Dbvitals([A-Z][a-z]*|NPlusOne)+", name)
        assert rule["labels"]["severity"] in (SEVERITIES if name != WATCHDOG else {"none"})
        assert rule["labels"]["signal"]
        annotations = rule["annotations"]
        assert annotations["description"].endswith(".")
        assert re.search(r"\{\{ (\$value|\$labels|with query )", annotations["summary"])
        assert annotations["runbook_url"] == f"{RUNBOOK_URL}/{name}.md"

    def test_has_a_runbook_that_names_only_what_exists(self, name: str) -> None:
        text = (RUNBOOKS / f"{name}.md").read_text()
        assert text.startswith(f"# {name}\n")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
        assert all(part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE))
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (RUNBOOKS / target).exists(), target
        for expression in re.findall(r"```promql\n(.*?)```", text, re.DOTALL):
            assert_known(expression)

    def test_has_a_runbook_that_names_panels_of_the_dashboard_it_leads_to(self, name: str) -> None:
        text = re.sub(r"\s+", " ", (RUNBOOKS / f"{name}.md").read_text())  # *a dashboard*, **a panel**
        titles = {" / ".join(board["title"].split(" / ")[1:]): panel_titles(board) for board in dashboards()}
        named = set(re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text))
        assert named <= titles.keys()
        panels = set(re.findall(r"\*\*([^*]+)\*\*", text))
        assert panels
        assert panels <= set().union(*(titles[title] for title in named))
        uid = ALERTING[name]["annotations"]["dashboard"].partition("?")[0].removeprefix("/d/")
        assert {board["title"].split(" / ")[1] for board in dashboards() if board["uid"] == uid} & named

    def test_leads_to_a_dashboard_that_exists_with_variables_that_it_has(self, name: str) -> None:
        path, _, query = ALERTING[name]["annotations"]["dashboard"].partition("?")
        (dashboard,) = (found for found in dashboards() if path == f"/d/{found['uid']}")
        variables = {variable["name"] for variable in dashboard["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= variables
        assert all("urlquery $labels" in value for value in re.findall(r"=(\{\{.*?\}\})", query))

    def test_about_one_query_has_its_name_and_fingerprint(self, name: str) -> None:
        rule = ALERTING[name]
        if "dbvitals-query?" in rule["annotations"]["dashboard"]:
            (fired,) = (
                case["exp_alerts"][0]["exp_labels"]
                for test in unit_tests()
                for case in test.get("alert_rule_test", ())
                if case["alertname"] == name and case["exp_alerts"]
            )
            assert {names.SUMMARY, names.FINGERPRINT} <= fired.keys()
            assert rule["annotations"]["query"]


def test_every_runbook_belongs_to_an_alert_and_the_list_has_them_all() -> None:
    assert {file.stem for file in RUNBOOKS.glob("Dbvitals*.md")} == set(ALERTING)
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert [(name, file, severity) for name, file, severity in listed] == [
        (name, name, rule["labels"]["severity"]) for name, rule in ALERTING.items()
    ]


def test_the_unit_tests_evaluate_every_group_and_those_first_that_others_read() -> None:
    recording, alerting = ([group["name"] for group in yaml.safe_load(file.read_text())["groups"]] for file in RULES)
    assert len({*recording, *alerting}) == len(recording) + len(alerting)  # promtool tells groups apart by name alone
    for file in UNIT_TESTS:
        test = yaml.safe_load(file.read_text())
        read = recording + (alerting if len(test["rule_files"]) > 1 else [])
        assert test["group_eval_order"] == read, file.name


@pytest.mark.parametrize("name", RECORDING)
def test_every_recorded_series_is_named_by_its_level_and_its_values_are_tested(name: str) -> None:
    level, metric, operation = name.split(":")
    assert level in LEVELS
    assert re.match("dbvitals_|db_client_", metric)
    assert OPERATIONS.fullmatch(operation)
    tested = [case["expr"] for test in unit_tests() for case in test.get("promql_expr_test", ())]
    assert any(re.search(rf"{name}\b", expression) for expression in tested)


@pytest.mark.parametrize("name", RECORDING)
def test_every_recorded_series_has_the_labels_of_its_level(name: str) -> None:
    levels = OF_SERVICE | LEVELS[name.split(":")[0]]
    more = {names.FUNCTION, names.HINT_DDL, "instance"}
    for found in re.findall(r"\bby\s*\(([^)]*)\)", RECORDING[name]["expr"]):
        by = {label.strip() for label in found.split(",")}
        assert levels <= by <= levels | more


@pytest.mark.parametrize("name", [*RECORDING, *ALERTING])
def test_every_name_in_a_rule_is_a_translation_of_the_contracts(name: str) -> None:
    assert_known(str((RECORDING.get(name) or ALERTING[name])["expr"]))


def assert_known(expression: str) -> None:
    """Fails for metrics and labels that nobody emits."""
    translated = {value for key, value in vars(names).items() if key.isupper() and isinstance(value, str)}
    histograms = {f"{name}_{suffix}" for name in translated for suffix in ("bucket", "sum", "count")}
    labels, metrics = labels_and_metrics(expression)
    assert labels - translated - OTHER_LABELS - {""} == set()
    unknown = metrics - translated - histograms - RECORDING.keys()
    assert {metric for metric in unknown if not NOT_OURS.fullmatch(metric)} == set()
