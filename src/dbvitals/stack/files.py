"""Where the pipeline's files are: in the installed package, or in the clone of the repository."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

SHIPPED = ("otel-collector.yaml", "compose.yaml", "stack", "alerts", "dashboards", "docs/runbooks")
"""Files and folders of the repository that make the pipeline; they keep their places beside each other everywhere."""

NOT_SHIPPED = ("alerts/tests",)


def assets() -> Path:
    """The folder that has all of :data:`SHIPPED`."""
    package = Path(__file__).parents[1]
    packed = package / "_stack"
    return packed if packed.is_dir() else package.parents[1]


def shipped(root: Path) -> Iterator[str]:
    """Every file below ``root`` that makes the pipeline, by its name from there."""
    for name in SHIPPED:
        place = root / name
        found = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in found:
            relative = path.relative_to(root).as_posix()
            if path.is_file() and not relative.startswith(NOT_SHIPPED):
                yield relative


def state_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where what the stack keeps is, unless told otherwise."""
    home = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return Path(home) / "dbvitals" / "stack"
