#!/usr/bin/env python3
"""Private PostgreSQL, MariaDB and Redis servers for the tests: free loopback ports, a scratch folder, gone afterwards.

    python scripts/services.py run -- pytest           starts all, runs the command, stops all, returns its exit code
    eval "$(python scripts/services.py up)"            starts all and leaves them running
    python scripts/services.py status | down

Needs nothing but Python 3.10. A server that is missing is installed when that is possible without a question (root on
Debian or Ubuntu); else one line says what to install, and the exit code is 2. From Python:

    with Services(["postgresql", "redis"]) as services:
        services.urls["redis"]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import fcntl
import glob
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, NamedTuple

DEADLINE = 60.0  # seconds until a server must answer: far more than it needs, for a machine that is busy
POLICY = Path("/usr/sbin/policy-rc.d")
PLACES = (  # where servers live besides PATH, the best first
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mariadb*/bin",
    "/usr/local/bin",
    "/usr/local/opt/mariadb*/bin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
)


class Unavailable(Exception):
    """A server cannot be had; the message is the one line that says why, and what to do."""


class Interrupted(BaseException):
    """A signal that asks us to end."""

    def __init__(self, number: int) -> None:
        self.number = number


# --- finding and installing ------------------------------------------------------------------------------------------


class Needs(NamedTuple):
    """What a server needs from the machine."""

    name: str
    programs: tuple[str, ...]
    apt: tuple[str, ...]
    brew: str


POSTGRESQL = Needs("PostgreSQL", ("postgres", "initdb", "createdb"), ("postgresql",), "postgresql")
MARIADB = Needs("MariaDB", ("mariadbd", "mariadb-install-db"), ("mariadb-server",), "mariadb")
REDIS = Needs("Redis", ("redis-server", "redis-cli"), ("redis-server",), "redis")
PROMETHEUS = Needs("Prometheus", ("prometheus", "promtool"), ("prometheus",), "prometheus")
# The server is not asked for by its name, which Debian changes; it comes with this program.
ALERTMANAGER = Needs("Alertmanager", ("amtool",), ("prometheus-alertmanager",), "alertmanager")


def _version(folder: str) -> tuple[int, ...]:
    return tuple(int(part) for part in "".join(c if c.isdigit() else " " for c in folder).split())


def find(needs: Needs) -> dict[str, str] | None:
    """The programs' full paths, or None unless all are there. The newest version of several."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    for place in PLACES:
        folders += sorted(glob.glob(place), key=_version, reverse=True)
    found: dict[str, str] = {}
    for program in needs.programs:
        path = shutil.which(program, path=os.pathsep.join(folders))
        if path is None:
            return None
        found[program] = path
        folders.insert(0, str(Path(path).parent))  # the others of the same version, not Debian's wrappers on PATH
    return found


def extension(postgres: str, name: str) -> bool:
    """Whether this PostgreSQL can load an extension's library."""
    home = Path(postgres).resolve().parent
    folders = [home.parent / "lib", home.parent / "lib" / "postgresql"]
    if (home / "pg_config").exists():
        asked = subprocess.run([home / "pg_config", "--pkglibdir"], capture_output=True, text=True, check=False)
        folders.append(Path(asked.stdout.strip()))
    return any((folder / f"{name}.{suffix}").exists() for folder in folders for suffix in ("so", "dylib"))


def require(kinds: Sequence[str], *, install: bool = True) -> None:
    """Makes sure that every server's programs are here, or raises `Unavailable`."""
    wanted = list(dict.fromkeys(KINDS[kind].needs for kind in kinds))
    _have(wanted, install)
    if POSTGRESQL in wanted:
        _require_extras(_may(install))


def tool(program: str, *, install: bool = True) -> str:
    """The path of a program that is no server of ours: `prometheus`, `promtool`, `amtool`; or raises `Unavailable`."""
    needs = next(needs for needs in (PROMETHEUS, ALERTMANAGER) if program in needs.programs)
    _have([needs], install)
    found = find(needs)
    assert found is not None
    return found[program]


def _may(install: bool) -> bool:
    debian = Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None
    return install and os.geteuid() == 0 and debian


def _have(wanted: Sequence[Needs], install: bool) -> None:
    missing = [needs for needs in wanted if find(needs) is None]
    if missing and _may(install):
        apt_install([package for needs in missing for package in needs.apt])
        missing = [needs for needs in wanted if find(needs) is None]
    if missing:
        packages = " ".join(package for needs in missing for package in needs.apt)
        formulae = " ".join(needs.brew for needs in missing)
        names = " and ".join(needs.name for needs in missing)
        raise Unavailable(
            f"{names} missing: apt-get install {packages} (Debian, Ubuntu), brew install {formulae} (macOS)"
        )


def _require_extras(may_install: bool) -> None:
    """What some tests want beside PostgreSQL; without it the others still run."""
    found = find(POSTGRESQL)
    assert found is not None
    missing = [] if _on_path("pgbouncer") else ["pgbouncer"]
    if not extension(found["postgres"], "hypopg"):
        version = next((part for part in Path(found["postgres"]).resolve().parts if part.isdigit()), "NN")
        missing.append(f"postgresql-{version}-hypopg")
    if missing and may_install:
        try:
            return apt_install(missing)
        except Unavailable as reason:
            _say(str(reason))
    if missing:
        _say(f"some tests will fail until you install {' and '.join(missing)}")


def _on_path(program: str) -> bool:
    folders = [os.environ.get("PATH", ""), *(place for place in PLACES if "*" not in place)]
    return shutil.which(program, path=os.pathsep.join(folders)) is not None


def apt_install(packages: Sequence[str]) -> None:
    """Installs Debian packages without a question, and without starting the services that they bring."""
    _say(f"installing {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    options = ["-qq", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=300"]
    with _lock("apt"), _no_services_started():
        if not _updated:
            subprocess.run(["apt-get", *options, "update"], stdout=sys.stderr, env=environment, check=False)
            _updated.append(True)
        command = ["apt-get", *options, "install", "--no-install-recommends", *packages]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Unavailable(f"apt-get install {' '.join(packages)} failed: {lines[-1]}")


_updated: list[bool] = []


@contextlib.contextmanager
def _no_services_started() -> Iterator[None]:
    """Debian asks policy-rc.d before it starts a service; 101 forbids. One that is there already is left alone."""
    if POLICY.exists():
        yield
        return
    watchdog = Watchdog()
    watchdog.tell("remove", POLICY)
    try:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        watchdog.dismiss()


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    path = Path(tempfile.gettempdir()) / f"dbvitals-{name}-{os.getuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _say(line: str) -> None:
    print(f"services: {line}", file=sys.stderr, flush=True)


# --- nothing survives ------------------------------------------------------------------------------------------------


class Watchdog:
    """A process in a session of its own that cleans up if this one dies, however it dies.

    It holds the reading end of a pipe. When the pipe closes without a farewell, it ends the process groups (each with
    its signal, then SIGKILL) and removes the paths that it was told of. (Linux' PR_SET_PDEATHSIG would be lost with a
    change of user, fires when the *thread* that started the server ends, and removes no scratch folder.)
    """

    def __init__(self) -> None:
        reading, self._pipe = os.pipe()
        command = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), "watch", str(reading)]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, pass_fds=[reading], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/"
        )
        os.close(reading)

    def tell(self, verb: str | int, what: int | Path) -> None:
        os.write(self._pipe, f"{verb}\t{what}\n".encode())  # one write: threads do not mix their lines

    def dismiss(self) -> None:
        self.tell("farewell", 0)
        os.close(self._pipe)
        self._process.wait()


def watch(descriptor: int) -> None:
    """The watchdog's own life."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with open(descriptor, encoding="utf-8") as pipe:
        orders = [line.rstrip("\n").split("\t", 1) for line in pipe]
    if ["farewell", "0"] in orders:
        return
    forgotten = {what for verb, what in orders if verb == "forget"}
    end({int(what): int(verb) for verb, what in orders if verb.isdigit() and what not in forgotten})
    for path in [Path(what) for verb, what in orders if verb == "remove"]:
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)


def end(groups: Mapping[int, int], reap: Callable[[], object] = lambda: None, patience: float = 5) -> None:
    """Ends process groups, each with its signal, and with SIGKILL whoever is still there after that."""
    for numbers in (groups, dict.fromkeys(groups, int(signal.SIGKILL))):
        deadline = time.monotonic() + patience
        while (left := _living(groups)) and time.monotonic() < deadline:
            for group in left:  # again and again: a server that is just starting may not have heard
                _signal_group(group, numbers[group])
            time.sleep(0.02)
            reap()


def _living(groups: Iterable[int]) -> set[int]:
    """Those of the groups in which a process runs; one that is dead but not reaped by its parent does not."""
    wanted = set(groups)
    living: set[int] = set()
    if Path("/proc/self/stat").exists():
        for name in filter(str.isdigit, os.listdir("/proc") if wanted else ()):
            with contextlib.suppress(OSError):
                state, _, group = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:3]
                if state not in "ZX":
                    living.add(int(group))
        return wanted & living
    for number in wanted:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(number, 0)
            living.add(number)
    return living


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


# --- the servers -----------------------------------------------------------------------------------------------------


def free_port(*also: int) -> int:
    """A free loopback port, below the range the kernel picks clients' ports from; port + each of `also` is free too."""
    for _ in range(200):
        port = random.randint(20_000, 29_999)
        try:
            for offset in (0, *also):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port
    raise Unavailable("no free port between 20000 and 29999 on 127.0.0.1")


def _exchange(port: int, request: bytes) -> bytes:
    """One answer from a server, or nothing as long as there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(request)
            return connection.recv(4096)
    except OSError:
        return b""


class Server:
    """One kind of server: prepare its folder, name its command, know when it answers."""

    needs: Needs
    stop_signal = signal.SIGKILL  # its data is thrown away, so nothing is lost
    nodes = 1

    def __init__(self, folder: Path, services: Services) -> None:
        self.folder = folder
        self.services = services
        self.programs = find(self.needs) or {}
        self.ports: list[int] = []

    def take_ports(self) -> None:
        self.ports = [free_port() for _ in range(self.nodes)]

    def prepare(self) -> None: ...

    def command(self, port: int) -> list[str]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def url(self) -> str:
        raise NotImplementedError


class PostgreSQL(Server):
    needs = POSTGRESQL
    stop_signal = signal.SIGQUIT  # immediate shutdown: takes its children and its shared memory along

    def prepare(self) -> None:
        initdb = [self.programs["initdb"], "--pgdata", str(self.folder / "data"), "--username", "dbvitals"]
        self.services.run([*initdb, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"], self.folder)

    def command(self, port: int) -> list[str]:
        settings: dict[str, object] = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "dynamic_shared_memory_type": "mmap",  # inside the scratch folder, whatever happens
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": 200,
            "shared_buffers": "64MB",
            "log_min_messages": "fatal",
        }
        if extension(self.programs["postgres"], "pg_stat_statements"):
            settings["shared_preload_libraries"] = "pg_stat_statements"
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.programs["postgres"], "-D", str(self.folder / "data"), "-p", str(port), *options]

    def answers(self) -> bool:
        address = ["--host", "127.0.0.1", "--port", str(self.ports[0]), "--username", "dbvitals", "--no-password"]
        command = [self.programs["createdb"], *address, "--maintenance-db", "postgres", "dbvitals"]
        done = subprocess.run(command, capture_output=True, text=True, env=_clean_environment(self.folder), check=False)
        return done.returncode == 0 or "already exists" in done.stderr

    def url(self) -> str:
        return f"postgresql://dbvitals@127.0.0.1:{self.ports[0]}/dbvitals"


class MariaDB(Server):
    needs = MARIADB
    first_words = (
        "CREATE DATABASE IF NOT EXISTS dbvitals;\n"
        "CREATE USER IF NOT EXISTS 'dbvitals'@'%' IDENTIFIED BY 'dbvitals';\n"
        "GRANT ALL PRIVILEGES ON *.* TO 'dbvitals'@'%' WITH GRANT OPTION;\n"
    )

    def prepare(self) -> None:
        install = [self.programs["mariadb-install-db"], "--no-defaults", f"--datadir={self.folder / 'data'}"]
        options = ["--skip-test-db", "--auth-root-authentication-method=normal", "--skip-name-resolve"]
        small = ["--innodb-log-file-size=16M", "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0"]
        self.services.run([*install, *options, *small], self.folder)
        (self.folder / "first.sql").write_text(self.first_words)
        (self.folder / "first.sql").chmod(0o644)

    def command(self, port: int) -> list[str]:
        options = {
            "datadir": self.folder / "data",
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "tmpdir": self.folder,
            "port": port,
            "bind-address": "127.0.0.1",
            "init-file": self.folder / "first.sql",
            "innodb-log-file-size": "16M",
            "innodb-buffer-pool-size": "64M",
            "innodb-flush-log-at-trx-commit": 0,
            "sync-binlog": 0,
            "max-connections": 200,
        }
        command = [self.programs["mariadbd"], "--no-defaults", "--skip-name-resolve", "--skip-log-bin"]
        return [*command, *(f"--{name}={value}" for name, value in options.items())]

    def answers(self) -> bool:
        return _exchange(self.ports[0], b"")[4:5] == b"\x0a"  # a handshake of protocol version 10

    def url(self) -> str:
        return f"mysql://dbvitals:dbvitals@127.0.0.1:{self.ports[0]}/dbvitals"


class Redis(Server):
    needs = REDIS

    def command(self, port: int) -> list[str]:
        folder = self.folder / str(port)
        self.services.make_folder(folder)
        program = [self.programs["redis-server"], "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
        return [*program, "--save", "", "--appendonly", "no", "--daemonize", "no"]

    def answers(self) -> bool:
        return all(_exchange(port, b"PING\r\n") == b"+PONG\r\n" for port in self.ports)

    def url(self) -> str:
        return f"redis://127.0.0.1:{self.ports[0]}/0"


class RedisCluster(Redis):
    nodes = 3
    bus = 10_000  # a node listens for the others at its port + 10000
    joined = False

    def take_ports(self) -> None:
        self.joined = False
        self.ports = [free_port(self.bus) for _ in range(self.nodes)]

    def command(self, port: int) -> list[str]:
        return [*super().command(port), "--cluster-enabled", "yes", "--cluster-node-timeout", "5000"]

    def answers(self) -> bool:
        if not super().answers():
            return False
        if not self.joined:
            addresses = [f"127.0.0.1:{port}" for port in self.ports]
            create = [self.programs["redis-cli"], "--cluster", "create", *addresses]
            self.services.run([*create, "--cluster-replicas", "0", "--cluster-yes"], self.folder)
            self.joined = True
        return all(b"cluster_state:ok" in _exchange(port, b"CLUSTER INFO\r\n") for port in self.ports)

    def url(self) -> str:
        return f"redis://127.0.0.1:{self.ports[0]}"


KINDS: Mapping[str, type[Server]] = {
    "postgresql": PostgreSQL,
    "mariadb": MariaDB,
    "redis": Redis,
    "redis-cluster": RedisCluster,
}


def _stop_signal(kind: str) -> signal.Signals:
    return KINDS[kind].stop_signal if kind in KINDS else signal.SIGTERM  # initdb cleans up after itself


def variable(kind: str) -> str:
    """The environment variable that carries a server's URL to the tests."""
    return f"DBVITALS_TEST_{kind.upper().replace('-', '_')}_URL"


# --- all of them -----------------------------------------------------------------------------------------------------


class Services:
    """Servers that live as long as the `with` block, or until `stop`; with `keep`, until somebody calls `down`."""

    def __init__(
        self,
        kinds: Sequence[str] = tuple(KINDS),
        *,
        folder: Path | None = None,
        install: bool = True,
        keep: bool = False,
    ) -> None:
        self.kinds = tuple(dict.fromkeys(kinds))
        self.urls: dict[str, str] = {}
        self.groups: dict[str, list[int]] = {}
        self._install = install
        self._keep = keep
        self._given = folder
        self._user: pwd.struct_passwd | None = None
        self._folder: Path | None = None
        self._processes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._watchdog: Watchdog | None = None
        self._stopping = threading.Event()

    @property
    def environment(self) -> dict[str, str]:
        return {variable(kind): url for kind, url in self.urls.items()}

    def __enter__(self) -> Services:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        require(self.kinds, install=self._install)
        self._user = _unprivileged()
        self._watchdog = Watchdog()
        try:
            self._make_scratch()
            with concurrent.futures.ThreadPoolExecutor(len(self.kinds) or 1) as pool:
                starts = [pool.submit(self._start, kind) for kind in self.kinds]
                try:
                    for start in concurrent.futures.as_completed(starts):
                        start.result()
                except BaseException:
                    self._stopping.set()
                    self._end_all()
                    raise
        except BaseException:
            self.stop()
            raise
        if self._keep:
            self._watchdog.dismiss()
            self._watchdog = None

    def stop(self) -> None:
        self._stopping.set()
        self._end_all()
        self._processes.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._watchdog is not None:
            self._watchdog.dismiss()
            self._watchdog = None

    def _end_all(self) -> None:
        everybody = [(kind, process) for kind, group in self._processes.items() for process in group]
        groups = {process.pid: int(_stop_signal(kind)) for kind, process in everybody}
        end(groups, reap=lambda: [process.poll() for _, process in everybody])
        for _, process in everybody:
            process.wait()

    def accompany(self, command: Sequence[str]) -> int:
        """Runs a command beside the servers, hands on the signal that interrupts it, and returns its exit code."""
        assert self._watchdog is not None
        process = subprocess.Popen(command, env={**os.environ, **self.environment}, start_new_session=True)
        self._watchdog.tell(int(signal.SIGKILL), process.pid)
        try:
            code = process.wait()
        except Interrupted as interruption:
            _signal_group(process.pid, interruption.number)
            code = process.wait(10)
        finally:
            self._end(process)  # and what it may have left behind
        return 128 - code if code < 0 else code

    def _start(self, kind: str) -> None:
        assert self._folder is not None
        folder = self._folder / kind
        self.make_folder(folder)
        server = KINDS[kind](folder, self)
        server.prepare()
        for _ in range(3):  # a port that was free may be taken a moment later
            server.take_ports()
            processes = [self._spawn(kind, server.command(port), folder) for port in server.ports]
            if self._await(server, processes):
                self.urls[kind] = server.url()
                self.groups[kind] = [process.pid for process in processes]
                return
            if self._stopping.is_set():
                return
            for process in processes:
                self._end(process)
        raise Unavailable(f"{server.needs.name} does not start: {_last_line(folder / 'log')}")

    def _await(self, server: Server, processes: list[subprocess.Popen[bytes]]) -> bool:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and not self._stopping.is_set():
            if any(process.poll() is not None for process in processes):
                return False
            if server.answers():
                return True
            self._stopping.wait(0.05)
        if self._stopping.is_set():
            return False
        raise Unavailable(
            f"{server.needs.name} did not answer for {DEADLINE:.0f} s: {_last_line(server.folder / 'log')}"
        )

    def run(self, command: Sequence[str], folder: Path) -> None:
        """Runs a program that prepares a server."""
        process = self._spawn("preparing", command, folder)
        if process.wait() and not self._stopping.is_set():
            raise Unavailable(f"{Path(command[0]).name} failed: {_last_line(folder / 'log')}")
        self._forget(process)

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _spawn(self, kind: str, command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
        assert self._watchdog is not None
        if self._stopping.is_set():
            raise Unavailable("interrupted")
        with open(folder / "log", "ab") as log:
            process = _popen(command, folder, log, self._user)
        self._processes.setdefault(kind, []).append(process)
        self._watchdog.tell(int(_stop_signal(kind)), process.pid)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        end({process.pid: signal.SIGKILL}, reap=process.poll)
        process.wait()
        self._forget(process)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        for processes in self._processes.values():
            if process in processes:
                processes.remove(process)
        if self._watchdog is not None:
            self._watchdog.tell("forget", process.pid)

    def _make_scratch(self) -> None:
        assert self._watchdog is not None
        folder = self._folder = self._given or Path(tempfile.mkdtemp(prefix="dbvitals-"))
        self._watchdog.tell("remove", folder)
        if self._user is not None:
            folder.chmod(0o711)
            closed = [parent for parent in folder.parents if not parent.stat().st_mode & 0o001]
            if closed:
                raise Unavailable(
                    f"{closed[-1]} is closed to the user {self._user.pw_name}: choose another --dir or TMPDIR"
                )
        if len(os.fsencode(folder)) > 70:  # a Unix socket's path ends at 103 bytes
            raise Unavailable(f"{folder} is too long a path for a Unix socket: choose a shorter --dir or TMPDIR")


def _popen(
    command: Sequence[str], folder: Path, log: IO[bytes], user: pwd.struct_passwd | None
) -> subprocess.Popen[bytes]:
    environment = _clean_environment(folder)
    nothing = subprocess.DEVNULL
    if user is None:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=nothing, stdout=log, stderr=log, start_new_session=True
        )
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=nothing,
        stdout=log,
        stderr=log,
        start_new_session=True,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
    )


def _clean_environment(folder: Path) -> dict[str, str]:
    """No PGHOST, no MYSQL_HOME: what the developer's shell says is about other servers."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "LC_ALL": "C", "HOME": str(folder), "TMPDIR": str(folder)}


def _unprivileged() -> pwd.struct_passwd | None:
    """Who runs the servers when we are root: PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Unavailable("servers cannot run as root, and there is no user postgres or nobody: run this as another user")


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "it said nothing"


# --- the command line ------------------------------------------------------------------------------------------------


def _home(given: str | None) -> Path:
    return Path(given).absolute() if given else Path(tempfile.gettempdir()) / f"dbvitals-services-{os.getuid()}"


def _born(pid: int) -> str:
    """When a process started, so that another one with its number is not taken for it; empty if there is none."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


class Left(NamedTuple):
    """A server that `up` left running: its processes with their birth, and its scratch folder."""

    url: str
    folder: str
    pids: dict[str, str]

    @property
    def alive(self) -> bool:
        return all(_born(int(pid)) == born for pid, born in self.pids.items())


def _state(home: Path) -> dict[str, Left]:
    try:
        if home.stat().st_uid != os.getuid():
            raise Unavailable(f"{home} belongs to somebody else: choose another --dir")
        return {kind: Left(**entry) for kind, entry in json.loads((home / "state.json").read_text()).items()}
    except FileNotFoundError:
        return {}


def up(kinds: Sequence[str], home: Path, install: bool) -> int:
    with _lock("services"):
        state = _state(home)
        missing = [kind for kind in kinds if kind not in state or not state[kind].alive]
        if missing:
            require(missing, install=install)
            _end_left({kind: left for kind, left in state.items() if kind in missing})
            home.mkdir(mode=0o711, parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="", dir=home))
            services = Services(missing, folder=folder, install=install, keep=True)
            services.start()
            for kind in missing:
                pids = {str(pid): _born(pid) for pid in services.groups[kind]}
                state[kind] = Left(services.urls[kind], str(folder / kind), pids)
            (home / "state.json").write_text(
                json.dumps({kind: left._asdict() for kind, left in state.items()}, indent=2)
            )
    for kind in kinds:
        print(f"export {variable(kind)}={state[kind].url}")
    return 0


def down(home: Path) -> int:
    with _lock("services"):
        _end_left(_state(home))
        (home / "state.json").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody's own folder, with something else in it
            home.rmdir()
    return 0


def _end_left(state: Mapping[str, Left]) -> None:
    for kind, left in state.items():
        end({int(pid): int(_stop_signal(kind)) for pid, born in left.pids.items() if _born(int(pid)) == born})
        shutil.rmtree(left.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            Path(left.folder).parent.rmdir()


def status(home: Path) -> int:
    state = _state(home)
    for kind in KINDS:
        print(f"{kind:14} {state[kind].url if kind in state and state[kind].alive else 'not running'}")
    return 0


def run(command: Sequence[str], kinds: Sequence[str], folder: Path | None, install: bool) -> int:
    if not command:
        raise Unavailable("nothing to run: services.py run -- COMMAND…")
    if shutil.which(command[0]) is None:
        _say(f"{command[0]}: no such command")
        return 127
    if folder is not None:
        require(kinds, install=install)
        folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="", dir=folder))

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with Services(kinds, folder=folder, install=install) as services:
            return services.accompany(command)
    except Interrupted as interruption:
        return 128 + interruption.number
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["watch"]:
        watch(int(words[1]))
        return 0
    command = words[words.index("--") + 1 :] if "--" in words else []
    words = words[: words.index("--")] if "--" in words else words
    parser = argparse.ArgumentParser(prog="services.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=["up", "down", "status", "run"])
    parser.add_argument("--only", metavar="KINDS", default=",".join(KINDS), help=f"of {','.join(KINDS)}")
    parser.add_argument("--dir", metavar="DIR", help="where the scratch folder goes")
    parser.add_argument("--no-install", dest="install", action="store_false", help="never install a missing server")
    options = parser.parse_args(words)
    kinds = [kind for kind in options.only.split(",") if kind]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"no such server: {', '.join(unknown)} (there are {', '.join(KINDS)})")
    home = _home(options.dir)
    actions: dict[str, Callable[[], int]] = {
        "up": lambda: up(kinds, home, options.install),
        "down": lambda: down(home),
        "status": lambda: status(home),
        "run": lambda: run(command, kinds, home if options.dir else None, options.install),
    }
    try:
        return actions[options.action]()
    except Unavailable as reason:
        _say(str(reason))
        return 2


if __name__ == "__main__":
    sys.exit(main())
