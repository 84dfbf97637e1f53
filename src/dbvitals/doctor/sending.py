"""Sending the probe, and hearing what is said to it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from dbvitals.doctor.places import GRPC, HTTP
from dbvitals.doctor.probe import Probe
from dbvitals.doctor.web import shown

SPANS = "trace"
METRICS = "metric"

_PACKAGE = "opentelemetry.exporter.otlp.proto"
_RESPONSES = {
    SPANS: ("opentelemetry.proto.collector.trace.v1.trace_service_pb2", "ExportTraceServiceResponse"),
    METRICS: ("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2", "ExportMetricsServiceResponse"),
}
_EXPORTERS = {SPANS: "OTLPSpanExporter", METRICS: "OTLPMetricExporter"}
_PATIENCE = 4.0  # seconds: exporters try again, with ever longer pauses


@dataclass(frozen=True)
class Answer:
    """What became of an export.

    Attributes:
        rejected: how many items were refused, though the request was accepted.
        said: the receiver's words, or the exporter's.
    """

    accepted: bool
    rejected: int = 0
    said: str = ""


def send(kind: str, probe: Probe, endpoint: str, protocol: str, timeout: float) -> Answer:
    """Export the probe's span or metric as a service would, by the SDK's exporter for this protocol."""
    hear = _by_grpc if protocol == GRPC else _by_http
    with _quiet() as complaints:
        exported, responses, words = hear(kind, probe, endpoint, min(timeout, _PATIENCE))
    rejected, message = _partial(responses)
    said = message or words or (complaints[0] if complaints else "the exporter says nothing")
    return Answer(exported and not rejected, rejected, " ".join(_scrubbed(said, endpoint).split())[:300])


def other(kind: str, endpoint: str, protocol: str) -> tuple[str, str]:
    """The same place by the other protocol."""
    parts = urlsplit(endpoint)
    base = f"{parts.scheme}://{parts.netloc}"
    if protocol == GRPC:
        return f"{base}/v1/{'traces' if kind == SPANS else 'metrics'}", HTTP
    return base, GRPC


def _by_http(kind: str, probe: Probe, endpoint: str, timeout: float) -> tuple[bool, list[Any], str]:
    responses: list[Any] = []
    words: list[str] = []

    def hear(response: Any, *_arguments: Any, **_options: Any) -> None:
        module, name = _RESPONSES[kind]
        if not response.ok:
            words.append(f"HTTP {response.status_code} {response.reason}: {response.text.strip()}")
            return
        parsed = getattr(import_module(module), name)()
        try:
            parsed.ParseFromString(response.content)
        except Exception:  # what accepts is no OTLP receiver
            words.append(f"HTTP {response.status_code}, but no OTLP response")
        else:
            responses.append(parsed)

    session: Any = import_module("requests").Session()
    session.hooks["response"].append(hear)
    exporter = _exporter("http", kind)(endpoint=endpoint, timeout=timeout, session=session)
    exported = _export(exporter, kind, probe)
    return exported and bool(responses), responses, words[-1] if words else ""


def _by_grpc(kind: str, probe: Probe, endpoint: str, timeout: float) -> tuple[bool, list[Any], str]:
    exporter = _exporter("grpc", kind)(
        endpoint=endpoint, timeout=int(timeout), insecure=endpoint.startswith("http://") or None
    )
    ear = _Ear(getattr(exporter, "_client", None))
    if ear.client is not None:
        exporter._client = ear
    exported = _export(exporter, kind, probe)
    return exported, ear.responses, ear.words


class _Ear:
    """Stands before a gRPC client, and remembers what was answered."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.responses: list[Any] = []
        self.words = ""

    def Export(self, **request: Any) -> Any:  # noqa: N802 - gRPC's name for it
        try:
            response = self.client.Export(**request)
        except Exception as error:
            code, details = getattr(error, "code", None), getattr(error, "details", None)
            self.words = f"{code().name}: {details()}" if code and details else str(error)
            raise
        self.responses.append(response)
        return response


def _exporter(transport: str, kind: str) -> Any:
    module = "trace_exporter" if kind == SPANS else "metric_exporter"
    return getattr(import_module(f"{_PACKAGE}.{transport}.{module}"), _EXPORTERS[kind])


def _export(exporter: Any, kind: str, probe: Probe) -> bool:
    try:
        return bool(exporter.export(probe.spans if kind == SPANS else probe.metrics).name == "SUCCESS")
    finally:
        exporter.shutdown()


def _partial(responses: list[Any]) -> tuple[int, str]:
    """How many items were rejected, and why."""
    if not responses:
        return 0, ""
    partial = responses[-1].partial_success
    rejected = getattr(partial, "rejected_spans", 0) or getattr(partial, "rejected_data_points", 0)
    return int(rejected), str(partial.error_message)


@contextmanager
def _quiet() -> Iterator[list[str]]:
    """What exporters log is ours to tell."""
    complaints: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            complaints.append(record.getMessage())

    logger, listener = logging.getLogger("opentelemetry"), Listener(logging.WARNING)
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(listener)
    try:
        yield complaints
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates


def _scrubbed(text: str, endpoint: str) -> str:
    """Without the password that the endpoint may have."""
    parts = urlsplit(endpoint)
    for secret in (parts.netloc.rpartition("@")[0], parts.password, parts.query):
        if secret:
            text = text.replace(secret, "…")
    return text.replace(endpoint, shown(endpoint))
