"""The first stretch: from the service to what the Collector shows."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from dbvitals.doctor import web
from dbvitals.doctor.model import Case, Finding, broken, skipped, well
from dbvitals.doctor.places import GRPC, NONE
from dbvitals.doctor.sending import METRICS, SPANS, Answer, other, send
from dbvitals.stack.names import label, metric
from dbvitals_instrumentation import semconv

SERIES = metric(semconv.PROBE, semconv.PROBES, "counter")
LABEL = label(semconv.PROBE_ID)

_PAUSE = 0.05
_OPEN_METRICS = "application/openmetrics-text; version=1.0.0"

Found = TypeVar("Found")


def soon(look: Callable[[], Found | None], timeout: float) -> Found | None:
    """What ``look`` finds, asked until there is something or the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(_PAUSE)


def reach(case: Case) -> Finding:
    """Whether somebody listens where the service sends."""
    doors = {_door(case.places.spans), _door(case.places.metrics)}
    for host, port in sorted(doors):
        try:
            socket.create_connection((host, port), min(case.timeout, 5)).close()
        except OSError as error:
            reason = "no answer in time" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
            return broken(
                f"{host}:{port}: {reason}",
                "Start the Collector (dbvitals stack local, or stack up), or name where it is with --endpoint.",
            )
    return well(" and ".join(f"{host}:{port}" for host, port in sorted(doors)) + " is open")


def accept_span(case: Case) -> Finding:
    """Whether the receiver takes the span."""
    return _accept(case, SPANS, case.places.spans, case.places.spans_protocol)


def accept_metric(case: Case) -> Finding:
    """Whether the receiver takes the metric."""
    return _accept(case, METRICS, case.places.metrics, case.places.metrics_protocol)


def _accept(case: Case, kind: str, endpoint: str, protocol: str) -> Finding:
    answer = send(kind, case.probe, endpoint, protocol, case.timeout)
    place = f"{web.shown(endpoint)} by {protocol}"
    if answer.accepted:
        return well(f"accepted by {place}")
    if answer.rejected:
        return broken(
            f"{place} rejects {answer.rejected} of it: {answer.said}", "Mend what the Collector complains about."
        )
    way, name = other(kind, endpoint, protocol)
    if send(kind, case.probe, way, name, case.timeout).accepted:
        return broken(
            f"{place} fails: {answer.said}",
            f"This port speaks {name}: set OTEL_EXPORTER_OTLP_PROTOCOL={name}, or use the Collector's port for "
            f"{'gRPC (4317)' if protocol == GRPC else 'HTTP (4318)'}.",
        )
    return broken(f"{place} fails: {answer.said}", _remedy(answer))


def _remedy(answer: Answer) -> str:
    words = answer.said.upper()
    if "401" in words or "403" in words or "UNAUTHENTICATED" in words or "PERMISSION" in words:
        return "Send what it wants: OTEL_EXPORTER_OTLP_HEADERS=authorization=…"
    if "404" in words or "UNIMPLEMENTED" in words:
        return "Something listens there that takes no OTLP: look at the port, and at the Collector's receivers."
    if "429" in words or "503" in words or "RESOURCE_EXHAUSTED" in words or "UNAVAILABLE" in words:
        return "The Collector refuses for now: look at its memory limit, its queues and its log."
    return "Look at the Collector's log; is the otlp receiver in its pipeline of this signal?"


def expose(case: Case) -> Finding:
    """Whether the Collector shows the metric to Prometheus."""
    place = case.places.collector
    if place == NONE:
        return skipped("the Collector's exporter is not looked at")
    wanted = f'{LABEL}="{case.probe.id}"'
    began = time.monotonic()
    try:
        line = soon(
            lambda: next(
                (
                    line
                    for line in web.get(place, timeout=5, accept=_OPEN_METRICS).splitlines()
                    if line.startswith(SERIES) and wanted in line
                ),
                None,
            ),
            case.timeout,
        )
    except web.Unanswered as error:
        return broken(
            str(error), "Name what Prometheus scrapes with --collector, or look at the Collector's prometheus exporter."
        )
    if line is None:
        return broken(
            f"{web.shown(place)} answers, without {SERIES}",
            "The Collector took the metric and does not show it: is the prometheus exporter in its metrics pipeline? "
            "Does a filter drop it? Its log says what it drops.",
        )
    exemplar = ", with its exemplar" if case.probe.trace_id in line else ", without an exemplar"
    return well(f"{SERIES} is there after {time.monotonic() - began:.2f} s{exemplar}")


def _door(endpoint: str) -> tuple[str, int]:
    parts = urlsplit(endpoint)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
