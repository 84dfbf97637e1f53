"""The second stretch: what Prometheus scrapes, keeps and evaluates."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlsplit

from dbvitals.doctor import web
from dbvitals.doctor.collecting import LABEL, SERIES, soon
from dbvitals.doctor.model import Case, Finding, broken, skipped, warning, well
from dbvitals.doctor.places import NONE

_FEATURE = "exemplar-storage"
_STARTUP = 6.0  # seconds after its start in which Prometheus scrapes nothing


def answer(case: Case) -> Finding:
    """Whether Prometheus is there."""
    if case.places.prometheus == NONE:
        return skipped("Prometheus is not looked at")
    try:
        version = ask(case, "status/buildinfo")["version"]
    except web.Unanswered as error:
        return broken(str(error), "Start Prometheus, or name where it is with --prometheus.")
    return well(f"version {version} at {web.shown(case.places.prometheus)}")


def scrape(case: Case) -> Finding:
    """Whether Prometheus scrapes the Collector, and gets an answer."""
    port = urlsplit(case.places.collector).port if case.places.collector != NONE else 9464
    targets = soon(lambda: [one for one in _targets(case) if urlsplit(one["scrapeUrl"]).port == port], _STARTUP)
    if not targets:
        others = ", ".join(sorted({web.shown(one["scrapeUrl"]) for one in _targets(case)})) or "nothing"
        return broken(
            f"Prometheus scrapes nothing at port {port}; it scrapes {others}",
            "Add the Collector to its scrape_configs: stack/prometheus.yml of `dbvitals stack export` has it.",
        )
    up = soon(lambda: next((one for one in _targets(case) if _up(one, port)), None), case.timeout)
    if up is None:
        target = targets[0]
        return broken(
            f"{web.shown(target['scrapeUrl'])} is {target['health']}: {target['lastError'] or 'not scraped yet'}",
            "Prometheus cannot get at the Collector from where it runs: look at the address in its scrape_configs.",
        )
    return well(f"{web.shown(up['scrapeUrl'])} is up, every {up.get('scrapeInterval', '?')}")


def value(case: Case) -> Finding:
    """Whether the probe's count is there, and leads to its trace."""
    selector = f'{SERIES}{{{LABEL}="{case.probe.id}"}}'
    found = soon(lambda: ask(case, "query", query=selector)["result"], case.timeout)
    if not found:
        return broken(
            f"no {SERIES} of this probe within {case.timeout:g} s",
            "Give it longer than its scrape interval with --timeout; then look for relabelling that drops it.",
        )
    seen = f"{SERIES} is {found[0]['value'][1]}, {time.monotonic() - case.probe.made:.2f} s after it was made"
    lost = [name for name in ("service_name", "service_instance_id") if name not in found[0]["metric"]]
    if lost:
        return warning(
            f"{seen}; it has no {' and no '.join(lost)}",
            "Dashboards group by them: promote them in the Collector, as otel-collector.yaml of this pipeline does.",
        )
    if _FEATURE not in ask(case, "status/flags").get("enable-feature", ""):
        return warning(seen, f"Start Prometheus with --enable-feature={_FEATURE} to get from a metric to its trace.")
    now = time.time()
    when = {"start": str(now - 300), "end": str(now + 60)}
    exemplars = soon(lambda: ask(case, "query_exemplars", query=selector, **when), min(case.timeout, 3))
    if case.probe.trace_id not in str(exemplars):
        return warning(
            f"{seen}, without an exemplar",
            "The Collector's prometheus exporter needs enable_open_metrics: true, and the service an SDK that records "
            "exemplars.",
        )
    return well(f"{seen}, with an exemplar")


def rules(case: Case) -> Finding:
    """Whether rules are loaded, and can be evaluated."""
    loaded = [(group, rule) for group in ask(case, "rules")["groups"] for rule in group["rules"]]
    ill = [(group, rule) for group, rule in loaded if rule["health"] == "err"]
    if not loaded:
        return broken(
            "no rules are loaded", "Name the files of alerts/ in Prometheus' rule_files: see stack/prometheus.yml."
        )
    if ill:
        group, rule = ill[0]
        return broken(
            f"{len(ill)} of {len(loaded)} rules fail; {rule['name']}: {rule.get('lastError', '')}",
            f"Mend {rule['name']} in {group['file']}: promtool check rules, and try its expression in Prometheus.",
        )
    alerting = sum(rule["type"] == "alerting" for _, rule in loaded)
    if not alerting:
        return warning(f"{len(loaded)} rules, none of them alerts", "Load alerts/alerting.yml, too.")
    return well(f"{len(loaded) - alerting} recording rules and {alerting} alerts, none failing")


def ask(case: Case, what: str, **query: str) -> Any:
    """The data that Prometheus' API answers with.

    Raises:
        Unanswered: there was none.
    """
    url = f"{case.places.prometheus.rstrip('/')}/api/v1/{what}"
    answered = web.get_json(url, timeout=5, **query)
    if not isinstance(answered, dict) or "data" not in answered:
        raise web.Unanswered(f"{web.shown(url)} is no Prometheus")
    return answered["data"]


def _targets(case: Case) -> list[dict[str, Any]]:
    return list(ask(case, "targets", state="active")["activeTargets"])


def _up(target: dict[str, Any], port: int | None) -> bool:
    return urlsplit(target["scrapeUrl"]).port == port and bool(target["health"] == "up")
