"""Whether the service's environment lets anything out, and to the right door."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from dbvitals.doctor.model import Case, Finding, broken, warning, well
from dbvitals.doctor.places import GRPC, HTTP, Places
from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.config import Config, ConfigError

_KNOWN = (GRPC, HTTP)


def look(case: Case) -> Finding:
    """Read the service's variables as the SDK and dbvitals do; the worst of what is found is said, with the rest."""
    stops = _stops(case.environ, case.places)
    if stops:
        return broken("; ".join(seen for seen, _ in stops), " ".join(advice for _, advice in stops))
    surprises = _surprises(case.environ, case.places)
    if surprises:
        return warning("; ".join(seen for seen, _ in surprises), " ".join(advice for _, advice in surprises))
    return well(_service(case.environ) + f", {case.places.spans_protocol}, metrics every {_interval(case.environ)}")


def _stops(environ: Mapping[str, str], places: Places) -> list[tuple[str, str]]:
    """What keeps a service from sending."""
    found: list[tuple[str, str]] = []
    if _value(environ, "OTEL_SDK_DISABLED") == "true":
        found.append(("OTEL_SDK_DISABLED is true", "Unset it: nothing is sent."))
    try:
        if not Config.from_environment(environ).enabled:
            found.append(("DBVITALS_ENABLED is false", "Unset it: dbvitals watches nothing."))
    except ConfigError as error:
        found.append((str(error), "Mend it: dbvitals is off."))
    for signal in ("TRACES", "METRICS"):
        chosen = _value(environ, f"OTEL_{signal}_EXPORTER")
        if chosen == "none":
            found.append((f"OTEL_{signal}_EXPORTER is none", f"Set it to otlp: no {signal.lower()} are sent."))
    for protocol in sorted({places.spans_protocol, places.metrics_protocol} - set(_KNOWN)):
        found.append((f"the protocol {protocol} is unknown to Python's SDK", f"Use {HTTP} or {GRPC}."))
    for endpoint, protocol in {(places.spans, places.spans_protocol), (places.metrics, places.metrics_protocol)}:
        wrong = _mismatch(endpoint, protocol)
        if wrong:
            found.append(wrong)
            break
    sampler, argument = _value(environ, "OTEL_TRACES_SAMPLER"), environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if sampler.endswith("always_off"):
        found.append((f"OTEL_TRACES_SAMPLER is {sampler}", "Unset it: no span is recorded."))
    elif sampler.endswith("traceidratio") and argument in ("0", "0.0"):
        found.append(("OTEL_TRACES_SAMPLER_ARG is 0", "Raise it: no span is recorded."))
    return found


def _mismatch(endpoint: str, protocol: str) -> tuple[str, str] | None:
    port = urlsplit(endpoint).port
    if port == 4317 and protocol == HTTP:
        return "HTTP is sent to port 4317, gRPC's", f"Use port 4318, or OTEL_EXPORTER_OTLP_PROTOCOL={GRPC}."
    if port == 4318 and protocol == GRPC:
        return "gRPC is sent to port 4318, HTTP's", f"Use port 4317, or OTEL_EXPORTER_OTLP_PROTOCOL={HTTP}."
    return None


def _surprises(environ: Mapping[str, str], places: Places) -> list[tuple[str, str]]:
    """What works otherwise than one may think."""
    found: list[tuple[str, str]] = []
    if not any(name.startswith("OTEL_EXPORTER_OTLP") and name.endswith("ENDPOINT") for name in environ):
        where = "endpoint" in places.named
        found.append(
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT is not set",
                f"Set it for the service{', as the probe has it' if where else ''}: `dbvitals run` sends nothing else.",
            )
        )
    elif not _value(environ, "OTEL_EXPORTER_OTLP_PROTOCOL") and places.spans_protocol == HTTP:
        found.append(
            (
                "OTEL_EXPORTER_OTLP_PROTOCOL is not set",
                f"Set it to {HTTP}: `dbvitals run` speaks HTTP to port 4318, other launchers may speak gRPC.",
            )
        )
    if _service(environ) == "":
        found.append(("OTEL_SERVICE_NAME is not set", "Name the service, to tell it from others."))
    if _value(environ, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE") == "delta":
        found.append(
            (
                "metrics are sent as differences (delta)",
                "Unset OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: Prometheus needs totals, and gets them only "
                "from a Collector that adds up, as this pipeline's does.",
            )
        )
    if _value(environ, "OTEL_METRICS_EXEMPLAR_FILTER") == "always_off":
        found.append(
            ("OTEL_METRICS_EXEMPLAR_FILTER is always_off", "Unset it, to get from a slow bucket to its trace.")
        )
    return found


def _service(environ: Mapping[str, str]) -> str:
    name = environ.get("OTEL_SERVICE_NAME", "").strip()
    pairs = (pair.partition("=") for pair in environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    return name or next((value.strip() for key, _, value in pairs if key.strip() == semconv.SERVICE_NAME), "")


def _interval(environ: Mapping[str, str]) -> str:
    milliseconds = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip() or "60000"
    return f"{float(milliseconds) / 1000:g} s" if milliseconds.replace(".", "", 1).isdigit() else milliseconds


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip().lower()
