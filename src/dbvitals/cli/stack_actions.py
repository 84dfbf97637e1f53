"""What `dbvitals stack` does."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path

from dbvitals.stack import compose
from dbvitals.stack.export import export as write_all
from dbvitals.stack.files import state_folder
from dbvitals.stack.local import TRACES_ENDPOINT, LocalStack
from dbvitals.stack.ports import Ports
from dbvitals.stack.processes import NotStarted, answers
from dbvitals.stack.receivers import GRAFANA_URL
from dbvitals.stack.render import DASHBOARDS
from dbvitals.stack.supervise import keep
from dbvitals_instrumentation.config import ConfigError


def local(options: argparse.Namespace) -> int:
    """Run the local stack until Ctrl-C or SIGTERM: 0, or 1 where a program would not stay up."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    began = time.monotonic()
    stack = LocalStack(options.folder or state_folder(), Ports.free() if options.free_ports else Ports())
    try:
        with stack:
            stack.wait_until_scraped()
            _introduce(stack, time.monotonic() - began)
            keep(stack.processes, stopping, _say)
    except NotStarted as error:
        _say(str(error))
        return 1
    _say("stopped; what it has stored is in " + str(stack.folder))
    return 0


def _introduce(stack: LocalStack, seconds: float) -> None:
    print(f"The pipeline is ready after {seconds:.1f} s.\n")
    _table(
        ("Collector", f"{stack.otlp_http}   OTLP over HTTP; over gRPC: {stack.otlp_grpc}"),
        ("Prometheus", stack.prometheus_url),
        ("Alertmanager", stack.alertmanager_url),
        ("traces", str(stack.traces_file or os.environ[TRACES_ENDPOINT])),
        ("logs", str(stack.folder / "logs")),
    )
    print("\nNot here:")
    if stack.traces_file is not None:
        _table(("Tempo", f"traces go to the file; {TRACES_ENDPOINT}=host:port names a backend"))
    _table(("Grafana", f"serve {stack.folder / 'config' / DASHBOARDS} with one of yours, or use: dbvitals stack up"))
    print("\nFor your service:")
    for name, value in stack.service_environment().items():
        print(f"  export {name}={value}")
    print("\nCtrl-C stops it.", flush=True)


def _table(*rows: tuple[str, str]) -> None:
    for name, value in rows:
        print(f"  {name:<14} {value}")


def up(options: argparse.Namespace) -> int:
    """Start the containers."""
    compose.require()
    folder = _containers()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    grafana = compose.health_urls()["grafana"].removesuffix("/api/health")
    write_all(folder, "compose", force=True, environ={GRAFANA_URL: grafana, **os.environ})  # where alerts lead to
    try:
        compose.up(folder, detach=options.detach)
    except compose.Failed as error:
        _say(str(error))
        return 1
    if options.detach:
        print(f"Grafana is at {grafana}")
    return 0


def down(_options: argparse.Namespace) -> int:
    """Stop the containers."""
    compose.require()
    folder = _containers()
    if not (folder / compose.FILE).exists():
        raise ConfigError("there is nothing to stop: `dbvitals stack up` was not used here")
    try:
        compose.down(folder)
    except compose.Failed as error:
        _say(str(error))
        return 1
    return 0


def status(_options: argparse.Namespace) -> int:
    """Say which parts answer: 0 where all do."""
    urls = compose.health_urls()
    well = {service: answers(url) for service, url in urls.items()}
    _table(*((service, f"{'answers' if well[service] else 'no answer':<10}{url}") for service, url in urls.items()))
    return 0 if all(well.values()) else 1


def export(options: argparse.Namespace) -> int:
    """Write all configuration."""
    names = write_all(options.folder, options.target, force=options.force)
    print(f"{len(names)} files are in {options.folder}; its README.md says what they are")
    return 0


def _containers() -> Path:
    return state_folder().parent / "containers"


def _say(line: str) -> None:
    print(f"dbvitals stack: {line}", file=sys.stderr, flush=True)
