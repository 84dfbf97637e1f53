"""Alertmanager's configuration: whom it tells, what it keeps back, and what people read. With the real Alertmanager."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from collectors import ROOT, get, soon
from mails import Mailbox
from webhook import Webhook

import services
from dbvitals.stack import receivers
from dbvitals.stack.binaries import ALERTMANAGER, find
from dbvitals.stack.processes import Process, free_ports

SHIPPED = ROOT / "alerts" / "alertmanager.yml"
TEMPLATE = ROOT / "alerts" / "templates" / "dbvitals.tmpl"
AT_ONCE = {f"group_wait: {wait}": "group_wait: 0s" for wait in ("10s", "30s", "5m")}
FINGERPRINT = "4f0c1d2e3a5b6978"
REGRESSED = (
    {
        "alertname": "DbvitalsQueryRegressed",
        "severity": "warning",
        "signal": "regression",
        "service_name": "shop",
        "deployment_environment_name": "prod",
        "db_query_summary": "SELECT orders",
        "dbvitals_query_fingerprint": FINGERPRINT,
    },
    {
        "summary": "shop: SELECT orders takes 2.5 times as long as yesterday",
        "description": "The mean is half as long again.",
        "query": "SELECT * FROM orders WHERE total < ? AND note <> ?",
        "runbook_url": "https://example.org/docs/runbooks/DbvitalsQueryRegressed.md",
        "dashboard": f"/d/dbvitals-query?var-service=shop&var-namespace=shop%7Cpublic&var-fingerprint={FINGERPRINT}",
    },
)


def amtool(*arguments: str | Path) -> str:
    """What amtool says, if it is content."""
    command = [services.tool("amtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Alertmanager:
    """A running one, by its API."""

    def __init__(self, url: str, process: Process) -> None:
        self.url = url
        self.process = process

    def post(self, *alerts: tuple[Mapping[str, str], Mapping[str, str]]) -> None:
        now = datetime.now(timezone.utc)
        body = [
            {
                "labels": labels,
                "annotations": annotations,
                "startsAt": (now - timedelta(minutes=5)).isoformat(),
                "endsAt": (now + timedelta(hours=1)).isoformat(),
            }
            for labels, annotations in alerts
        ]
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    def suppressed(self) -> set[tuple[str, str | None]]:
        """Which alerts of which services are inhibited."""
        alerts = json.loads(get(f"{self.url}/api/v2/alerts"))
        return {
            (alert["labels"]["alertname"], alert["labels"].get("service_name"))
            for alert in alerts
            if alert["status"]["inhibitedBy"]
        }


@contextmanager
def running(
    folder: Path, environ: Mapping[str, str] | None = None, edits: Mapping[str, str] = AT_ONCE
) -> Iterator[Alertmanager]:
    """An Alertmanager with the shipped files, the environment's receivers, and no patience."""
    configuration = receivers.render(SHIPPED.read_text(), environ or {}, folder / "secrets")
    for old, new in edits.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    (folder / "templates").mkdir()
    (folder / "alertmanager.yml").write_text(configuration)
    (folder / "templates" / "dbvitals.tmpl").write_text(receivers.link(TEMPLATE.read_text(), environ or {}))
    services.tool("amtool")  # installs the server, too, where it can
    program = find(ALERTMANAGER)
    assert program is not None, ALERTMANAGER.install
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [
        program,
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=debug",
    ]
    with Process("Alertmanager", command, ready=f"{url}/-/ready", log=folder / "log") as process:
        yield Alertmanager(url, process)


def alert(name: str, severity: str, signal: str, service: str | None = "shop", **labels: str) -> tuple[Any, Any]:
    of = {"service_name": service, "deployment_environment_name": "prod"} if service else {}
    return {"alertname": name, "severity": severity, "signal": signal, **of, **labels}, {"summary": name}


class TestShipped:
    def test_is_accepted_and_tells_nobody(self) -> None:
        assert "4 receivers" in amtool("check-config", SHIPPED)
        assert "_configs" not in SHIPPED.read_text()

    @pytest.mark.parametrize("severity", ["critical", "warning", "information"])
    def test_routes_by_severity(self, severity: str) -> None:
        labels = [f"severity={severity}", "alertname=DbvitalsPoolUseHigh", "service_name=shop"]
        assert self.route(*labels) == severity

    def test_the_watchdog_has_a_way_of_its_own_and_what_has_no_severity_is_not_lost(self) -> None:
        assert self.route("severity=none", "alertname=DbvitalsWatchdog") == "watchdog"
        assert self.route("alertname=Somebody_elses") == "warning"

    def route(self, *labels: str) -> str:
        return amtool("config", "routes", "test", f"--config.file={SHIPPED}", *labels).strip()


class TestInhibition:
    def test_a_critical_alert_silences_the_warnings_of_the_same_trouble_only(self, tmp_path: Path) -> None:
        with running(tmp_path) as alertmanager:
            alertmanager.post(
                alert("DbvitalsLatencyBudgetBurns", "critical", "latency"),
                alert("DbvitalsMeanDurationHigh", "warning", "latency"),
                alert("DbvitalsMeanDurationHigh", "warning", "latency", "other"),
                alert("DbvitalsSlowQueryShareHigh", "warning", "slow_queries"),
                alert("DbvitalsPoolExhausted", "critical", "pool", db_client_connection_pool_name="a"),
                alert("DbvitalsPoolUseHigh", "warning", "pool", db_client_connection_pool_name="a"),
                alert("DbvitalsPoolUseLow", "information", "pool", db_client_connection_pool_name="b"),
            )
            expected = {("DbvitalsMeanDurationHigh", "shop"), ("DbvitalsPoolUseHigh", "shop")}
            soon(lambda: alertmanager.suppressed() == expected, f"{expected} are inhibited")

    def test_a_silent_service_silences_what_is_said_of_it(self, tmp_path: Path) -> None:
        with running(tmp_path) as alertmanager:
            alertmanager.post(
                alert("DbvitalsServiceSilent", "warning", "telemetry"),
                alert("DbvitalsMostQueriesFail", "critical", "errors"),
                alert("DbvitalsMostQueriesFail", "critical", "errors", "other"),
            )
            expected = {("DbvitalsMostQueriesFail", "shop")}
            soon(lambda: alertmanager.suppressed() == expected, f"{expected} are inhibited")

    def test_absent_telemetry_silences_everything_but_its_cause_and_the_watchdog(self, tmp_path: Path) -> None:
        with running(tmp_path) as alertmanager:
            alertmanager.post(
                alert("DbvitalsTelemetryAbsent", "critical", "telemetry", None),
                alert("DbvitalsServiceSilent", "warning", "telemetry"),
                alert("DbvitalsMostQueriesFail", "critical", "errors"),
                alert("DbvitalsIndexHintOpenForDays", "information", "hint"),
                alert("DbvitalsCollectorRefuses", "warning", "collector", None, instance="agent:8888"),
                alert("DbvitalsWatchdog", "none", "watchdog", None),
                alert("SomebodyElses", "warning", "other"),
            )
            expected = {
                ("DbvitalsServiceSilent", "shop"),
                ("DbvitalsMostQueriesFail", "shop"),
                ("DbvitalsIndexHintOpenForDays", "shop"),
            }
            soon(lambda: alertmanager.suppressed() == expected, f"{expected} are inhibited")
            alertmanager.post(alert("DbvitalsCollectorDown", "critical", "telemetry", None, instance="agent:8888"))
            expected.add(("DbvitalsTelemetryAbsent", None))  # and what it inhibits stays so
            soon(lambda: alertmanager.suppressed() == expected, f"{expected} are inhibited")


class TestNotifications:
    def test_information_waits_for_working_hours_and_a_warning_does_not(self, tmp_path: Path) -> None:
        tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%A").lower()
        with Webhook() as webhook:
            environ = {"DBVITALS_ALERT_WEBHOOK_URL": webhook.url}
            never = {**AT_ONCE, '["monday:friday"]': f'["{tomorrow}"]'}
            (tmp_path / "never").mkdir()
            with running(tmp_path / "never", environ, never) as alertmanager:
                alertmanager.post(alert("Said", "warning", "a"), alert("KeptBack", "information", "b"))
                soon(lambda: webhook.alerts("Said"), "the warning")
                log = alertmanager.process.log
                soon(lambda: "route is not within active time" in log.read_text(), "information held back")
                assert not webhook.alerts("KeptBack")
            always = {**AT_ONCE, '["monday:friday"]': '["sunday:saturday"]', '"09:00"': '"00:00"', '"17:00"': '"24:00"'}
            (tmp_path / "always").mkdir()
            with running(tmp_path / "always", environ, always) as alertmanager:
                alertmanager.post(alert("KeptBack", "information", "b"))
                soon(lambda: webhook.alerts("KeptBack"), "information in working hours")
                # Alertmanager forgets after --data.retention whom it has told, five days by default.
                assert "greater than the data retention" not in alertmanager.process.log.read_text()

    def test_each_way_shows_the_query_its_fingerprint_the_dashboard_and_the_runbook(self, tmp_path: Path) -> None:
        with Webhook() as webhook, Webhook() as slack, Mailbox() as mailbox:
            environ = {
                "DBVITALS_ALERT_WEBHOOK_URL": webhook.url,
                "DBVITALS_ALERT_SLACK_URL": slack.url,
                "DBVITALS_ALERT_SLACK_CHANNEL": "#databases",
                "DBVITALS_ALERT_EMAIL_TO": "team@example.org",
                "DBVITALS_ALERT_EMAIL_FROM": "dbvitals@example.org",
                "DBVITALS_ALERT_EMAIL_SMARTHOST": mailbox.address,
                "DBVITALS_GRAFANA_URL": "https://grafana.example.org/",
            }
            with running(tmp_path, environ) as alertmanager:
                alertmanager.post(REGRESSED)
                (said,) = soon(lambda: webhook.alerts("DbvitalsQueryRegressed"), "the webhook")
                message = soon(lambda: slack.posts, "Slack")[0]
                mail = soon(lambda: mailbox.mails, "the mail")[0]
        labels, annotations = REGRESSED
        assert said["labels"] == labels
        assert said["annotations"] == annotations

        title = "[WARNING] shop: SELECT orders takes 2.5 times as long as yesterday (prod)"
        link = "https://grafana.example.org" + annotations["dashboard"]
        (attachment,) = message["attachments"]
        assert (message["channel"], attachment["title"], attachment["title_link"]) == ("#databases", title, link)
        assert f"Query: SELECT orders (`{FINGERPRINT}`)" in attachment["text"]
        assert "```SELECT * FROM orders WHERE total &lt; ? AND note &lt;&gt; ?```" in attachment["text"]
        assert f"<{link.replace('&', '&amp;')}|Dashboard>" in attachment["text"]
        assert f"<{annotations['runbook_url']}|Runbook>" in attachment["text"]

        assert (mail["Subject"], mail["To"]) == (title, "team@example.org")
        plain, html = (part.get_content() for part in mail.iter_parts())
        for text in (FINGERPRINT, annotations["query"], link, annotations["runbook_url"]):
            assert text in plain
        assert "WHERE total &lt; ? AND note &lt;&gt; ?" in html
        assert f'<a href="{link.replace("&", "&amp;")}">Dashboard</a>' in html
        assert FINGERPRINT in html

    def test_several_alerts_are_one_message_and_the_title_counts_them(self, tmp_path: Path) -> None:
        labels, annotations = REGRESSED
        with Webhook() as slack, running(tmp_path, {"DBVITALS_ALERT_SLACK_URL": slack.url}) as alertmanager:
            second = {**labels, "dbvitals_query_fingerprint": "ffff"}, {**annotations, "summary": "another"}
            alertmanager.post(REGRESSED, second)
            (attachment,) = soon(lambda: slack.posts, "Slack")[0]["attachments"]
        assert attachment["title"] == "[WARNING] shop: 2 × DbvitalsQueryRegressed (prod)"
        assert "*another*" in attachment["text"]
        assert annotations["summary"] in attachment["text"]

    def test_an_alert_of_somebody_elses_without_a_runbook_has_no_link_to_one(self, tmp_path: Path) -> None:
        with Webhook() as slack, running(tmp_path, {"DBVITALS_ALERT_SLACK_URL": slack.url}) as alertmanager:
            alertmanager.post(alert("SomebodyElses", "warning", "other"))
            (attachment,) = soon(lambda: slack.posts, "Slack")[0]["attachments"]
        assert attachment["title"] == "[WARNING] SomebodyElses (prod)"
        assert "Runbook" not in attachment["text"]
