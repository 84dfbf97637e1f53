"""Real Collectors on private ports, for the tests of the pipeline."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dbvitals.stack.binaries import COLLECTOR, find
from dbvitals.stack.processes import Process, free_ports

ROOT = Path(__file__).parent.parent.parent
MANIFEST = ROOT / "stack" / "builder.yaml"
AGENT = ROOT / "otel-collector.yaml"
PATIENCE = 30.0

Found = TypeVar("Found")


def program() -> Path:
    """The Collector that is tested: the one that `make collector` builds."""
    path = find(COLLECTOR, MANIFEST)
    assert path is not None, COLLECTOR.install
    return path


def soon(look: Callable[[], Found | None], what: str, patience: float = PATIENCE) -> Found:
    """What ``look`` finds, asked until there is something; fails after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {patience:.0f} s: {what}"
        time.sleep(0.05)


def get(url: str, headers: Mapping[str, str] | None = None) -> str:
    """The body that an HTTP server answers with."""
    request = urllib.request.Request(url, headers=dict(headers or {}))
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


class Collector:
    """One Collector with its own ports and storage; may be stopped, killed, and started again with the same ones."""

    def __init__(
        self, folder: Path, configurations: Sequence[Path | str] = (AGENT,), **environment: str | int | Path
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.grpc, self.http, self.prometheus, self.telemetry, self.health = free_ports(5)
        named = {
            "DBVITALS_COLLECTOR_GRPC_PORT": self.grpc,
            "DBVITALS_COLLECTOR_HTTP_PORT": self.http,
            "DBVITALS_COLLECTOR_PROMETHEUS_PORT": self.prometheus,
            "DBVITALS_COLLECTOR_TELEMETRY_PORT": self.telemetry,
            "DBVITALS_COLLECTOR_HEALTH_PORT": self.health,
            "DBVITALS_COLLECTOR_STORAGE": folder / "storage",
        }
        self.process = Process(
            "Collector",
            [program(), *(f"--config={configuration}" for configuration in configurations)],
            ready=f"http://127.0.0.1:{self.health}/",
            log=folder / "log",
            environment={name: str(value) for name, value in {**named, **environment}.items()},
        )

    def __enter__(self) -> Collector:
        self.process.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.stop()

    @property
    def endpoint(self) -> str:
        """For OTLP over HTTP."""
        return f"http://127.0.0.1:{self.http}"

    def scrape(self, *, openmetrics: bool = True) -> str:
        """What Prometheus would get."""
        accept = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain"
        return get(f"http://127.0.0.1:{self.prometheus}/metrics", {"Accept": accept})

    def own_metrics(self) -> str:
        """What the Collector says of itself."""
        return get(f"http://127.0.0.1:{self.telemetry}/metrics")


class Sink(Collector):
    """A traces backend: a Collector that writes what it gets into a file, as OTLP in JSON, one request a line."""

    CONFIGURATION = """
extensions:
  health_check: {endpoint: "127.0.0.1:${env:DBVITALS_COLLECTOR_HEALTH_PORT}"}
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:${env:DBVITALS_COLLECTOR_GRPC_PORT}"}
      http: {endpoint: "127.0.0.1:${env:DBVITALS_COLLECTOR_HTTP_PORT}"}
exporters:
  file: {path: "${env:SINK_FILE}", rotation: {max_megabytes: 1000}} # so it is written before it is acknowledged
service:
  extensions: [health_check]
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file]}
"""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sink.yaml").write_text(self.CONFIGURATION)
        self.file = folder / "spans.jsonl"
        super().__init__(folder, [folder / "sink.yaml"], SINK_FILE=self.file)

    def spans(self) -> list[dict[str, Any]]:
        """Every span that has come, as OTLP's JSON has it, with its resource's attributes as `resource`."""
        return list(self._spans())

    def _spans(self) -> Iterator[dict[str, Any]]:
        if not self.file.exists():
            return
        for line in self.file.read_text().splitlines():
            try:
                request = json.loads(line)
            except ValueError:  # being written
                continue
            for resource in request.get("resourceSpans", ()):
                attributes = plain(resource.get("resource", {}).get("attributes", ()))
                for scope in resource.get("scopeSpans", ()):
                    for span in scope.get("spans", ()):
                        yield {**span, "resource": attributes, "attributes": plain(span.get("attributes", ()))}


def plain(attributes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """OTLP's attributes as a dictionary."""
    return {pair["key"]: next(iter(pair["value"].values()), None) for pair in attributes}
