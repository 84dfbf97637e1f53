"""scripts/services.py starts real servers, and nothing of them is left afterwards."""

from __future__ import annotations

import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import services

SCRIPT = Path(services.__file__)
PRINT_URL = "import os; print(os.environ['DBVITALS_TEST_REDIS_URL'], flush=True)"


def ask_redis(url: str, request: bytes = b"PING\r\n") -> bytes:
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    try:
        with socket.create_connection((address.hostname, address.port), timeout=5) as connection:
            connection.sendall(request)
            return connection.recv(4096)
    except (ConnectionRefusedError, ConnectionResetError):
        return b"refused"


def script(*words: str) -> str:
    """What the script prints when all is well."""
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), "run", "--only", "redis", "--", *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def start(before: str = "") -> tuple[subprocess.Popen[str], str]:
    """The script, running a Python that waits (after `before`) beside a Redis, and that Redis' URL."""
    command = [sys.executable, "-c", f"{before}\n{PRINT_URL}\nimport time; time.sleep(60)"]
    words = [sys.executable, str(SCRIPT), "run", "--only", "redis", "--", *command]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, process.stdout.readline().strip()


def wait_until_closed(url: str) -> None:
    """A connection that is open notices the server's end: nothing polls and nothing sleeps."""
    address = urlsplit(url)
    try:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
            select.select([connection], [], [], 10)
    except ConnectionRefusedError:
        return


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the servers' own user can enter; pytest's tmp_path is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="dbvitals-"))
    folder.chmod(0o755)
    yield folder
    script("down", "--dir", str(folder))
    shutil.rmtree(folder, ignore_errors=True)


class TestServices:
    def test_redis_answers_on_a_port_of_its_own(self) -> None:
        with services.Services(["redis"]) as first, services.Services(["redis"]) as second:
            assert ask_redis(first.urls["redis"]) == b"+PONG\r\n"
            assert ask_redis(second.urls["redis"]) == b"+PONG\r\n"
            assert first.urls != second.urls

    def test_it_is_gone_after_the_block_and_so_is_its_folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        with services.Services(["redis"]) as running:
            url = running.urls["redis"]
            folder = ask_redis(url, b"CONFIG GET dir\r\n").split()[-1].decode()
            assert Path(folder).exists()
        assert ask_redis(url) == b"refused"
        assert not Path(folder).exists()

    def test_the_environment_names_the_urls(self) -> None:
        with services.Services(["redis"]) as running:
            assert running.environment == {"DBVITALS_TEST_REDIS_URL": running.urls["redis"]}


class TestRun:
    @pytest.mark.parametrize("code", [0, 7])
    def test_returns_the_commands_exit_code(self, code: int) -> None:
        assert run([sys.executable, "-c", f"raise SystemExit({code})"]).returncode == code

    def test_returns_128_and_the_signal_for_a_command_that_was_killed(self) -> None:
        assert run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]).returncode == 128 + 9

    def test_a_command_that_does_not_exist_is_127(self) -> None:
        result = run(["no-such-command"])
        assert (result.returncode, result.stderr) == (127, "services: no-such-command: no such command\n")

    def test_the_servers_are_gone_afterwards(self) -> None:
        url = run([sys.executable, "-c", PRINT_URL]).stdout.strip()
        assert url.startswith("redis://127.0.0.1:")
        assert ask_redis(url) == b"refused"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_the_command_and_the_servers(self, number: signal.Signals) -> None:
        process, url = start(f"import os, signal; signal.signal({int(number)}, lambda *_: os._exit(3))")
        with process:
            assert ask_redis(url) == b"+PONG\r\n"
            process.send_signal(number)
            assert process.wait(20) == 3
        assert ask_redis(url) == b"refused"

    def test_nothing_survives_when_the_script_is_killed(self) -> None:
        process, url = start()
        with process:
            assert ask_redis(url) == b"+PONG\r\n"
            process.kill()
        wait_until_closed(url)
        assert ask_redis(url) == b"refused"


class TestUp:
    def test_leaves_the_server_running_until_down(self, home: Path) -> None:
        exported = script("up", "--only", "redis", "--dir", str(home))
        url = exported.removeprefix("export DBVITALS_TEST_REDIS_URL=").strip()
        assert ask_redis(url) == b"+PONG\r\n"
        assert script("up", "--only", "redis", "--dir", str(home)) == exported, (
            "a second up finds the first one's server"
        )
        assert f"redis          {url}\n" in script("status", "--dir", str(home))
        script("down", "--dir", str(home))
        assert ask_redis(url) == b"refused"
        assert not home.exists()
        assert "redis          not running\n" in script("status", "--dir", str(home))

    def test_starts_again_what_has_died(self, home: Path) -> None:
        first = script("up", "--only", "redis", "--dir", str(home)).partition("=")[2].strip()
        ask_redis(first, b"SHUTDOWN NOSAVE\r\n")
        second = script("up", "--only", "redis", "--dir", str(home)).partition("=")[2].strip()
        assert ask_redis(first) == b"refused" or first == second
        assert ask_redis(second) == b"+PONG\r\n"

    def test_down_leaves_alone_what_it_did_not_make(self, home: Path) -> None:
        (home / "mine").write_text("kept")
        script("up", "--only", "redis", "--dir", str(home))
        script("down", "--dir", str(home))
        assert [path.name for path in home.iterdir()] == ["mine"]


class TestAMissingServer:
    @pytest.fixture(autouse=True)
    def _nothing_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "PLACES", ())
        monkeypatch.setenv("PATH", "")

    @pytest.mark.parametrize("action", ["up", "run"])
    def test_is_one_line_that_says_what_to_install(
        self, action: str, capsys: pytest.CaptureFixture[str], home: Path
    ) -> None:
        words = [action, "--no-install", "--only", "redis", "--dir", str(home), "--", sys.executable]
        assert services.main(words) == 2
        assert list(home.iterdir()) == []
        assert capsys.readouterr().err == (
            "services: Redis missing: apt-get install redis-server (Debian, Ubuntu), brew install redis (macOS)\n"
        )

    def test_several_are_one_line_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert services.main(["up", "--no-install", "--dir", str(tmp_path / "scratch")]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert (
            "PostgreSQL and MariaDB and Redis missing: apt-get install postgresql mariadb-server redis-server" in line
        )

    def test_is_not_installed_by_anybody_but_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services.os, "geteuid", lambda: 1000)
        with pytest.raises(services.Unavailable, match=r"^Redis missing: apt-get install redis-server"):
            services.require(["redis"])


class TestPorts:
    def test_a_port_that_is_taken_is_not_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            wanted = iter([taken.getsockname()[1], 29_123])
            monkeypatch.setattr(services.random, "randint", lambda *_: next(wanted))
            assert services.free_port() == 29_123
