"""What the agent takes on one core, beside a Collector that does nothing but receive: both in one run, in turns.

    python bench/collector.py [--rounds 5] [--spans 200000] [--json FILE]

Both Collectors are the one of `make collector`, on the first core of this machine alone (GOMAXPROCS=1). `plain` is
otlp -> debug; the agent is otel-collector.yaml as it is: memory limit, resource detection, redaction, a queue on disk,
and OTLP to a backend, which throws away what it gets. Backend and sender share the other cores. Spans are sent as OTLP
over HTTP by four connections, in requests of 512 that were encoded before; a request that is refused is sent again. A
round ends when the backend has every span.

    plain     dbvitals' own spans to the plain Collector
    agent     the same spans to the agent
    literals  to the agent, with a literal in each text, as other instrumentations send them: all texts are rewritten

A figure is the median over the rounds, and its quartiles; ratios are those of each round's figures. CPU time is the
Collector's own, by the kernel's count: it does not depend on whether the sender is fast enough. Where the Collector's
core was not busy, the sender was the limit, and the spans/s are a lower bound.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from dbvitals.stack.binaries import COLLECTOR, find
from dbvitals.stack.processes import Process, free_ports
from dbvitals_instrumentation import semconv

ROOT = Path(__file__).parent.parent
REQUEST = 512
CONNECTIONS = 4
SENDERS = ("plain", "agent", "literals")
PINNED = "import os, sys; os.sched_setaffinity(0, eval(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
RECEIVE = """
extensions: {{health_check: {{endpoint: "127.0.0.1:{health}"}}}}
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{grpc}"}}, http: {{endpoint: "127.0.0.1:{http}"}}}}}}}}
exporters: {{{exporter}: {{}}}}
service:
  extensions: [health_check]
  pipelines: {{traces: {{receivers: [otlp], exporters: [{exporter}]}}}}
  telemetry:
    logs: {{level: warn}}
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {telemetry}}}}}}}}}]}}
"""
CLEAN = "SELECT orders.id, orders.total FROM orders WHERE orders.customer = ? AND orders.total > ? ORDER BY orders.id"
LITERAL = CLEAN.replace("?", "'c-{n}'", 1).replace("?", "{n}.5")


@dataclass(frozen=True)
class Round:
    """One contestant, once."""

    spans_per_second: float
    cpu: float  # microseconds a span
    busy: float  # of its core


class Pinned:
    """A Collector on certain cores."""

    def __init__(self, folder: Path, configuration: Path | str, cores: set[int], **environment: str) -> None:
        folder.mkdir()
        names = ("grpc", "http", "prometheus", "telemetry", "health")
        self.ports = dict(zip(names, free_ports(5), strict=True))
        if isinstance(configuration, str):
            path = folder / "collector.yaml"
            path.write_text(RECEIVE.format(exporter=configuration, **self.ports))
        else:
            path = configuration
        variables = {f"DBVITALS_COLLECTOR_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        program = find(COLLECTOR, ROOT / "stack" / "builder.yaml")
        if program is None:
            sys.exit(f"bench/collector.py: no Collector here: {COLLECTOR.install}")
        self.process = Process(
            "Collector",
            [sys.executable, "-c", PINNED, repr(cores), program, f"--config={path}"],
            ready=f"http://127.0.0.1:{self.ports['health']}/",
            log=folder / "log",
            environment={**variables, "DBVITALS_COLLECTOR_STORAGE": str(folder / "queue"), **environment},
        )

    def received(self) -> int:
        """Spans that have come in."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['telemetry']}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            int(float(line.split()[-1])) for line in lines if line.startswith("otelcol_receiver_accepted_spans{")
        )

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def attributes(text: str, n: int) -> Iterator[KeyValue]:
    """Those of a query's span."""
    words = {
        semconv.DB_SYSTEM_NAME: "postgresql",
        semconv.DB_NAMESPACE: "shop|public",
        semconv.DB_QUERY_SUMMARY: "SELECT orders",
        semconv.DB_OPERATION_NAME: "SELECT",
        semconv.DB_COLLECTION_NAME: "orders",
        semconv.DB_QUERY_TEXT: text.format(n=n),
        semconv.SERVER_ADDRESS: "db.internal",
        semconv.FINGERPRINT: f"{n % 200:016x}",
        semconv.CODE_FUNCTION_NAME: "Pages.list_orders",
        semconv.CODE_FILE_PATH: "shop/pages.py",
    }
    for key, value in words.items():
        yield KeyValue(key=key, value=AnyValue(string_value=value))
    yield KeyValue(key=semconv.CODE_LINE_NUMBER, value=AnyValue(int_value=n % 300))
    yield KeyValue(key=semconv.DB_RESPONSE_RETURNED_ROWS, value=AnyValue(int_value=n % 50))


def encoded(text: str, scope: str) -> bytes:
    """A request with :data:`REQUEST` spans."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    for key, value in ((semconv.SERVICE_NAME, "shop"), (semconv.SERVICE_INSTANCE_ID, "one")):
        resource.resource.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    spans = resource.scope_spans.add()
    spans.scope.name = scope
    now = time.time_ns()
    for n in range(REQUEST):
        spans.spans.add(
            trace_id=os.urandom(16),
            span_id=os.urandom(8),
            parent_span_id=os.urandom(8),
            name="SELECT orders",
            kind=3,
            start_time_unix_nano=now,
            end_time_unix_nano=now + 2_000_000,
            attributes=attributes(text, n),
        )
    return request.SerializeToString()


def send(port: int, body: bytes, times: int) -> None:
    """Send a request so often, by several connections; again where it is refused."""
    left = iter(range(times))
    lock = threading.Lock()

    def one_connection() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                if next(left, None) is None:
                    break
            while True:
                connection.request("POST", "/v1/traces", body, {"Content-Type": "application/x-protobuf"})
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    break
                time.sleep(0.05)
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for sender in [threads.submit(one_connection) for _ in range(CONNECTIONS)]:
            sender.result()


def compete(name: str, folder: Path, body: bytes, times: int, cores: set[int]) -> Round:
    """One contestant: fresh Collectors, some requests to warm up, then the measured ones."""
    with ExitStack() as stack:
        if name == "plain":
            tested = last = Pinned(folder / "plain", "debug", {min(cores)}, GOMAXPROCS="1")
        else:
            last = Pinned(folder / "backend", "nop", cores - {min(cores)})
            endpoint = f"127.0.0.1:{last.ports['grpc']}"
            tested = Pinned(
                folder / "agent",
                ROOT / "otel-collector.yaml",
                {min(cores)},
                GOMAXPROCS="1",
                DBVITALS_TRACES_ENDPOINT=endpoint,
            )
            stack.enter_context(last.process)
        stack.enter_context(tested.process)
        warm = times // 10
        send(tested.ports["http"], body, warm)
        wait(last, warm * REQUEST)
        cpu, start = tested.cpu(), time.monotonic()
        send(tested.ports["http"], body, times)
        wait(last, (warm + times) * REQUEST)
        seconds, used = time.monotonic() - start, tested.cpu() - cpu
        assert last.received() == (warm + times) * REQUEST
    spans = times * REQUEST
    return Round(spans / seconds, used / spans * 1e6, used / seconds)


def wait(last: Pinned, spans: int) -> None:
    """Until so many have arrived; a minute at most."""
    deadline = time.monotonic() + 60
    while last.received() < spans:
        if time.monotonic() > deadline:
            sys.exit(f"bench/collector.py: {last.received()} of {spans} spans arrived")
        time.sleep(0.02)


def spread(values: list[float], form: str) -> str:
    """A median and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        sys.exit("bench/collector.py: needs two cores, one for the Collector and one for the rest")
    os.sched_setaffinity(0, cores - {min(cores)})
    clean, dirty = encoded(CLEAN, semconv.SCOPE), encoded(LITERAL, "other")
    rounds: dict[str, list[Round]] = {name: [] for name in SENDERS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for name in SENDERS:
                body = dirty if name == "literals" else clean
                place = Path(folder) / f"{number}-{name}"
                place.mkdir()
                rounds[name].append(compete(name, place, body, options.spans // REQUEST, cores))
    print(f"| {'':8} | spans/s on one core | CPU µs a span | of plain's | core busy |\n| --- | --- | --- | --- | --- |")
    for name, found in rounds.items():
        ratios = [one.cpu / plain.cpu for one, plain in zip(found, rounds["plain"], strict=True)]
        print(
            f"| {name:8} | {spread([one.spans_per_second for one in found], ',.0f')} "
            f"| {spread([one.cpu for one in found], '.1f')} | {spread(ratios, '.2f')} "
            f"| {statistics.median(one.busy for one in found):.0%} |"
        )
    if options.json:
        options.json.write_text(json.dumps({name: [vars(one) for one in found] for name, found in rounds.items()}))


if __name__ == "__main__":
    main()
