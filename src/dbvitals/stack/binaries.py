"""The pipeline's programs on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dbvitals_instrumentation.config import ConfigError


@dataclass(frozen=True)
class Program:
    """A program of the pipeline: what it is called, and how it is had.

    Attributes:
        title: its name for people.
        names: the names of its executable, the best first.
        variable: the environment variable that overrides where it is.
        install: what to do where it is missing.
    """

    title: str
    names: tuple[str, ...]
    variable: str
    install: str


COLLECTOR = Program(
    "OpenTelemetry Collector",
    ("otelcol-dbvitals", "otelcol-contrib"),
    "DBVITALS_OTELCOL",
    "run `make collector` in a clone of dbvitals, or install otelcol-contrib",
)
PROMETHEUS = Program(
    "Prometheus", ("prometheus",), "DBVITALS_PROMETHEUS", "apt-get install prometheus, or brew install prometheus"
)
ALERTMANAGER = Program(
    "Alertmanager",
    ("alertmanager", "prometheus-alertmanager"),
    "DBVITALS_ALERTMANAGER",
    "apt-get install prometheus-alertmanager, or brew install alertmanager",
)


def find(program: Program, manifest: Path | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where a program is: its variable's value, a Collector built from ``manifest``, else the first on ``PATH``."""
    given = environ.get(program.variable)
    if given:
        return Path(given)
    if program is COLLECTOR and manifest is not None:
        built = built_collector(manifest, environ)
        if built.exists():
            return built
    for name in program.names:
        path = shutil.which(name, path=environ.get("PATH"))
        if path is not None:
            return Path(path)
    return None


def all_of(
    programs: Iterable[Program], manifest: Path | None = None, environ: Mapping[str, str] = os.environ
) -> dict[Program, Path]:
    """Where these programs are.

    Raises:
        ConfigError: some are missing; the message says how they are had.
    """
    found = {program: find(program, manifest, environ) for program in programs}
    missing = [
        f"{program.title} is not at {path}, where {program.variable} has it"
        if path
        else f"{program.title} is missing: {program.install}"
        for program, path in found.items()
        if path is None or not os.access(path, os.X_OK)
    ]
    if missing:
        raise ConfigError("; ".join(missing))
    return {program: path for program, path in found.items() if path is not None}


def built_collector(manifest: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the Collector of this manifest is built to: a changed manifest is another Collector."""
    cache = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or Path.home()) / ".cache")
    return cache / "dbvitals" / "collector" / sha256(manifest.read_bytes()).hexdigest()[:12] / COLLECTOR.names[0]
