"""Where the parts of the pipeline are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dbvitals.auto import sdk_defaults
from dbvitals_instrumentation.config import ConfigError

NONE = "none"
"""In place of an address: this part is not there, and not missed."""

GRPC = "grpc"
HTTP = "http/protobuf"

_DEFAULTS = {
    "collector": "http://127.0.0.1:9464/metrics",
    "prometheus": "http://127.0.0.1:9090",
    "alertmanager": "http://127.0.0.1:9093",
    "traces": "http://127.0.0.1:3200",
    "grafana": "http://127.0.0.1:3000",
}
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@dataclass(frozen=True)
class Places:
    """Addresses of all parts; :data:`NONE` for those that are not there.

    Attributes:
        spans, metrics: where services send, with the path of the signal where the protocol is HTTP.
        spans_protocol, metrics_protocol: :data:`GRPC` or :data:`HTTP`.
        collector: what Prometheus scrapes.
        traces: a Tempo or Jaeger, or the file that `dbvitals stack local` writes traces to.
        named: the parts whose address was given, so that they are missed where nobody answers.
    """

    spans: str
    spans_protocol: str
    metrics: str
    metrics_protocol: str
    collector: str
    prometheus: str
    alertmanager: str
    traces: str
    grafana: str
    named: frozenset[str] = frozenset()


def places(given: Mapping[str, str | None], environ: Mapping[str, str], traces_file: Path | None = None) -> Places:
    """The addresses that were given, else those of the environment, else the usual ones.

    Args:
        given: by the part's name, `endpoint` for where services send.
        traces_file: where a running `dbvitals stack local` writes traces; looked into where no backend was named.

    Raises:
        ConfigError: an address that is none.
    """
    named = {name: value for name, value in given.items() if value}
    for name, value in named.items():
        if value != NONE and not (name == "traces" and "://" not in value):
            _require_url(value, f"--{name}")
    found = {name: named.get(name, usual) for name, usual in _DEFAULTS.items()}
    if "traces" not in named and traces_file is not None:
        found["traces"] = str(traces_file)
    endpoint = named.get("endpoint")
    spans, spans_protocol = _signal("TRACES", endpoint, environ)
    metrics, metrics_protocol = _signal("METRICS", endpoint, environ)
    return Places(spans, spans_protocol, metrics, metrics_protocol, **found, named=frozenset(named))


def _signal(signal: str, endpoint: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """Where the service would send this signal, and how, as the SDK reads its environment."""
    own = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "").strip()
    shared = endpoint or environ.get(_ENDPOINT, "").strip()
    protocol = (
        environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "").strip()
        or environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip()
        or sdk_defaults({_ENDPOINT: shared or "http://127.0.0.1:4318"}).get("OTEL_EXPORTER_OTLP_PROTOCOL", GRPC)
    )
    if own and not endpoint:
        return _require_url(own, f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"), protocol
    base = _require_url(shared, _ENDPOINT) if shared else f"http://127.0.0.1:{4317 if protocol == GRPC else 4318}"
    return (base if protocol == GRPC else f"{base.rstrip('/')}/v1/{signal.lower()}"), protocol


def _require_url(text: str, what: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{what}: an address such as http://127.0.0.1:4318 is expected")
    return text.strip()
