"""How each program of the local stack is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dbvitals.stack.ports import HOST, Ports
from dbvitals.stack.render import ALERTMANAGER, PROMETHEUS

TRACES_TO_FILE = "stack/traces-to-file.yaml"


def alertmanager(program: Path, config: Path, data: Path, port: int) -> list[str]:
    """Alertmanager, alone: it looks for no others to make a cluster with."""
    return [
        str(program),
        f"--config.file={config / ALERTMANAGER}",
        f"--storage.path={data}",
        f"--web.listen-address={HOST}:{port}",
        f"--web.external-url=http://{HOST}:{port}",
        "--data.retention=240h",  # longer than the longest pause between two messages of the same
        "--cluster.listen-address=",
    ]


def prometheus(program: Path, config: Path, data: Path, port: int, flags: Sequence[str]) -> list[str]:
    """Prometheus, with exemplars, and not more data than a laptop likes to keep."""
    return [
        str(program),
        f"--config.file={config / PROMETHEUS}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=3d",
        "--storage.tsdb.retention.size=1GB",
        f"--web.listen-address={HOST}:{port}",
        f"--web.external-url=http://{HOST}:{port}",
        "--enable-feature=exemplar-storage",
        *flags,
    ]


def collector(program: Path, config: Path, names: Sequence[str]) -> list[str]:
    """A Collector with these files, each laid over the ones before it."""
    return [str(program), *(f"--config={config / name}" for name in names)]


def collector_environment(ports: Ports, data: Path, traces_file: Path | None) -> Mapping[str, str]:
    """What a Collector's files ask their environment for."""
    return {
        "DBVITALS_COLLECTOR_HOST": HOST,
        "DBVITALS_COLLECTOR_GRPC_PORT": str(ports.grpc),
        "DBVITALS_COLLECTOR_HTTP_PORT": str(ports.http),
        "DBVITALS_COLLECTOR_PROMETHEUS_PORT": str(ports.exporter),
        "DBVITALS_COLLECTOR_TELEMETRY_PORT": str(ports.telemetry),
        "DBVITALS_COLLECTOR_HEALTH_PORT": str(ports.health),
        "DBVITALS_COLLECTOR_STORAGE": str(data),
        **({} if traces_file is None else {"DBVITALS_TRACES_FILE": str(traces_file)}),
    }
