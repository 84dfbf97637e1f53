"""What auto-instrumentation tells an SDK that nobody else configures."""

from __future__ import annotations

import pytest

from dbvitals.auto import sdk_defaults


@pytest.mark.parametrize(
    "endpoint, protocol",
    [
        ("http://localhost:4318", "http/protobuf"),
        ("http://collector.example:4318/", "http/protobuf"),
        ("http://localhost:4317", None),
        ("", None),
    ],
)
def test_the_port_of_otlp_over_http_is_spoken_to_in_http(endpoint: str, protocol: str | None) -> None:
    defaults = sdk_defaults({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert defaults.get("OTEL_EXPORTER_OTLP_PROTOCOL") == protocol
    assert defaults["OTEL_TRACES_EXPORTER"] == defaults["OTEL_METRICS_EXPORTER"] == "otlp"
