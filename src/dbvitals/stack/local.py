"""The pipeline on this machine, without containers: the programs that are installed, on loopback.

Collector, Prometheus and Alertmanager run; traces go to a file unless a backend for them is named.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from dbvitals.stack import commands, render
from dbvitals.stack.binaries import ALERTMANAGER, COLLECTOR, PROMETHEUS, Program, all_of
from dbvitals.stack.export import write
from dbvitals.stack.files import assets
from dbvitals.stack.folder import Lock
from dbvitals.stack.ports import HOST, Ports
from dbvitals.stack.processes import START, Process
from dbvitals.stack.watchdog import Watchdog
from dbvitals_instrumentation.config import ConfigError

TRACES_ENDPOINT = "DBVITALS_TRACES_ENDPOINT"
_PARTS = ("collector", "gateway", "prometheus", "alertmanager", "traces", "logs")


def traces_file(folder: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where the stack of a folder writes traces; ``None`` where a backend gets them."""
    return None if environ.get(TRACES_ENDPOINT) else folder / "traces" / "traces.jsonl"


class LocalStack:
    """The pipeline in a folder that it keeps what it knows in; runs while the `with` block lasts.

    Attributes:
        ports: who listens where.
        collector, prometheus, alertmanager: the programs, which may be killed and started again.
        gateway: the second Collector, where there is one.
        traces_file: what traces go to, as OTLP in JSON, one request a line; ``None`` where a backend gets them.
    """

    def __init__(
        self,
        folder: Path,
        ports: Ports | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        gateway: bool = False,
        prometheus_flags: Sequence[str] = (),
        edits: render.Edits | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.ports = ports or Ports()
        self._gateway_ports = Ports.free() if gateway else None
        self._environ = environ
        self._flags = tuple(prometheus_flags)
        self._edits = edits
        self._watchdog: Watchdog | None = None
        self._lock: Lock | None = None
        self.traces_file = traces_file(self.folder, environ)
        self.gateway: Process | None = None
        self.collector: Process
        self.prometheus: Process
        self.alertmanager: Process

    @property
    def otlp_http(self) -> str:
        """Where services send, over HTTP."""
        return f"http://{HOST}:{self.ports.http}"

    @property
    def otlp_grpc(self) -> str:
        """Where services send, over gRPC."""
        return f"http://{HOST}:{self.ports.grpc}"

    @property
    def prometheus_url(self) -> str:
        """Of its pages and its API."""
        return f"http://{HOST}:{self.ports.prometheus}"

    @property
    def alertmanager_url(self) -> str:
        """Of its pages and its API."""
        return f"http://{HOST}:{self.ports.alertmanager}"

    @property
    def collector_metrics_url(self) -> str:
        """Where Prometheus finds the services' metrics."""
        return f"http://{HOST}:{self.ports.exporter}/metrics"

    @property
    def processes(self) -> tuple[Process, ...]:
        """All of them."""
        gateways = () if self.gateway is None else (self.gateway,)
        return (self.alertmanager, self.prometheus, *gateways, self.collector)

    def service_environment(self) -> dict[str, str]:
        """What a service needs to send to this pipeline, and to be seen in less than a second."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp_http,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRIC_EXPORT_INTERVAL": "250",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
        }

    def __enter__(self) -> LocalStack:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start all, and return when all answer.

        Raises:
            ConfigError: a program is missing, a port is taken, the folder is in use, or the environment cannot be used.
            NotStarted: a program did not start; none runs.
        """
        manifest = assets() / "stack" / "builder.yaml"
        programs = all_of((COLLECTOR, PROMETHEUS, ALERTMANAGER), manifest, self._environ)
        self._lock = Lock(self.folder, _PARTS)
        try:
            self._refuse_busy_ports()
            files = render.render(self.ports.addresses(), self._environ, self.folder / "secrets", edits=self._edits)
            write(self.folder / "config", files)
            if self.traces_file is not None:
                self.traces_file.touch(mode=0o600)  # the Collector makes it with the first trace, and some look before
            self._watchdog = Watchdog()
            self._prepare(programs)
            with ThreadPoolExecutor(len(self.processes)) as pool:
                list(pool.map(Process.start, self.processes))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all that runs; what they have stored stays."""
        if self._watchdog is not None:
            with ThreadPoolExecutor(len(self.processes)) as pool:
                list(pool.map(Process.stop, self.processes))
            self._watchdog.dismiss()
            self._watchdog = None
        if self._lock is not None:
            self._lock.give_back()
            self._lock = None

    def wait_until_scraped(self) -> None:
        """Return when Prometheus has looked at the Collector, which it first does five seconds after its own start."""
        query = quote(f'up{{instance="{HOST}:{self.ports.exporter}"}} == 1')
        deadline = time.monotonic() + START
        while self.prometheus.running and time.monotonic() < deadline:
            with urllib.request.urlopen(f"{self.prometheus_url}/api/v1/query?query={query}", timeout=5) as answer:  # noqa: S310
                if json.load(answer)["data"]["result"]:
                    return
            time.sleep(0.05)

    def _refuse_busy_ports(self) -> None:
        busy = self.ports.busy()
        if busy:
            named = ", ".join(f"{port} ({name})" for name, port in busy.items())
            raise ConfigError(f"in use by another program: port {named}; stop it, or use --free-ports")

    def _prepare(self, programs: Mapping[Program, Path]) -> None:
        """All processes, not started."""
        ports, config = self.ports, self.folder / "config"
        self.alertmanager = self._process(
            "Alertmanager",
            commands.alertmanager(programs[ALERTMANAGER], config, self.folder / "alertmanager", ports.alertmanager),
            ready=f"{self.alertmanager_url}/-/ready",
        )
        self.prometheus = self._process(
            "Prometheus",
            commands.prometheus(
                programs[PROMETHEUS], config, self.folder / "prometheus", ports.prometheus, self._flags
            ),
            ready=f"{self.prometheus_url}/-/ready",
        )
        program, to_file = programs[COLLECTOR], [] if self.traces_file is None else [commands.TRACES_TO_FILE]
        if self._gateway_ports is None:
            self.collector = self._collector("Collector", program, ports, [render.AGENT, *to_file])
            return
        self.gateway = self._collector("Gateway", program, self._gateway_ports, [render.GATEWAY, *to_file])
        self.collector = self._collector(
            "Collector",
            program,
            ports,
            [render.AGENT, render.TO_GATEWAYS],
            DBVITALS_GATEWAYS=f"[{HOST}:{self._gateway_ports.grpc}]",
        )

    def _collector(self, title: str, program: Path, ports: Ports, names: Sequence[str], **environment: str) -> Process:
        ours = {name: value for name, value in self._environ.items() if name.startswith("DBVITALS_")}
        settings = commands.collector_environment(ports, self.folder / title.lower(), self.traces_file)
        return self._process(
            title,
            commands.collector(program, self.folder / "config", names),
            ready=f"http://{HOST}:{ports.health}/",
            environment={**ours, **settings, **environment},
        )

    def _process(
        self, title: str, command: Sequence[str], *, ready: str, environment: Mapping[str, str] | None = None
    ) -> Process:
        log = self.folder / "logs" / f"{title.lower()}.log"
        if log.exists():
            log.replace(log.with_suffix(".log.1"))  # of the run before
        return Process(
            title,
            command,
            ready=ready,
            log=log,
            environment=environment,
            folder=self.folder,
            watchdog=self._watchdog,
        )
