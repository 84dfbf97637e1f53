"""scripts/collector.py, with a Go that only pretends to build: the real build is what the pipeline's tests run on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from collectors import AGENT, MANIFEST, ROOT

from dbvitals.stack.binaries import COLLECTOR, built_collector, find

FAKE_GO = """#!{python}
import os, pathlib, re, sys, time
if sys.argv[1:] == ["env", "GOVERSION"]:
    print("{version}")
    sys.exit()
with open("{calls}", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + " CGO=" + os.environ["CGO_ENABLED"] + " " + os.environ["GOFLAGS"] + "\\n")
time.sleep({seconds})
if {code}:
    sys.exit("no such module")
manifest = pathlib.Path(sys.argv[sys.argv.index("--config") + 1]).read_text()
folder = pathlib.Path(re.search("output_path: (.*)", manifest)[1])
folder.mkdir()
(folder / "otelcol-dbvitals").write_text("built")
"""


class Machine:
    """A cache that is empty, and a PATH with no Go but the given one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.path = folder / "path"
        self.path.mkdir()
        self.environment = {
            "HOME": str(folder),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PATH": str(self.path),
            "PIP_NO_INDEX": "1",
            "GOFLAGS": "-modcacherw",
        }
        self.collector = built_collector(MANIFEST, self.environment)

    def give_go(self, version: str = "go1.26.8", code: int = 0, seconds: float = 0) -> None:
        go = self.path / "go"
        go.write_text(
            FAKE_GO.format(python=sys.executable, version=version, calls=self.calls, code=code, seconds=seconds)
        )
        go.chmod(0o755)

    def start(self, action: str = "build") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, ROOT / "scripts" / "collector.py", action],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, action: str = "build") -> tuple[int | None, str, str]:
        process = self.start(action)
        out, error = process.communicate(timeout=60)
        return process.returncode, out.strip(), error

    def left(self) -> set[str]:
        """What is in the Collector's folder."""
        return {path.name for path in self.collector.parent.iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_is_built_once_and_found_where_the_pipeline_looks(machine: Machine) -> None:
    machine.give_go()
    for _ in range(2):
        assert machine.run()[:2] == (0, str(machine.collector))
    assert machine.run("path")[:2] == (0, str(machine.collector))
    assert find(COLLECTOR, MANIFEST, machine.environment) == machine.collector
    (call,) = machine.calls.read_text().splitlines()
    assert re.search(r"^run go\.opentelemetry\.io/collector/cmd/builder@v0\.161\.0 --config ", call)
    assert call.endswith("--ldflags -s -w CGO=0 -modcacherw -trimpath")
    assert machine.left() == {"otelcol-dbvitals", "build.log", "lock"}


def test_two_that_want_it_at_once_build_it_once(machine: Machine) -> None:
    machine.give_go(seconds=0.5)
    both = [machine.start(), machine.start()]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(machine.calls.read_text().splitlines()) == 1


def test_a_build_that_fails_or_is_killed_leaves_no_collector(machine: Machine) -> None:
    machine.give_go(code=1)
    code, out, error = machine.run()
    assert (code, out) == (2, "")
    assert error.splitlines()[-1] == (
        f"collector: the Collector's build failed: no such module (all of it: {machine.collector.parent / 'build.log'})"
    )
    machine.calls.unlink()
    machine.give_go(seconds=1)
    killed = machine.start()
    while not machine.calls.exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert not machine.collector.exists()
    machine.give_go()
    assert machine.run()[0] == 0


@pytest.mark.parametrize("version", [None, "go1.22.3", "not a version"])
def test_without_a_go_that_is_new_enough_one_line_says_what_to_do(machine: Machine, version: str | None) -> None:
    if version is not None:
        machine.give_go(version)
    code, out, error = machine.run()
    assert (code, out) == (2, "")
    assert error.splitlines()[-1] == "collector: building the Collector needs Go 1.26 or newer on PATH: install it"
    assert not machine.calls.exists()


def test_the_manifest_is_pinned_and_the_file_and_the_script_agree_on_its_version() -> None:
    manifest = MANIFEST.read_text()
    version = re.search(r"(?m)^  version: (\S+)$", manifest)
    assert version is not None
    modules = re.findall(r"gomod: (\S+) v(\S+)", manifest)
    assert {pinned for module, pinned in modules if "/provider/" not in module} == {version[1]}
    assert f"for version {version[1]} " in AGENT.read_text().splitlines()[0]
    assert f"builder@v{version[1]}" not in (ROOT / "scripts" / "collector.py").read_text(), "it reads the manifest"


def test_no_name_in_the_file_is_a_deprecated_one() -> None:
    """Those that a Collector of this version shows itself; the contrib image has them from the same modules."""
    program = find(COLLECTOR, MANIFEST)
    assert program is not None, COLLECTOR.install
    shown = subprocess.run([program, "components"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"(?m)^    - name: (\S+)$", shown))
    used = set()
    section = ""
    for line in AGENT.read_text().splitlines():
        if re.match(r"\w", line):
            section = line
        elif section.startswith(("extensions", "receivers", "processors", "exporters")):
            used |= set(re.findall(r"^  ([a-z_]+)(?:/\w+)?:", line))
    assert "otlp_grpc" in used
    assert used <= known, os.linesep.join(used - known)
