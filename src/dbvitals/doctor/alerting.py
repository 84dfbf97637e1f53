"""The way of an alert: from Prometheus to somebody who hears it."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from urllib.parse import urlsplit

from dbvitals.doctor import web
from dbvitals.doctor.collecting import soon
from dbvitals.doctor.model import Case, Finding, broken, skipped, warning, well
from dbvitals.doctor.places import NONE
from dbvitals.doctor.storing import ask

WATCHDOG = "DbvitalsWatchdog"
"""The alert that always fires."""

_ON_ITS_WAY = 90.0
"""Prometheus tells nobody in its first seconds, and of what fires then it tells a minute later."""

_TELLS = re.compile(r"^\s*(?:- )?(\w+)_configs:", re.MULTILINE)
"""What a receiver has that tells somebody: `webhook_configs:`, `slack_configs:` …"""


def answer(case: Case) -> Finding:
    """Whether Alertmanager is there, and has somebody to tell."""
    if case.places.alertmanager == NONE:
        return skipped("Alertmanager is not looked at")
    try:
        base = case.places.alertmanager.rstrip("/")
        status = web.get_json(f"{base}/api/v2/status", timeout=5)
    except web.Unanswered as error:
        return broken(str(error), "Start Alertmanager, or name where it is with --alertmanager.")
    seen = f"version {status['versionInfo']['version']} at {web.shown(base)}"
    ways = sorted(set(_TELLS.findall(status["config"]["original"])))
    if not ways:
        return warning(
            f"{seen}; no receiver tells anybody", "Set DBVITALS_ALERT_… for the receivers that you have: docs/stack.md."
        )
    return well(f"{seen}, tells by {', '.join(ways)}")


def connection(case: Case) -> Finding:
    """Whether Prometheus sends its alerts to that Alertmanager."""
    active = soon(lambda: ask(case, "alertmanagers")["activeAlertmanagers"], 6.0)
    if not active:
        return broken(
            "Prometheus knows no Alertmanager",
            "Name it under alerting: alertmanagers: in Prometheus' configuration, as stack/prometheus.yml does.",
        )
    ports = {urlsplit(one["url"]).port for one in active}
    if case.places.alertmanager != NONE and urlsplit(case.places.alertmanager).port not in ports:
        return warning(
            f"Prometheus sends to {', '.join(web.shown(one['url']) for one in active)}",
            "That is another Alertmanager than the one looked at: name it with --alertmanager.",
        )
    seen = f"Prometheus sends to {', '.join(web.shown(one['url']) for one in active)}"
    fires = _fires_for(case)
    if case.places.alertmanager == NONE or fires is None:
        return well(seen)
    url = f"{case.places.alertmanager.rstrip('/')}/api/v2/alerts"
    query = {"filter": f'alertname="{WATCHDOG}"', "active": "true"}
    if not soon(lambda: web.get_json(url, timeout=5, **query), case.timeout if fires > _ON_ITS_WAY else 0):
        if fires <= _ON_ITS_WAY:
            return well(f"{seen}; {WATCHDOG} fires for {fires:.0f} s and is on its way")
        return broken(
            f"{seen}, and {WATCHDOG}, which always fires, has not come",
            "Look for notifications in Prometheus' log: does it reach Alertmanager from where it runs?",
        )
    return well(f"{seen}, and {WATCHDOG} is there")


def _fires_for(case: Case) -> float | None:
    """Seconds since it began to fire; ``None`` where it is not among the rules, or was not evaluated yet."""
    rules = [rule for group in ask(case, "rules")["groups"] for rule in group["rules"]]
    since = [alert["activeAt"] for rule in rules if rule["name"] == WATCHDOG for alert in rule["alerts"]]
    if not since:
        return None
    began = datetime.strptime(since[0][:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - began).total_seconds()
