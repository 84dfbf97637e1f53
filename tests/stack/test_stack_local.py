"""`dbvitals stack local`: real programs on free ports, none left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from collectors import get, soon

from dbvitals.stack.local import LocalStack
from dbvitals.stack.ports import Ports
from dbvitals.stack.processes import NotStarted, Process
from dbvitals.stack.supervise import DEATHS, keep
from dbvitals_instrumentation.config import ConfigError


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "dbvitals", "stack", *map(str, arguments)]


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and what it has said until it was ready."""
    process = subprocess.Popen(
        command("local", "--free-ports", "--folder", folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = ""
        while "Ctrl-C stops it." not in said:
            line = process.stdout.readline()
            assert line, process.communicate()
            said += line
        yield process, said
    finally:
        process.kill()
        process.communicate()


def programs_of(folder: Path) -> dict[int, str]:
    """The processes that were started with something below the folder, with their arguments."""
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    processes = (line.split(maxsplit=1) for line in listed.splitlines())
    return {
        int(pid): arguments
        for pid, arguments in processes
        if re.search(rf"--(config|storage)\S*={re.escape(str(folder))}/", arguments)
    }


def address(said: str, name: str) -> str:
    found = re.search(rf"{name}\s+(http://127\.0\.0\.1:\d+)", said)
    assert found is not None, said
    return found[1]


def test_one_command_starts_all_says_how_to_send_and_ends_with_everything_it_started(tmp_path: Path) -> None:
    with running(tmp_path) as (process, said):
        assert get(f"{address(said, 'Prometheus')}/-/ready")
        assert get(f"{address(said, 'Alertmanager')}/-/ready")
        assert f"export OTEL_EXPORTER_OTLP_ENDPOINT={address(said, 'Collector')}" in said
        for lacking in ("Tempo", "Grafana"):
            assert lacking in said.partition("Not here:")[2]
        assert len(programs_of(tmp_path)) == 3

        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert not programs_of(tmp_path)


def test_a_program_that_dies_is_started_again_with_a_line(tmp_path: Path) -> None:
    with running(tmp_path) as (process, said):
        alertmanager = address(said, "Alertmanager")
        (victim,) = [pid for pid, arguments in programs_of(tmp_path).items() if "alertmanager.yml" in arguments]
        os.kill(victim, signal.SIGKILL)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("dbvitals stack: Alertmanager ended (")
        assert soon(lambda: victim not in programs_of(tmp_path) and len(programs_of(tmp_path)) == 3, "another one")
        assert soon(lambda: answers(f"{alertmanager}/-/ready"), "it answers again")


def answers(url: str) -> bool:
    try:
        return bool(get(url))
    except OSError:
        return False


def test_nothing_survives_a_command_that_is_killed(tmp_path: Path) -> None:
    with running(tmp_path) as (process, _said):
        process.kill()
        assert soon(lambda: not programs_of(tmp_path), "all programs have ended")


def test_a_stack_that_is_killed_starts_again_in_the_same_folder_with_what_it_knew(tmp_path: Path) -> None:
    ports = Ports.free()
    with LocalStack(tmp_path, ports) as stack:
        for process in stack.processes:
            process.kill()
            process.start()
        assert stack.collector.running
    with LocalStack(tmp_path, ports) as stack:
        stack.wait_until_scraped()
    assert list((tmp_path / "prometheus" / "wal").iterdir())


def test_a_program_that_does_not_stay_up_ends_it_all_with_the_last_line_of_its_log(tmp_path: Path) -> None:
    class Dying(Process):
        running = False  # type: ignore[assignment]
        starts = 0

        def start(self) -> None:
            self.starts += 1

    class Hasty(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return False

    (tmp_path / "log").write_text("one\nout of memory\n")
    process, said = Dying("Prometheus", ["x"], ready="", log=tmp_path / "log"), list[str]()
    with pytest.raises(NotStarted, match=f"Prometheus ended {DEATHS} times within a minute: out of memory"):
        keep([process], Hasty(), said.append)
    assert process.starts == len(said) == DEATHS - 1


def test_a_busy_port_is_named_with_what_to_do_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        stack = LocalStack(tmp_path, replace(Ports.free(), prometheus=port))
        with pytest.raises(ConfigError, match=rf"port {port} \(prometheus\).*--free-ports"):
            stack.start()
    assert not programs_of(tmp_path)


def test_one_stack_at_a_time_has_a_folder(tmp_path: Path) -> None:
    with (
        LocalStack(tmp_path, Ports.free()),
        pytest.raises(ConfigError, match="in use by another stack"),
        LocalStack(tmp_path, Ports.free()),
    ):
        pass


def test_missing_programs_are_named_with_how_they_are_had(tmp_path: Path) -> None:
    finished = subprocess.run(
        command("local", "--folder", tmp_path / "data"),
        env={**os.environ, "PATH": str(tmp_path), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    for name, way in (
        ("OpenTelemetry Collector", "make collector"),
        ("Prometheus", "apt-get"),
        ("Alertmanager", "apt-get"),
    ):
        assert f"{name} is missing" in line
        assert way in line


def test_a_program_that_refuses_its_configuration_is_told_with_its_own_words(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, Ports.free(), prometheus_flags=["--no-such-flag"])
    with pytest.raises(NotStarted, match=r"Prometheus ended at its start: .*no-such-flag"):
        stack.start()
    assert not programs_of(tmp_path)
