"""The whole pipeline at once: a service on PostgreSQL and Redis, Collector, Prometheus, Alertmanager, all real.

Every expression of every dashboard and rule is put to that Prometheus, and must find something.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from collectors import ROOT, Sink, get, soon
from panel_queries import PanelQuery, filled, panel_queries
from prom import Prometheus

import services
from dbvitals.stack.local import LocalStack
from dbvitals.stack.names import label, metric
from dbvitals.stack.ports import Ports
from dbvitals_instrumentation import semconv

DAY = 86_400
DATABASE = "dbvitals_stack"
SERVICE = "shop"
FINGERPRINT = label(semconv.FINGERPRINT)
DURATION = metric(semconv.OPERATION_DURATION, semconv.SECONDS, "histogram")
SAVING = metric(semconv.INDEX_HINT_SAVING, semconv.SECONDS_PER_HOUR, "gauge")
STATE = label(semconv.INDEX_HINT_STATE)
RECORDING = ROOT / "alerts" / "recording.yml"
ALERTING = ROOT / "alerts" / "alerting.yml"
SAMPLE = re.compile(r"(\w+)(\{.*\})? (\S+)$")


@dataclass(frozen=True)
class Pipeline:
    """All that runs."""

    stack: LocalStack
    traces: Sink
    prometheus: Prometheus
    choices: list[dict[str, str]]

    def answers(self, query: PanelQuery) -> list[str]:
        """The query's expression, for each thing that a user may have chosen in the dashboard."""
        return list(dict.fromkeys(filled(query.expr, choice) for choice in self.choices))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, postgresql_url: str, redis_url: str) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("pipeline")
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    database = postgresql_url.rpartition("/")[0] + f"/{DATABASE}"
    edits = {"stack/prometheus.yml": {"evaluation_interval: 5s": "evaluation_interval: 1s"}}
    with Sink(folder / "traces") as traces, _stack(folder, traces, edits) as stack:
        service = _serve(stack, folder / "service.log", database, redis_url.rpartition("/")[0] + "/7")
        try:
            prometheus = Prometheus(stack.prometheus_url)
            _index_one_hint(prometheus, database)
            _send_the_past_last(stack)
            _make_yesterday(stack, prometheus, folder)
            yield Pipeline(stack, traces, prometheus, _choices(prometheus))
        finally:
            service.terminate()
            service.wait(30)
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def _stack(folder: Path, traces: Sink, edits: dict[str, dict[str, str]]) -> LocalStack:
    environ = {**os.environ, "DBVITALS_TRACES_ENDPOINT": f"127.0.0.1:{traces.grpc}"}
    return LocalStack(folder / "stack", Ports.free(), environ=environ, edits=edits)


def _serve(stack: LocalStack, log: Path, database: str, redis: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        **stack.service_environment(),
        "OTEL_SERVICE_NAME": SERVICE,
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.instance.id=shop-1",
        "DBVITALS_ADVISE": "3",
        "DBVITALS_ADVISE_DATABASE": "engine",
        "DBVITALS_MAX_FINGERPRINTS": "14",
    }
    program = [sys.executable, str(Path(__file__).with_name("service.py")), database, redis]
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dbvitals", "run", "--", *program], env=environment, stdout=output, stderr=output
        )


def _index_one_hint(prometheus: Prometheus, database: str) -> None:
    """Create one of the indexes that were advised, so that there is an applied hint beside the open ones."""
    expression = f'{SAVING}{{{STATE}="open"}}'
    hints = soon(lambda: [found for found in [prometheus.query(expression)] if len(found) > 1], "two hints", 120)[0]
    ddl = hints[0]["metric"][label(semconv.INDEX_HINT_DDL)]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(ddl.replace(" CONCURRENTLY", ""))


def _send_the_past_last(stack: LocalStack) -> None:
    """A service that sends differences, the older after the newer, which the Collector cannot add any more."""
    for moment in (2_000_000_000, 1_000_000_000):
        point = {"startTimeUnixNano": "1", "timeUnixNano": str(moment), "asInt": "1"}
        total = {"name": "late", "sum": {"aggregationTemporality": 1, "isMonotonic": True, "dataPoints": [point]}}
        body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [total]}]}]}).encode()
        request = urllib.request.Request(f"{stack.otlp_http}/v1/metrics", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


def _make_yesterday(stack: LocalStack, prometheus: Prometheus, folder: Path) -> None:
    """Give Prometheus the same service a day ago: its totals, growing through an hour and a half."""
    now = time.time()
    start, end, step = now - DAY - 4800, now - DAY + 900, 20
    samples = [
        (match[1] + (match[2] or ""), float(match[3]))
        for line in get(stack.collector_metrics_url).splitlines()
        if line.startswith(DURATION) and (match := SAMPLE.match(line))
    ]
    moments = [start + number * step for number in range(round((end - start) / step))]
    with (folder / "yesterday.txt").open("w") as text:
        for number, moment in enumerate(moments, 1):
            text.writelines(
                f"{series} {value * 20 * number / len(moments)} {moment:.3f}\n" for series, value in samples
            )
        text.write("# EOF\n")
    promtool = services.tool("promtool")
    for command in (
        ["openmetrics", str(folder / "yesterday.txt"), str(stack.folder / "prometheus")],
        [
            "rules",
            f"--start={start:.0f}",
            f"--end={end:.0f}",
            f"--url={prometheus.url}",
            "--eval-interval=60s",
            f"--output-dir={stack.folder / 'prometheus'}",
            str(RECORDING),
        ],
    ):
        done = subprocess.run(
            [promtool, "tsdb", "create-blocks-from", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        stack.prometheus.stop()
        stack.prometheus.start()
    soon(lambda: prometheus.query(f"{DURATION}_count offset 1d"), "yesterday")


def _choices(prometheus: Prometheus) -> list[dict[str, str]]:
    """What a user would choose in the dashboards: the query that is asked most often, or one that fails."""
    everything = dict.fromkeys(("environment", "service", "instance", "namespace", "pool", "cache", "collector"), ".*")
    total = f"sum by ({FINGERPRINT}) ({DURATION}_count{{{FINGERPRINT}!='{semconv.OTHER}'%s}})"
    found = []
    for expression in (total % "", total % f",{label(semconv.ERROR_TYPE)}!=''"):
        busiest = soon(lambda expression=expression: prometheus.query(f"topk(1, {expression})"), expression, 100)  # type: ignore[misc]
        found.append({**everything, "compare": "1d", "fingerprint": busiest[0]["metric"][FINGERPRINT]})
    return found


@pytest.mark.parametrize("query", [q for q in panel_queries() if q.datasource_type == "prometheus"], ids=str)
def test_every_panel_has_something_to_show(pipeline: Pipeline, query: PanelQuery) -> None:
    def look() -> bool:
        now = time.time()
        return any(
            _is_number(series)
            for expression in pipeline.answers(query)
            for series in (
                pipeline.prometheus.query(expression)
                if query.instant
                else pipeline.prometheus.range(expression, now - 60, now, 5)
            )
        )

    soon(look, str(pipeline.answers(query)), patience=100)  # the rules that look back over days run once a minute


def _is_number(series: dict[str, object]) -> bool:
    """Whether a series has a value besides NaN."""
    values = series.get("values") or [series["value"]]
    return any(value != "NaN" for _, value in values)  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", [q for q in panel_queries() if q.exemplar], ids=str)
def test_exemplars_come_back_and_lead_to_traces(pipeline: Pipeline, query: PanelQuery) -> None:
    (expression, *_) = pipeline.answers(query)

    def traces() -> set[str]:
        now = time.time()
        found = pipeline.prometheus.exemplars(expression, now - 600, now)
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    wanted = soon(traces, f"exemplars of {expression}")
    file = pipeline.traces.file
    soon(lambda: wanted <= set(re.findall(r'"traceId":"(\w+)"', file.read_text())), "the traces of the exemplars")


def rules(kind: str) -> list[str]:
    """The names of the rules in a file."""
    file = {"record": RECORDING, "alert": ALERTING}[kind]
    return sorted(set(re.findall(rf"^\s*- {kind}: (\S+)$", file.read_text(), re.MULTILINE)))


@pytest.mark.parametrize("name", rules("record"))
def test_every_recording_rule_has_a_value(pipeline: Pipeline, name: str) -> None:
    soon(lambda: [found for found in pipeline.prometheus.query(name) if _is_number(found)], name)


def test_every_rule_is_evaluated_without_an_error(pipeline: Pipeline) -> None:
    asked = pipeline.prometheus.rules
    soon(lambda: all(rule["health"] != "unknown" for rule in asked()), "every rule evaluated once", 100)
    assert {rule["name"]: rule.get("lastError") for rule in asked() if rule["health"] != "ok"} == {}
    assert {rule["name"] for rule in asked() if rule["type"] == "alerting"} == set(rules("alert"))


@pytest.mark.parametrize("name", rules("alert"))
def test_every_alert_looks_at_series_that_exist(pipeline: Pipeline, name: str) -> None:
    expression = soon(
        lambda: [rule["query"] for rule in pipeline.prometheus.rules() if rule["name"] == name], f"alert {name}"
    )[0]
    for selector in selectors(expression):
        if selector not in NEVER_HERE:
            soon(lambda selector=selector: pipeline.prometheus.query(selector), selector)  # type: ignore[misc]


NEVER_HERE = {
    "otelcol_exporter_send_failed_spans": "begins with the first batch that is given up; ours is tried for ever",
    "otelcol_exporter_send_failed_metric_points": "Prometheus fetches metrics: nothing sends them that could fail",
    "otelcol_processor_tail_sampling_sampling_trace_dropped_too_early": "ours makes traces wait instead",
}
"""Series that rightly do not exist in a pipeline that is well, with the reason."""

GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
SELECTOR = re.compile(r"\b([a-zA-Z_:][\w:]*)(?![\w:]|\s*\()(\{[^}]*\})?")
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", *"smhdwy"}


def selectors(expression: str) -> list[str]:
    """The series that an expression looks at, without their windows."""
    bare = re.sub(r"\[[^]]*\]|\boffset\s+\w+", "", GROUPING.sub("", expression))
    texts = re.compile(r'"[^"]*"')
    found = [
        match[0]
        for match in SELECTOR.finditer(bare)
        if match[1].lower() not in WORDS and not any(t.start() < match.start() < t.end() for t in texts.finditer(bare))
    ]
    return [selector for selector in found if not re.fullmatch(r"\w+", selector) or "_" in selector or ":" in selector]
