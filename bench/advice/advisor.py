"""Runs somebody's index advisor as a user would: a command line in, CREATE INDEX statements out."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = Path(sys.executable).parent / "dbvitals"
COMMAND = f"{shlex.quote(str(PROGRAM))} advise --database {{url}} --workload {{workload}} {{budget}} --format sql"


class Advice(NamedTuple):
    """What an advisor said and how long it thought. `problem` is set if it failed."""

    ddl: list[str]
    seconds: float
    problem: str | None


def ask(command: str, url: str, workload: Path, budget: str | None = None, patience: float = 900) -> Advice:
    started = time.perf_counter()
    try:
        done = _run(command, url, workload, budget, patience)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Advice([], time.perf_counter() - started, str(error))
    seconds = time.perf_counter() - started
    lines = (line.strip() for line in done.stdout.splitlines())
    ddl = [line.rstrip(";") for line in lines if line[:6].upper() == "CREATE"]
    problem = f"exit code {done.returncode}: {done.stderr.strip()[-600:]}" if done.returncode else None
    return Advice(ddl, seconds, problem)


def calls(command: str, url: str, workload: Path, budget: str | None = None) -> int | None:
    """How often it asked the planner what if; known only of those that speak JSON and say so."""
    if "--format sql" not in command:
        return None
    done = _run(command.replace("--format sql", "--format json"), url, workload, budget, 900)
    try:
        said: Any = json.loads(done.stdout)
    except ValueError:
        return None
    return said.get("what_if_calls") if isinstance(said, dict) else None


def _run(
    command: str, url: str, workload: Path, budget: str | None, patience: float
) -> subprocess.CompletedProcess[str]:
    budget = f"--budget {shlex.quote(budget)}" if budget else ""
    names = {"url": url, "workload": str(workload), "python": sys.executable}
    filled = command.format(budget=budget, **{name: shlex.quote(value) for name, value in names.items()})
    return subprocess.run(shlex.split(filled), capture_output=True, text=True, timeout=patience, check=False)
