"""Processes of one service export under ids of their own: the rule, and what arrives by OTLP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dbvitals.identity import instance_id
from dbvitals_instrumentation import semconv

DEADLINE = 60


@pytest.mark.parametrize(
    "given, is_child, expected",
    [("pod-7", False, "pod-7"), ("pod-7", True, "pod-7/12"), (None, False, "made"), (None, True, "made")],
)
def test_what_is_given_is_kept_and_numbered_in_children(given: str | None, is_child: bool, expected: str) -> None:
    assert instance_id(given, "made", is_child, 12) == expected


class Sink:
    """An OTLP endpoint that remembers which calls were counted under which id."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.span_ids: set[str] = set()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sink.take_metrics(body) if self.path == "/v1/metrics" else sink.take_spans(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def take_metrics(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == semconv.OPERATION_DURATION:  # cumulative
                        counted = sum(point.count for point in metric.histogram.data_points)
                        self.calls[named[semconv.SERVICE_INSTANCE_ID]] = counted

    def take_spans(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.span_ids |= {
                a.value.string_value for a in resource.resource.attributes if a.key == semconv.SERVICE_INSTANCE_ID
            }


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    with sink.server:
        thread = threading.Thread(target=sink.server.serve_forever)
        thread.start()
        yield sink
        sink.server.shutdown()
        thread.join()


def start(folder: Path, sink: Sink, *command: str, given: str) -> subprocess.Popen[str]:
    """`dbvitals run`, exporting to the sink."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "DBVITALS_", "PYTHON"))}
    return subprocess.Popen(
        [sys.executable, "-m", "dbvitals", "run", "--", sys.executable, *command],
        cwd=folder,
        env={
            **environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink.server.server_port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_RESOURCE_ATTRIBUTES": given,
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "sqlalchemy",  # it refuses SQLAlchemy 2.1 aloud
        },
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


SHOP = """
    import os
    from sqlalchemy import create_engine, text

    engine = create_engine("sqlite:///shop.db")

    def ask(number):
        with engine.connect() as connection:
            for _ in range(number):
                connection.execute(text("SELECT 42")).all()
        print(os.getpid(), flush=True)
"""


def shop(folder: Path, **files: str) -> None:
    for name, text in {"shop": SHOP, **files}.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("given", ["service.instance.id=pod-7", ""])
def test_children_of_multiprocessing_do_not_overwrite_each_others_series(
    method: str, given: str, sink: Sink, tmp_path: Path
) -> None:
    app = f"""
        import multiprocessing, shop
        if __name__ == "__main__":
            context = multiprocessing.get_context("{method}")
            for number in (5, 7):
                child = context.Process(target=shop.ask, args=(number,))
                child.start()
                child.join()
            shop.ask(3)
    """
    shop(tmp_path, app=app)
    with start(tmp_path, sink, "app.py", given=given) as process:
        *children, parent = process.communicate(timeout=DEADLINE)[0].split()
    assert process.returncode == 0
    if given:
        assert sink.calls == {f"pod-7/{children[0]}": 5, f"pod-7/{children[1]}": 7, "pod-7": 3}
    assert sorted(sink.calls.values()) == [3, 5, 7]
    assert sink.span_ids == set(sink.calls)
    assert len({parent, *children}) == 3


def test_workers_of_gunicorn_have_ids_of_their_own(sink: Sink, tmp_path: Path) -> None:
    shop(
        tmp_path,
        web="app = lambda environ, start: []\n",
        conf="def post_worker_init(worker):\n    import shop\n    shop.ask(4)\n",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "gunicorn", "--config", "conf.py", "--workers", "2", "--log-level", "error", "--bind"]
    with start(tmp_path, sink, *command, f"127.0.0.1:{port}", "web:app", given="service.instance.id=pod-7") as process:
        assert process.stdout is not None
        workers = [process.stdout.readline().strip() for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert sink.calls == {f"pod-7/{worker}": 4 for worker in workers}
