"""The last stretch: the trace in its backend, and what Grafana shows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from dbvitals.doctor import web
from dbvitals.doctor.collecting import soon
from dbvitals.doctor.model import Case, Finding, broken, skipped, warning, well
from dbvitals.doctor.places import NONE
from dbvitals.stack.files import assets
from dbvitals.stack.render import DASHBOARDS, DATA_SOURCE_UIDS

TOKEN = "DBVITALS_GRAFANA_TOKEN"  # noqa: S105 - the name of a variable
_TAIL = 8_000_000  # bytes of a file of traces that are read


def trace(case: Case) -> Finding:
    """Whether the traces backend has the span."""
    place = case.places.traces
    if place == NONE:
        return skipped("no traces backend is looked at")
    if "://" not in place:
        found = soon(lambda: _in_file(Path(place), case.probe.trace_id), case.timeout)
        where = place
    else:
        where = web.shown(place)
        try:
            web.get(place, timeout=5)
        except web.Unanswered as error:
            if error.status is None and "traces" not in case.places.named:
                return skipped(f"{error}; name a Tempo, a Jaeger or a file with --traces")
            if error.status is None:
                return broken(str(error), "Start the traces backend, or name where it is with --traces.")
        found = soon(lambda: _in_backend(place, case.probe.trace_id), case.timeout)
    if not found:
        return broken(
            f"{where} has no trace {case.probe.trace_id} after {case.timeout:g} s",
            "Look at the Collector's exporter of traces (DBVITALS_TRACES_ENDPOINT, its queue and its log); behind a "
            "gateway that samples, give it longer with --timeout.",
        )
    return well(f"{where} has the span, {time.monotonic() - case.probe.made:.2f} s after it was made")


def _in_file(path: Path, trace_id: str) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return trace_id.encode() in file.read()
    except FileNotFoundError:
        return False


def _in_backend(place: str, trace_id: str) -> bool:
    """Tempo and Jaeger have the same address for a trace."""
    try:
        answer = web.get(f"{place.rstrip('/')}/api/traces/{trace_id}", timeout=5, accept="application/json")
    except web.Unanswered:
        return False
    return bool(answer.strip()) and '"data":null' not in answer.replace(" ", "")


def grafana(case: Case) -> Finding:
    """Whether Grafana has the data sources, reaches them, and has the dashboards."""
    place, token = case.places.grafana.rstrip("/"), case.environ.get(TOKEN, "")
    if place == NONE:
        return skipped("Grafana is not looked at")
    try:
        version = web.get_json(f"{place}/api/health", timeout=5).get("version", "unknown")
    except web.Unanswered as error:
        if "grafana" not in case.places.named:
            return skipped(f"{error}; name it with --grafana")
        return broken(str(error), "Start Grafana, or name where it is with --grafana.")
    seen = f"version {version} at {web.shown(place)}"
    wanted = {
        **{uid: f"/api/datasources/uid/{uid}/health" for uid in DATA_SOURCE_UIDS},
        **{uid: f"/api/dashboards/uid/{uid}" for uid in dashboards()},
    }
    for uid, path in wanted.items():
        try:
            answer = web.get_json(place + path, timeout=min(case.timeout, 10), token=token)
        except web.Unanswered as error:
            return _refused(seen, uid, path, error)
        if path.endswith("/health") and answer.get("status") != "OK":
            return broken(
                f"{seen}; its data source {uid} fails: {answer.get('message', '')}",
                "Look at the address of the data source: Grafana must get there from where it runs.",
            )
    return well(f"{seen}, {len(DATA_SOURCE_UIDS)} data sources, {len(wanted) - len(DATA_SOURCE_UIDS)} dashboards")


def _refused(seen: str, uid: str, path: str, error: web.Unanswered) -> Finding:
    if error.status in (401, 403):
        return warning(f"{seen}; it does not let us look", f"Set {TOKEN} to a service account's token.")
    if error.status == 404:
        kind = "data source" if path.endswith("/health") else "dashboard"
        return broken(
            f"{seen}; it has no {kind} {uid}", "Provision it: dashboards/provisioning of `dbvitals stack export`."
        )
    return broken(f"{seen}; {uid}: {error}", "Look at Grafana's log, and at the address of the data source.")


def dashboards() -> Iterator[str]:
    """The uids of those that dbvitals brings."""
    for path in sorted((assets() / DASHBOARDS).glob("*.json")):
        yield str(json.loads(path.read_text(encoding="utf-8"))["uid"])
