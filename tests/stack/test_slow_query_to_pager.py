"""From a slow query to a notification and back: everything real, only time runs faster.

The shipped rules wait for minutes, so that a hiccup wakes nobody. Here every minute of theirs is a second.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from collectors import ROOT, soon
from prom import Prometheus
from webhook import Webhook

from dbvitals.stack.local import LocalStack
from dbvitals.stack.ports import Ports

SHARE = "DbvitalsSlowQueryShareHigh"
SERVICE = """
import sys, threading, time
from sqlalchemy import create_engine, event, text
engine = create_engine("sqlite://", pool_logging_name="only")
slow = threading.Event()

@event.listens_for(engine, "connect")
def prepare(connection, record):
    connection.create_function("nap", 0, lambda: time.sleep(0.12 if slow.is_set() else 0.001))

def listen():
    for line in sys.stdin:
        (slow.set if line == "slow\\n" else slow.clear)()

threading.Thread(target=listen, daemon=True).start()
while True:
    with engine.connect() as connection:
        connection.execute(text("SELECT nap() AS orders")).all()
    time.sleep(0.01)
"""
DURATION = re.compile(r"(?<![\w.])(\d+)([smhd])\b")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def lapsed(text: str) -> str:
    """Every duration of a configuration, sixty times shorter; a second at least."""
    return DURATION.sub(lambda match: f"{max(1, round(int(match[1]) * SECONDS[match[2]] / 60))}s", text)


def edits() -> dict[str, dict[str, str]]:
    names = ["alerts/recording.yml", "alerts/alerting.yml", "alerts/alertmanager.yml"]
    whole = {name: (ROOT / name).read_text() for name in names}
    return {
        **{name: {text: lapsed(text)} for name, text in whole.items()},
        "stack/prometheus.yml": {"evaluation_interval: 5s": "evaluation_interval: 1s"},
    }


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as receiver:
        yield receiver


def test_a_slow_service_pages_once_and_is_resolved_when_it_is_quick_again(tmp_path: Path, webhook: Webhook) -> None:
    environ = {**os.environ, "DBVITALS_ALERT_WEBHOOK_URL": webhook.url}
    with LocalStack(tmp_path / "stack", Ports.free(), environ=environ, edits=edits()) as stack:
        environment = {**os.environ, **stack.service_environment(), "OTEL_SERVICE_NAME": "orders"}
        command = [sys.executable, "-m", "dbvitals", "run", "--", sys.executable, "-c", SERVICE]
        service = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, text=True)
        try:
            assert service.stdin is not None
            prometheus = Prometheus(stack.prometheus_url)
            soon(lambda: prometheus.query('up{job="otel-collector"}'), "the Collector's own metrics")
            service.stdin.write("slow\n")
            service.stdin.flush()
            (fired,) = soon(lambda: webhook.alerts(SHARE, "firing"), "a notification")
            assert fired["labels"]["service_name"] == "orders"
            assert fired["labels"]["severity"] == "warning"
            assert re.search(r"\d+(\.\d+)?\s?%", fired["annotations"]["summary"])
            assert fired["annotations"]["runbook_url"].endswith(f"/{SHARE}.md")
            service.stdin.write("quick\n")
            service.stdin.flush()
            (resolved,) = soon(lambda: webhook.alerts(SHARE, "resolved"), "the word that it is over", patience=60)
            assert resolved["fingerprint"] == fired["fingerprint"]
            assert len(webhook.alerts(SHARE, "firing")) == 1
        finally:
            service.terminate()
            service.communicate()
