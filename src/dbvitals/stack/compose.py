"""The pipeline in containers, by Docker's compose plugin."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from dbvitals.stack.ports import HOST
from dbvitals.stack.processes import answers
from dbvitals_instrumentation.config import ConfigError

PROJECT = "dbvitals"
FILE = "compose.yaml"
ENVIRONMENT = ".env"
PATIENCE = 180.0
"""Seconds until every part must be healthy, once its image is there."""

ADDRESSES = {
    f"{HOST}:9464": "otel-collector:9464",
    f"{HOST}:8888": "otel-collector:8888",
    f"{HOST}:9090": "prometheus:9090",
    f"{HOST}:9093": "alertmanager:9093",
    f"{HOST}:3200": "tempo:3200",
}
"""Where the parts find each other, by the address that the configuration files have."""

INSIDE = PurePosixPath("/etc/dbvitals")
"""Where containers find the files."""

DATA = ("collector", "prometheus", "alertmanager", "tempo", "grafana")

_HEALTH = {  # from outside, since some images have no program that could ask from inside
    "otel-collector": ("DBVITALS_COLLECTOR_HEALTH_PORT", 13133, "/"),
    "prometheus": ("DBVITALS_PROMETHEUS_PORT", 9090, "/-/ready"),
    "alertmanager": ("DBVITALS_ALERTMANAGER_PORT", 9093, "/-/ready"),
    "tempo": ("DBVITALS_TEMPO_PORT", 3200, "/ready"),
    "grafana": ("DBVITALS_GRAFANA_PORT", 3000, "/api/health"),
}


class Failed(Exception):
    """Containers did not start or stop; the message is one line."""


def health_urls(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """By a service, what answers while it is well."""
    return {
        service: f"http://{HOST}:{environ.get(variable) or port}{path}"
        for service, (variable, port, path) in _HEALTH.items()
    }


def environment_file(former: str = "", environ: Mapping[str, str] = os.environ) -> str:
    """The text of `.env`: who the containers run as, and a password for Grafana's administrator.

    The password of a ``former`` file stays, since Grafana has it in its database.
    """
    before = dict(line.split("=", 1) for line in former.splitlines() if "=" in line)
    name = "DBVITALS_GRAFANA_PASSWORD"
    password = environ.get(name) or before.get(name) or secrets.token_urlsafe(18)
    return f"DBVITALS_USER={os.getuid()}:{os.getgid()}\n{name}={password}\n"


def make_data_folders(folder: Path) -> None:
    """Before Docker does it, as root."""
    for name in DATA:
        (folder / "data" / name).mkdir(parents=True, exist_ok=True, mode=0o700)


def require() -> None:
    """Check that there is a Docker that can be used.

    Raises:
        ConfigError: there is none; the message says what is lacking, and what there is instead.
    """
    instead = "or run it without containers: dbvitals stack local"
    if shutil.which("docker") is None:
        raise ConfigError(f"docker is not on PATH: install Docker, {instead}")
    if _docker("compose", "version").returncode != 0:
        raise ConfigError(f"docker has no compose: install its plugin (docker-compose-plugin), {instead}")
    engine = _docker("version", "--format", "{{.Server.Version}}")
    if engine.returncode != 0:
        said = " ".join(engine.stderr.split()) or "it said nothing"
        raise ConfigError(f"Docker's engine cannot be reached: {said} Start it, {instead}")


def up(folder: Path, *, detach: bool) -> None:
    """Start all containers; return when all are healthy, or, not detached, when they were stopped.

    Raises:
        Failed: they did not start, or are not healthy.
    """
    _check(_compose(folder, "up", "--detach", "--wait", "--remove-orphans"), "the containers did not start")
    ill = wait_until_healthy(health_urls())
    if ill:
        raise Failed(f"not healthy: {', '.join(ill)}; see: docker compose --project-name {PROJECT} logs")
    if not detach:
        try:
            _compose(folder, "logs", "--follow", "--tail=0")
        finally:
            down(folder)


def wait_until_healthy(
    urls: Mapping[str, str], answers: Callable[[str], bool] = answers, patience: float = PATIENCE
) -> list[str]:
    """The services that do not answer, after having been asked until all do."""
    deadline = time.monotonic() + patience
    left = list(urls)
    while left:
        left = [service for service in left if not answers(urls[service])]
        if time.monotonic() > deadline:
            break
        if left:
            time.sleep(0.5)
    return left


def down(folder: Path) -> None:
    """Stop and remove the containers; what they have stored stays.

    Raises:
        Failed: they did not stop.
    """
    _check(_compose(folder, "down", "--remove-orphans"), "the containers did not stop")


def _check(code: int, problem: str) -> None:
    if code != 0:
        raise Failed(f"{problem} (docker compose ended with {code})")


def _compose(folder: Path, *arguments: str) -> int:
    command: Sequence[str] = ("docker", "compose", "--file", str(folder / FILE), "--project-name", PROJECT)
    return subprocess.run([*command, *arguments], check=False).returncode  # noqa: S603 - of our own arguments


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        ["docker", *arguments],  # noqa: S607 - as the user has it on PATH
        capture_output=True,
        text=True,
        check=False,
    )
