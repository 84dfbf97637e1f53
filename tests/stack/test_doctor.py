"""`dbvitals doctor` on a real pipeline, whole and broken at one place after the other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from collectors import get, soon
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from dbvitals.doctor import alerting, environment, examine, sending, showing
from dbvitals.doctor.model import Case, Check, Finding, Status, broken, well
from dbvitals.doctor.places import GRPC, HTTP, places
from dbvitals.doctor.probe import Probe
from dbvitals.stack.files import state_folder
from dbvitals.stack.folder import in_use
from dbvitals.stack.local import LocalStack
from dbvitals.stack.ports import Ports
from dbvitals.stack.processes import Process
from dbvitals.stack.render import DATA_SOURCE_UIDS
from dbvitals_instrumentation.config import ConfigError

NOBODY = "http://127.0.0.1:1"
TIMEOUT = 8


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    environ = {**os.environ, "DBVITALS_ALERT_WEBHOOK_URL": "http://127.0.0.1:9/"}
    edits = {"stack/prometheus.yml": {"evaluation_interval: 5s": "evaluation_interval: 1s"}}
    flags = ["--rules.alert.resend-delay=1s"]
    folder = tmp_path_factory.mktemp("stack")
    with LocalStack(folder, Ports.free(), environ=environ, edits=edits, prometheus_flags=flags) as stack:
        stack.wait_until_scraped()
        soon(lambda: json.loads(get(f"{stack.alertmanager_url}/api/v2/alerts")), "an alert comes")
        yield stack


@contextmanager
def without(process: Process) -> Iterator[None]:
    process.kill()
    try:
        yield
    finally:
        process.start()


def doctor(stack: LocalStack, *options: str, **environment: str) -> tuple[int, list[dict[str, str]], str | None]:
    """The exit code, the steps, and where it stops."""
    command = [sys.executable, "-m", "dbvitals", "doctor", *addresses(stack), "--format", "json", *options]
    finished = subprocess.run(
        command,
        env={**os.environ, **stack.service_environment(), "OTEL_SERVICE_NAME": "shop", **environment},
        capture_output=True,
        text=True,
    )
    assert finished.stderr == ""
    said = json.loads(finished.stdout)
    assert said["well"] == (finished.returncode == 0) == (said["stops_at"] is None)
    return finished.returncode, said["steps"], said["stops_at"]


def addresses(stack: LocalStack) -> list[str]:
    named = {
        "collector": stack.collector_metrics_url,
        "prometheus": stack.prometheus_url,
        "alertmanager": stack.alertmanager_url,
        "traces": str(stack.traces_file),
        "grafana": "none",
        "timeout": str(TIMEOUT),
    }
    return [word for name, value in named.items() for word in (f"--{name}", value)]


def step(steps: list[dict[str, str]], name: str) -> dict[str, str]:
    (found,) = [one for one in steps if one["name"] == name]
    return found


def test_a_pipeline_that_is_well(stack: LocalStack) -> None:
    code, steps, _ = doctor(stack)
    statuses = {one["name"]: one["status"] for one in steps if one["status"] != "well"}
    assert statuses == {"Grafana": "skipped"}, steps
    assert code == 0
    assert "with an exemplar" in step(steps, "Prometheus has the metric")["seen"]
    assert "DbvitalsWatchdog is there" in step(steps, "Alerts reach it")["seen"]


def test_a_span_on_its_way_through_a_gateway_that_samples(tmp_path: Path) -> None:
    environ = {**os.environ, "DBVITALS_SAMPLE_PERCENT": "0", "DBVITALS_DECISION_WAIT": "1s"}
    with LocalStack(tmp_path, Ports.free(), environ=environ, gateway=True) as stack:
        code, steps, _ = doctor(stack, "--alertmanager", "none")
    assert code == 0, steps


def test_a_service_that_speaks_grpc(stack: LocalStack) -> None:
    code, steps, _ = doctor(stack, "--endpoint", stack.otlp_grpc, OTEL_EXPORTER_OTLP_PROTOCOL=GRPC)
    assert code == 0, steps
    assert f"by {GRPC}" in step(steps, "Span accepted")["seen"]


@pytest.mark.parametrize("protocol,right", [(HTTP, GRPC), (GRPC, HTTP)])
def test_the_wrong_protocol_for_a_port(stack: LocalStack, protocol: str, right: str) -> None:
    endpoint = stack.otlp_grpc if protocol == HTTP else stack.otlp_http
    code, steps, stop = doctor(stack, "--endpoint", endpoint, "--timeout", "2", OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert (code, stop) == (1, "Span accepted")
    assert f"This port speaks {right}" in step(steps, "Span accepted")["advice"]
    assert step(steps, "Prometheus has the metric")["status"] == "skipped"


def test_no_collector(stack: LocalStack) -> None:
    with without(stack.collector):
        code, steps, stop = doctor(stack, "--timeout", "1")
    assert (code, stop) == (1, "Collector's door")
    assert "connection refused" in step(steps, "Collector's door")["seen"]
    assert "dbvitals stack" in step(steps, "Collector's door")["advice"]
    assert step(steps, "Rules")["status"] == "well"


def test_no_prometheus(stack: LocalStack) -> None:
    with without(stack.prometheus):
        code, steps, stop = doctor(stack)
    assert (code, stop) == (1, "Prometheus")
    assert "--prometheus" in step(steps, "Prometheus")["advice"]
    assert step(steps, "Collector shows the metric")["status"] == "well"
    assert step(steps, "Traces backend has the span")["status"] == "well"
    stack.wait_until_scraped()


def test_no_alertmanager(stack: LocalStack) -> None:
    with without(stack.alertmanager):
        code, _, stop = doctor(stack)
    assert (code, stop) == (1, "Alertmanager")


def test_something_else_listens_where_the_service_sends(stack: LocalStack) -> None:
    _, steps, stop = doctor(stack, "--endpoint", stack.prometheus_url, "--timeout", "1")
    assert stop == "Span accepted"
    assert "takes no OTLP" in step(steps, "Span accepted")["advice"]


def test_a_traces_backend_that_gets_nothing(stack: LocalStack, tmp_path: Path) -> None:
    _, steps, stop = doctor(stack, "--traces", str(tmp_path / "nothing.jsonl"), "--timeout", "1")
    assert stop == "Traces backend has the span"
    assert "DBVITALS_TRACES_ENDPOINT" in step(steps, stop)["advice"]


def test_prometheus_that_scrapes_elsewhere_and_rules_that_fail(tmp_path: Path) -> None:
    edits = {
        "stack/prometheus.yml": {"127.0.0.1:": "127.0.0.2:", "evaluation_interval: 5s": "evaluation_interval: 1s"},
        "alerts/recording.yml": {"groups:\n": BROKEN_RULE},
    }
    with LocalStack(tmp_path, Ports.free(), edits=edits) as stack:
        _, steps, stop = doctor(stack, "--timeout", "6")
    assert stop == "Prometheus scrapes"
    assert "lastError" not in step(steps, stop)["seen"]
    assert "scrape_configs" in step(steps, stop)["advice"]
    assert step(steps, "Rules")["status"] == "broken"
    assert "cannot:be:evaluated" in step(steps, "Rules")["seen"]


BROKEN_RULE = """groups:
  - name: broken
    rules:
      - record: cannot:be:evaluated
        expr: count_values("a", vector(1)) * on () (vector(1) or label_replace(vector(1), "b", "c", "", ""))
"""


def test_every_line_of_the_text_has_its_mark_and_the_last_says_where_it_stops(stack: LocalStack) -> None:
    command = [sys.executable, "-m", "dbvitals", "doctor", *addresses(stack), "--endpoint", NOBODY]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 1
    lines = finished.stdout.splitlines()
    assert [line[0] for line in lines if line[:1] not in ("", " ", "I")] == list("!✗–––✓✓–✓✓✓––")
    assert lines[-1].startswith("It stops at: Collector's door. Start the Collector")


def test_traces_are_looked_for_in_the_file_of_a_stack_that_runs_in_its_usual_folder(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    file = state_folder(environ) / "traces/traces.jsonl"
    with LocalStack(state_folder(environ), Ports.free()) as stack:
        _, steps, _ = doctor(stack, "--traces", "", "--prometheus", NOBODY, XDG_STATE_HOME=str(tmp_path))
        assert str(file) in step(steps, "Traces backend has the span")["seen"]
        assert in_use(stack.folder)
    assert not in_use(stack.folder)


# --- What needs no pipeline ------------------------------------------------------------------------------------------


def case(environ: Mapping[str, str] = {}, **given: str) -> Case:
    return Case(places(given, environ), Probe(), environ, timeout=1)


SANE = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    "OTEL_EXPORTER_OTLP_PROTOCOL": HTTP,
    "OTEL_SERVICE_NAME": "a",
}


@pytest.mark.parametrize(
    "environ,status,words",
    [
        ({}, Status.WELL, "a, http/protobuf, metrics every 60 s"),
        ({"OTEL_SDK_DISABLED": "true"}, Status.BROKEN, "OTEL_SDK_DISABLED is true"),
        ({"DBVITALS_ENABLED": "false"}, Status.BROKEN, "DBVITALS_ENABLED is false"),
        ({"DBVITALS_SLOW_THRESHOLD": "soon"}, Status.BROKEN, "DBVITALS_SLOW_THRESHOLD"),
        ({"OTEL_TRACES_EXPORTER": "none"}, Status.BROKEN, "OTEL_TRACES_EXPORTER is none"),
        ({"OTEL_METRICS_EXPORTER": "none"}, Status.BROKEN, "OTEL_METRICS_EXPORTER is none"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, Status.BROKEN, "parentbased_always_off"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, Status.BROKEN, "is 0"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, Status.BROKEN, "gRPC is sent to port 4318"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4317"}, Status.BROKEN, "HTTP is sent to port 4317"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, Status.BROKEN, "http/json is unknown"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": ""}, Status.WARNING, "OTEL_EXPORTER_OTLP_PROTOCOL is not set"),
        ({"OTEL_SERVICE_NAME": ""}, Status.WARNING, "OTEL_SERVICE_NAME is not set"),
        ({"OTEL_SERVICE_NAME": "", "OTEL_RESOURCE_ATTRIBUTES": "service.name=b"}, Status.WELL, "b, "),
        ({"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}, Status.WARNING, "differences"),
        ({"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}, Status.WARNING, "EXEMPLAR_FILTER"),
    ],
)
def test_the_service_s_environment(environ: dict[str, str], status: Status, words: str) -> None:
    finding = environment.look(case({**SANE, **environ}))
    assert finding.status is status
    assert words in finding.seen
    assert bool(finding.advice) == (status is not Status.WELL)


def test_an_environment_that_names_no_endpoint() -> None:
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is not set" in environment.look(case()).seen


def test_where_services_send_is_read_as_the_sdk_reads_it() -> None:
    both = places({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://a:4318/"})
    assert (both.spans, both.metrics) == ("https://a:4318/v1/traces", "https://a:4318/v1/metrics")
    own = places(
        {},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b:1/x", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": HTTP},
        Path("x"),
    )
    assert own.spans == "http://b:1/x"
    assert own.metrics == "http://127.0.0.1:4318/v1/metrics"


class Answering:
    """An HTTP server on loopback that answers by path, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, tuple[int, bytes]]) -> None:
        self.asked: list[tuple[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers.get("Authorization", "")))
                status, body = answers.get(self.path.partition("?")[0], (404, b""))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_arguments: Any) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Answering:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


def test_what_a_receiver_rejects_though_it_accepts_the_request_is_told() -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 1
    response.partial_success.error_message = "attribute too long"
    with Answering({"/v1/traces": (200, response.SerializeToString())}) as receiver:
        answer = sending.send(sending.SPANS, Probe(), f"{receiver.url}/v1/traces", HTTP, timeout=2)
    assert answer == sending.Answer(accepted=False, rejected=1, said="attribute too long")


def test_a_page_that_answers_everything_with_success_is_no_receiver() -> None:
    with Answering({"/v1/traces": (200, b"<html>hello</html>")}) as page:
        answer = sending.send(sending.SPANS, Probe(), f"{page.url}/v1/traces", HTTP, timeout=2)
    assert not answer.accepted
    assert "no OTLP response" in answer.said


@pytest.mark.parametrize("status", [Status.WELL, Status.BROKEN])
def test_a_trace_is_looked_for_in_tempo_or_jaeger(status: Status) -> None:
    probe = Probe()
    body = b'{"data":null}' if status is Status.BROKEN else b'{"batches":[{}]}'
    with Answering({f"/api/traces/{probe.trace_id}": (200, body), "/": (200, b"")}) as backend:
        where = places({"traces": backend.url}, {})
        assert showing.trace(Case(where, probe, {}, timeout=0.2)).status is status


@pytest.mark.parametrize(
    "since,status,words",
    [("2020-01-01T00:00:00.123456789Z", Status.BROKEN, "has not come"), (None, Status.WELL, "is on its way")],
)
def test_an_alert_that_always_fires_and_does_not_come(since: str | None, status: Status, words: str) -> None:
    now = datetime.now(timezone.utc).isoformat()
    rule = {"name": alerting.WATCHDOG, "alerts": [{"activeAt": since or now}]}
    with Answering({"/api/v2/alerts": (200, b"[]")}) as alertmanager:
        answers = {
            "/api/v1/alertmanagers": {"activeAlertmanagers": [{"url": f"{alertmanager.url}/api/v2/alerts"}]},
            "/api/v1/rules": {"groups": [{"rules": [rule]}]},
        }
        told = {path: (200, json.dumps({"data": data}).encode()) for path, data in answers.items()}
        with Answering(told) as prometheus:
            finding = alerting.connection(case(prometheus=prometheus.url, alertmanager=alertmanager.url))
    assert finding.status is status
    assert words in finding.seen


GRAFANA = {
    "/api/health": (200, b'{"version": "13.0.1"}'),
    **{f"/api/datasources/uid/{uid}/health": (200, b'{"status": "OK"}') for uid in DATA_SOURCE_UIDS},
    **{f"/api/dashboards/uid/{uid}": (200, b"{}") for uid in showing.dashboards()},
}


@pytest.mark.parametrize(
    "changed,status,words",
    [
        ({}, Status.WELL, "7 dashboards"),
        (
            {"/api/datasources/uid/dbvitals-traces/health": (404, b"{}")},
            Status.BROKEN,
            "no data source dbvitals-traces",
        ),
        (
            {"/api/datasources/uid/dbvitals-prometheus/health": (200, b'{"status": "ERROR", "message": "refused"}')},
            Status.BROKEN,
            "dbvitals-prometheus fails: refused",
        ),
        ({"/api/dashboards/uid/dbvitals-pool": (404, b"{}")}, Status.BROKEN, "no dashboard dbvitals-pool"),
        ({"/api/dashboards/uid/dbvitals-pool": (403, b"{}")}, Status.WARNING, "does not let us look"),
    ],
)
def test_grafana_is_asked_for_data_sources_and_dashboards(
    changed: dict[str, tuple[int, bytes]], status: Status, words: str
) -> None:
    with Answering({**GRAFANA, **changed}) as grafana:
        finding = showing.grafana(case({showing.TOKEN: "t"}, grafana=grafana.url))
    assert finding.status is status
    assert words in finding.seen
    assert ("/api/dashboards/uid/dbvitals-cache", "Bearer t") in grafana.asked or status is Status.BROKEN


def test_a_password_in_an_address_is_used_and_never_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with Answering({}) as server:
        url = server.url.replace("http://", "http://me:hunter2@")
        names = ("endpoint", "collector", "prometheus", "alertmanager", "traces", "grafana")
        options = [word for name in names for word in (f"--{name}", url)]
        command = [sys.executable, "-m", "dbvitals", "doctor", *options, "--timeout", "1"]
        finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 1
    assert "hunter2" not in finished.stdout + finished.stderr
    assert {credentials for path, credentials in server.asked if path.startswith("/api")} == {"Basic bWU6aHVudGVyMg=="}


@pytest.mark.parametrize(
    "options", [["--prometheus", "localhost:9090"], ["--timeout", "0"], ["--endpoint", "http://a:b"]]
)
def test_bad_input_is_one_line(options: list[str]) -> None:
    finished = subprocess.run([sys.executable, "-m", "dbvitals", "doctor", *options], capture_output=True, text=True)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert options[0] in line


def test_an_address_in_the_environment_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        places({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "4318"})


def test_the_probe_is_made_though_the_service_has_switched_the_sdk_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    probe = Probe()
    assert len(probe.spans) == 1
    assert os.environ["OTEL_SDK_DISABLED"] == "true"


def test_steps_that_depend_on_a_broken_one_are_left_out_and_the_rest_is_looked_at() -> None:
    def odd(_case: Case) -> Finding:
        raise KeyError("data")

    checks = (
        Check("a", lambda _: broken("no", "mend a")),
        Check("b", lambda _: well("never"), ("a",)),
        Check("c", lambda _: well("never"), ("b",)),
        Check("d", lambda _: well("yes")),
        Check("e", odd),
    )
    results = list(examine.examine(case(), checks))
    assert [result.status.value for result in results] == ["broken", "skipped", "skipped", "well", "broken"]
    assert results[2].seen == "cannot be seen: a comes first"
    assert "KeyError" in results[4].seen
    assert examine.stop(results) is results[0]
