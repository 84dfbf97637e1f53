"""`dbvitals run`, as a user runs it: real commands, real servers, real signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import textwrap
import threading
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

QUERY = """
    import os
    from sqlalchemy import create_engine, text

    engine = create_engine("sqlite:///shop.db")

    def ask(number=1):
        with engine.connect() as connection:
            for _ in range(number):
                connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).all()
"""
DEADLINE = 60


class Outcome(NamedTuple):
    """What a run left."""

    code: int
    stdout: str
    stderr: str
    report: dict[str, Any]

    @property
    def calls(self) -> int:
        return int(self.report["totals"]["calls"])

    @property
    def processes(self) -> int:
        return int(self.report["processes"])


class Place:
    """A folder with an application in it, and an environment that says nothing of telemetry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "DBVITALS_", "PYTHON"))}
        self.environ["COLUMNS"] = "200"
        self.file("shop.py", QUERY)

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def run(self, *command: str, before: Sequence[str] = (), **environ: str) -> Outcome:
        """`dbvitals run BEFORE -- COMMAND`, to its end."""
        with self.running(*command, before=before, **environ) as process:
            return self.outcome(process)

    @contextmanager
    def running(self, *command: str, before: Sequence[str] = (), **environ: str) -> Iterator[subprocess.Popen[str]]:
        """`dbvitals run BEFORE -- COMMAND`, in a process group of its own, as a shell starts it."""
        with subprocess.Popen(
            [sys.executable, "-m", "dbvitals", "run", "--report", "json", "report.json", *before, "--", *command],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def outcome(self, process: subprocess.Popen[str]) -> Outcome:
        stdout, stderr = process.communicate(timeout=DEADLINE)
        report = self.folder / "report.json"
        return Outcome(process.returncode, stdout, stderr, json.loads(report.read_text()) if report.exists() else {})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def lines(process: subprocess.Popen[str], number: int) -> list[str]:
    """Wait for that many lines of output."""
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in range(number)]


# --- commands ----------------------------------------------------------------------------------------------------


def test_a_script_is_watched_and_the_report_follows_its_output(place: Place) -> None:
    place.file("app.py", "import shop\nshop.ask(3)\nprint('done')\n")
    outcome = place.run(sys.executable, "app.py")
    assert (outcome.code, outcome.stdout, outcome.calls, outcome.processes) == (0, "done\n", 3, 1)
    assert outcome.stderr.startswith("dbvitals · ")
    assert "3 queries" in outcome.stderr
    assert "SELECT sqlite_master" in outcome.stderr


def test_a_module_is_watched(place: Place) -> None:
    place.file("package/__init__.py", "")
    place.file("package/__main__.py", "import sys, shop\nshop.ask(2)\nprint(sys.argv[1:])\n")
    outcome = place.run(sys.executable, "-m", "package", "--report", "-x")
    assert (outcome.code, outcome.stdout, outcome.calls) == (0, "['--report', '-x']\n", 2)


def test_the_exit_code_is_the_commands(place: Place) -> None:
    place.file("app.py", "import shop, sys\nshop.ask()\nsys.exit(7)\n")
    outcome = place.run(sys.executable, "app.py")
    assert (outcome.code, outcome.calls) == (7, 1)


def test_an_error_of_the_applications_is_the_last_that_is_said_before_the_report(place: Place) -> None:
    place.file("app.py", "import shop\nshop.engine.connect().exec_driver_sql('SELECT * FROM no_table')\n")
    outcome = place.run(sys.executable, "app.py")
    assert outcome.code == 1
    said = outcome.stderr.partition("dbvitals · ")[0].splitlines()
    assert said[-3:-1] == [
        "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) no such table: no_table",
        "[SQL: SELECT * FROM no_table]",
    ]
    assert sum(line.startswith("Traceback") for line in said) == 2  # SQLAlchemy's, and the driver's as its cause
    assert outcome.report["totals"]["errors"] == 1


def test_an_unknown_command_is_said_in_one_line(place: Place) -> None:
    outcome = place.run("no-such-program")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.stderr == "dbvitals: there is no command 'no-such-program' on PATH\n"


def test_a_script_that_is_not_executable_is_told_how_to_be_run(place: Place) -> None:
    outcome = place.run("shop.py")
    assert outcome.code == 2
    assert outcome.stderr == "dbvitals: shop.py is not executable: dbvitals run -- python shop.py\n"


def test_a_setting_that_cannot_be_read_stops_it_before_anything_is_started(place: Place) -> None:
    place.file("app.py", "print('started')\n")
    outcome = place.run(sys.executable, "app.py", DBVITALS_CALLER="perhaps")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("dbvitals: DBVITALS_CALLER")
    assert outcome.stderr.count("\n") == 1


def test_a_report_that_cannot_be_written_stops_it_before_anything_is_started(place: Place) -> None:
    outcome = place.run(sys.executable, "-c", "print('started')", before=["--report", "json", "no/such/folder.json"])
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("dbvitals: --report json no/such/folder.json: cannot be written")


def test_a_program_without_queries_is_told_so(place: Place) -> None:
    outcome = place.run(sys.executable, "-c", "import time; print(time.time())")
    assert (outcome.code, outcome.calls, outcome.report["watched"]) == (0, 0, 1)
    assert outcome.report["until"] >= float(outcome.stdout)
    assert outcome.stderr.startswith("dbvitals saw nothing: it watched 1 process for ")


# --- processes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_are_watched_to_their_last_query(place: Place, start: str) -> None:
    place.file(
        "app.py",
        f"""
        import multiprocessing, shop
        if __name__ == "__main__":
            context = multiprocessing.get_context("{start}")
            children = [context.Process(target=shop.ask, args=(5,)) for _ in range(2)]
            [child.start() for child in children]
            [child.join() for child in children]
        """,
    )
    outcome = place.run(sys.executable, "app.py")
    assert (outcome.code, outcome.calls, outcome.processes) == (0, 10, 2)


@pytest.mark.parametrize(
    "library, start", [("multiprocessing", "fork"), ("multiprocessing", "spawn"), ("billiard", "")]
)
def test_workers_that_a_pool_terminates_are_watched_to_their_last_query(place: Place, library: str, start: str) -> None:
    place.file(
        "app.py",
        f"""
        import {library} as library, shop
        if __name__ == "__main__":
            with library.get_context("{start}" or None).Pool(1) as pool:
                pool.map(shop.ask, [5] * 8, chunksize=1)
        """,
    )
    outcome = place.run(sys.executable, "app.py")
    assert (outcome.code, outcome.calls, outcome.report["killed"]) == (0, 40, 0)
    assert "killed" not in outcome.stderr


def test_a_process_that_was_killed_is_said_to_be(place: Place) -> None:
    place.file("app.py", "import os, signal, shop\nshop.ask()\nos.kill(os.getpid(), signal.SIGKILL)\n")
    outcome = place.run(sys.executable, "app.py")
    assert (outcome.code, outcome.report["killed"]) == (128 + signal.SIGKILL, 1)
    assert outcome.stderr.splitlines()[-1] == "1 process was killed; up to a second of what it did may be missing."


def test_python_processes_further_down_are_watched(place: Place) -> None:
    place.file("child.py", "import shop\nshop.ask(4)\n")
    place.file("app.py", "import os, sys\nos.system(f'{sys.executable} child.py')\nimport shop\nshop.ask()\n")
    outcome = place.run("sh", "-c", f"{sys.executable} app.py")
    assert (outcome.code, outcome.calls, outcome.processes) == (0, 5, 2)


def test_an_interpreter_that_lacks_dbvitals_gets_one_clear_line(place: Place) -> None:
    venv.create(place.folder / "venv", with_pip=False, symlinks=True)
    python = str(place.folder / "venv" / "bin" / "python")
    outcome = place.run(python, "-c", "print('works')")
    assert (outcome.code, outcome.stdout) == (0, "works\n")
    first, second = outcome.stderr.splitlines()[:2]
    assert first.startswith(f"dbvitals: {python} cannot import it (No module named ")
    assert first.endswith(f"so this process is not watched. Mend: {python} -m pip install dbvitals")
    assert second.startswith("dbvitals")


def test_a_hidden_sitecustomize_still_runs(place: Place) -> None:
    place.file("site/sitecustomize.py", "import builtins\nbuiltins.customized = 'customized'\n")
    place.file("app.py", "import shop, sitecustomize\nshop.ask()\nprint(customized, sitecustomize.__file__)\n")
    folder = str(place.folder / "site")
    outcome = place.run(sys.executable, "app.py", PYTHONPATH=folder)
    assert (outcome.code, outcome.stdout) == (0, f"customized {folder}/sitecustomize.py\n")
    assert outcome.calls == 1


def test_a_console_script_is_not_where_a_query_comes_from(place: Place) -> None:
    place.file("site-packages/library.py", "import shop as _shop\n" + textwrap.dedent(QUERY))
    place.file(
        "app.py",
        """
        import os, sys, sysconfig
        sys.path.insert(0, "site-packages")
        script = os.path.join(sysconfig.get_path("scripts"), "library")
        exec(compile("import library\\nlibrary.ask()", script, "exec"), {"__name__": "__main__", "__file__": script})
        """,
    )
    outcome = place.run(sys.executable, "-c", "exec(open('app.py').read())")
    (query,) = outcome.report["queries"]
    assert query["caller"]["file"].endswith("site-packages/library.py")


# --- signals -----------------------------------------------------------------------------------------------------

WAITING = """
    import signal, sys, shop
    shop.ask(2)
    print("ready", flush=True)
    {wait}
"""


def test_ctrl_c_ends_the_command_and_the_report_follows(place: Place) -> None:
    place.file("app.py", WAITING.format(wait="signal.pause()"))
    with place.running(sys.executable, "app.py") as process:
        lines(process, 1)
        os.killpg(process.pid, signal.SIGINT)
        outcome = place.outcome(process)
    assert (outcome.code, outcome.calls) == (130, 2)
    assert outcome.stderr.count("KeyboardInterrupt") == 1
    assert "2 queries" in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_dbvitals_reaches_the_command(place: Place, number: signal.Signals) -> None:
    handler = f"signal.signal({int(number)}, lambda *_: (shop.ask(3), sys.exit(5)))"
    place.file("app.py", f"import signal, sys, shop\n{handler}\nprint('ready', flush=True)\nsignal.pause()\n")
    with place.running(sys.executable, "app.py") as process:
        lines(process, 1)
        process.send_signal(number)
        outcome = place.outcome(process)
    assert (outcome.code, outcome.calls) == (5, 3)


def test_a_command_that_a_signal_kills_ends_as_in_a_shell(place: Place) -> None:
    place.file("app.py", WAITING.format(wait="signal.pause()"))
    with place.running(sys.executable, "app.py") as process:
        lines(process, 1)
        process.send_signal(signal.SIGTERM)
        outcome = place.outcome(process)
    assert outcome.code == 128 + signal.SIGTERM
    assert outcome.report["watched"] == 1


def test_a_process_that_ends_itself_by_a_signal_is_seen_to_its_last_query(place: Place) -> None:
    place.file("app.py", "import signal, shop\nshop.ask(3)\nsignal.raise_signal(signal.SIGTERM)\n")
    outcome = place.run(sys.executable, "app.py")
    assert (outcome.code, outcome.calls) == (128 + signal.SIGTERM, 3)


# --- servers -----------------------------------------------------------------------------------------------------


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_gunicorns_master_and_workers_are_in_the_report(place: Place, number: signal.Signals) -> None:
    place.file("web.py", "import shop\nshop.ask(1)\nshop.engine.dispose()\napp = lambda environ, start: []\n")
    place.file(
        "conf.py",
        """
        def post_worker_init(worker):
            import shop
            shop.ask(10)
            print("worker", flush=True)

        def worker_exit(server, worker):
            import shop
            shop.ask(10)
        """,
    )
    server = [sys.executable, "-m", "gunicorn", "--config", "conf.py", "--preload", "--workers", "2", "--log-level"]
    with place.running(*server, "error", "--bind", f"127.0.0.1:{port()}", "web:app") as process:
        lines(process, 2)
        process.send_signal(number) if number == signal.SIGTERM else os.killpg(process.pid, number)
        outcome = place.outcome(process)
    assert (outcome.code, outcome.processes) == (0, 3)
    if number == signal.SIGTERM:
        assert outcome.calls == 1 + 2 * 20
    else:  # a worker hears Ctrl-C from the terminal, then SIGQUIT from its master, which may cut its last hook short
        assert outcome.calls >= 1 + 2 * 10
    assert outcome.stderr.startswith("dbvitals · ")


def test_uvicorns_workers_are_in_the_report_to_their_last_query(place: Place) -> None:
    place.file(
        "web.py",
        """
        import shop

        async def app(scope, receive, send):
            while True:
                message = await receive()
                shop.ask(10)
                await send({"type": message["type"] + ".complete"})
                print(message["type"], flush=True)
                if message["type"] == "lifespan.shutdown":
                    return
        """,
    )
    server = [sys.executable, "-m", "uvicorn", "web:app", "--workers", "2", "--log-level", "error", "--port"]
    with place.running(*server, str(port())) as process:
        assert lines(process, 2) == ["lifespan.startup"] * 2
        process.send_signal(signal.SIGTERM)
        outcome = place.outcome(process)
    assert (outcome.code, outcome.calls, outcome.processes) == (0, 2 * 20, 2)
    assert outcome.stderr.startswith("dbvitals · ")


def test_celerys_prefork_children_are_in_the_report(place: Place) -> None:
    place.file(
        "tasks.py",
        """
        import os
        from celery import Celery, signals
        import shop

        app = Celery("tasks", broker="memory://")

        @signals.worker_process_init.connect
        def begin(**_):
            shop.ask(10)
            os.write(1, b"worker\\n")  # past the logger that Celery puts in stdout's place
        """,
    )
    worker = [sys.executable, "-m", "celery", "--app", "tasks", "--quiet", "worker", "--concurrency", "2"]
    with place.running(*worker, "--loglevel", "error", "--without-mingle", "--without-gossip") as process:
        assert lines(process, 2) == ["worker"] * 2
        process.send_signal(signal.SIGTERM)
        outcome = place.outcome(process)
    assert (outcome.code, outcome.calls, outcome.processes) == (0, 20, 2)


# --- exporting ---------------------------------------------------------------------------------------------------


class Sink(BaseHTTPRequestHandler):
    """Takes what is exported by OTLP over HTTP."""

    posts: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        self.posts.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def sink() -> Iterator[str]:
    Sink.posts.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("end", ["", "import signal; signal.raise_signal(signal.SIGTERM)"])
def test_with_an_endpoint_telemetry_is_exported_and_no_report_printed(place: Place, sink: str, end: str) -> None:
    place.file("app.py", f"import shop\nshop.ask(3)\n{end}\n")
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "the-shop",
    }
    outcome = place.run(sys.executable, "app.py", **environ)
    assert (outcome.code, outcome.stderr) == ((128 + signal.SIGTERM, "") if end else (0, ""))
    bodies = {path: b"".join(body for where, body in Sink.posts if where == path) for path, _ in Sink.posts}
    assert bodies["/v1/traces"].count(b"SELECT sqlite_master") >= 3
    assert b"the-shop" in bodies["/v1/traces"]
    assert b"db.client.operation.duration" in bodies["/v1/metrics"]
    assert outcome.calls == 3  # the report that was asked for in JSON is written all the same


def test_what_children_do_before_they_end_without_atexit_is_exported(place: Place, sink: str) -> None:
    place.file(
        "app.py",
        """
        import billiard, multiprocessing, os, signal, shop, warnings

        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of each fork beside threads
        process = multiprocessing.get_context("fork").Process(target=shop.ask, args=(1,))
        process.start()
        process.join()
        if os.fork() == 0:
            shop.ask(10)
            os._exit(0)
        if os.fork() == 0:
            shop.ask(20)
            os.kill(os.getpid(), signal.SIGTERM)
        os.wait(), os.wait()
        with billiard.Pool(1) as pool:  # as celery's: its workers skip the finalizers of multiprocessing
            pool.apply(shop.ask, [40])
            pool.close()
            pool.join()
        """,
    )
    place.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": sink,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_METRIC_EXPORT_INTERVAL": "600000",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "sqlalchemy",  # it refuses SQLAlchemy 2.1 aloud
    }
    program = [f"{sysconfig.get_path('scripts')}/opentelemetry-instrument", sys.executable, "app.py"]
    done = subprocess.run(
        program, cwd=place.folder, env=place.environ, timeout=DEADLINE, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    traces = b"".join(body for path, body in Sink.posts if path == "/v1/traces")
    metrics = b"".join(body for path, body in Sink.posts if path == "/v1/metrics")
    assert traces.count(b"db.query.text") == 1 + 10 + 20 + 40  # in each span once
    assert b"db.client.operation.duration" in metrics


def test_a_place_that_does_not_answer_keeps_a_child_no_longer_than_promised(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place.file(
            "app.py",
            """
            import os, time, shop
            if os.fork() == 0:
                shop.ask(3)
                os.write(1, b"%d\\n" % time.monotonic_ns())
                os._exit(4)
            code = os.waitstatus_to_exitcode(os.wait()[1])
            os.write(1, b"%d %d" % (time.monotonic_ns(), code))
            os.kill(os.getpid(), 9)
            """,
        )
        outcome = place.run(
            sys.executable,
            "app.py",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        )
    asked, ended, code = map(int, outcome.stdout.split())
    assert code == 4
    assert 0 < ended - asked < 3e9
    assert outcome.calls == 3  # the report that was asked for in JSON is there all the same
