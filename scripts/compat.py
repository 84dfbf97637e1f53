#!/usr/bin/env python3
"""The instrumentation's tests against the versions that pyproject.toml promises: `make compat`.

One environment with every dependency at its lower bound, and one for each line of SQLAlchemy with everything else new.
Each is kept as `.venv-<name>` and made anew when pyproject.toml or this file changes. Left out are tests that no
version of anything changes: SQL text, and the memory that a hundred thousand statements leave. The rest takes about
four minutes.

    python scripts/services.py run -- python scripts/compat.py [NAME…] [-- PYTEST ARGUMENTS…]

Names: lowest, sqlalchemy-1.4, sqlalchemy-2.0, sqlalchemy-2.1; none for all. A test is skipped where a version lacks
what it is about, and says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "tests/instrumentation",
    "--ignore=tests/instrumentation/test_statement.py",
    "-k=not hundred_thousand",  # a later -k replaces it
)
TOOLS = (  # what the tests import, besides what dbvitals itself needs
    "pytest",
    "pytest-asyncio",
    "hypothesis",
    "psycopg[binary]",
    "psycopg2-binary",
    "asyncpg",
    "pymysql",
    "aiomysql",
    "aiosqlite",
    "greenlet",
    "gevent",
    "fakeredis[lua]",
    "opentelemetry-instrumentation-asyncpg",
    "opentelemetry-instrumentation-psycopg",
    "opentelemetry-instrumentation-redis",
    "opentelemetry-instrumentation-sqlite3",
    "cachetools",
    "dogpile.cache",
    "ddtrace",
    "sentry-sdk",
)


class Environment(NamedTuple):
    """One combination of versions."""

    name: str
    pins: tuple[str, ...] = ()
    lowest: bool = False
    python: tuple[int, int] = (3, 10)
    """The oldest Python that these versions run on."""


ENVIRONMENTS = (
    Environment("lowest", lowest=True),
    Environment("sqlalchemy-1.4", ("sqlalchemy==1.4.*",)),
    Environment("sqlalchemy-2.0", ("sqlalchemy==2.0.*",)),
    Environment("sqlalchemy-2.1", ("sqlalchemy==2.1.*",), python=(3, 11)),
)


def uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        sys.exit("compat: uv missing: make test installs it, or pip install uv")
    subprocess.run([program, "--quiet", *arguments], cwd=ROOT, check=True)


def build(environment: Environment) -> Path:
    """The environment's Python, made or found."""
    folder = ROOT / f".venv-{environment.name}"
    python = folder / "bin" / "python"
    stamp = folder / ".compat"
    recipe = (ROOT / "pyproject.toml").read_bytes() + Path(__file__).read_bytes() + sys.version.encode()
    fingerprint = hashlib.sha256(recipe).hexdigest()
    if stamp.exists() and stamp.read_text() == fingerprint:
        return python
    uv("venv", "--clear", "--python", sys.executable, str(folder))
    bounds: tuple[str, ...] = ()
    if environment.lowest:
        file = str(folder / "lowest.txt")
        uv("pip", "compile", "--resolution", "lowest-direct", "--python", str(python), "-o", file, "pyproject.toml")
        bounds = ("--constraint", file)
    uv("pip", "install", "--python", str(python), *bounds, "--editable", ".", *environment.pins, *TOOLS)
    stamp.write_text(fingerprint)
    return python


def test(environment: Environment, arguments: Sequence[str]) -> str | None:
    """Why the tests do not pass there, or None."""
    try:
        python = build(environment)
    except subprocess.CalledProcessError:
        return "the environment cannot be made"
    # The warnings of versions that are years apart are theirs, not ours: they do not fail a test here.
    command = [str(python), "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", *TESTS, *arguments]
    code = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=False).returncode
    return f"pytest ended with {code}" if code else None


def main(words: Sequence[str]) -> int:
    cut = words.index("--") if "--" in words else len(words)
    names, arguments = words[:cut], words[cut + 1 :]
    if {"-h", "--help"} & set(names):
        print(__doc__)
        return 0
    if unknown := set(names) - {environment.name for environment in ENVIRONMENTS}:
        sys.exit(
            f"compat: no environment {', '.join(sorted(unknown))}; there are {', '.join(e.name for e in ENVIRONMENTS)}"
        )
    lines, failed = [], False
    for environment in ENVIRONMENTS:
        if names and environment.name not in names:
            continue
        if sys.version_info < environment.python:
            lines.append(f"{environment.name:16} not for Python {sys.version_info[0]}.{sys.version_info[1]}")
            continue
        print(f"== {environment.name}", flush=True)
        start = time.monotonic()
        reason = test(environment, arguments)
        failed = failed or reason is not None
        lines.append(f"{environment.name:16} {reason or 'passed'} ({time.monotonic() - start:.0f} s)")
    print("\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
