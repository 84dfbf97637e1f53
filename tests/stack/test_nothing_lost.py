"""What arrives is what was sent, whichever part of the pipeline is killed meanwhile."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from collectors import Collector, Sink, soon
from fleet import send, total
from load import Load
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prom import Prometheus

from dbvitals.stack.binaries import PROMETHEUS, all_of
from dbvitals.stack.processes import Process, free_ports

QUEUED = "otelcol_exporter_queue_size"
REQUESTS = "load_requests_total"
DURATIONS = "load_duration_seconds_count"
SPAN_ID = re.compile(rb'"spanId":"(\w+)"')
FLOODS = 70
LIMIT = 100
SLACK = 100
"""Megabytes: the limiter looks four times a second, and what is being worked on comes on top of what it counts."""


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with Sink(tmp_path / "sink") as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, sink: Sink) -> Iterator[Collector]:
    with Collector(tmp_path / "agent", DBVITALS_TRACES_ENDPOINT=f"127.0.0.1:{sink.grpc}") as running:
        yield running


def arrive(load: Load, sink: Sink) -> Counter[str]:
    """How often each span is at the backend, when all of them are."""
    soon(lambda: load.spans <= {span["spanId"] for span in sink.spans()}, f"{len(load.spans)} spans at the backend")
    return Counter(span["spanId"] for span in sink.spans())


def scraped(agent: Collector, metric: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{metric}{{.*}} (\S+)$", agent.scrape(openmetrics=False), re.M))


def test_spans_survive_the_backend(agent: Collector, sink: Sink) -> None:
    with Load(agent) as load:
        load.more(1000)
        sink.process.kill()
        load.more(3000)
        assert total(agent, QUEUED) > 0
        sink.process.start()
        load.more(1000)
        load.finish()
        arrived = arrive(load, sink)
    assert arrived.keys() == load.spans


def test_spans_and_totals_survive_the_agent_and_the_backend_together(agent: Collector, sink: Sink) -> None:
    with Load(agent) as load:
        load.more(1000)
        sink.process.kill()
        load.more(1000)
        assert total(agent, QUEUED) > 0
        agent.process.kill()
        load.more(2000)
        agent.process.start()
        sink.process.start()
        load.more(1000)
        load.finish()
        arrived = arrive(load, sink)
        assert load.exporter.lost == 0
    assert arrived.keys() == load.spans
    assert scraped(agent, REQUESTS) == scraped(agent, DURATIONS) == len(load.spans)


def test_totals_survive_prometheus(agent: Collector, tmp_path: Path) -> None:
    port = free_ports(1)[0]
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(
        "scrape_configs: [{job_name: dbvitals, scrape_interval: 250ms, scrape_timeout: 250ms, honor_labels: true,"
        f' static_configs: [{{targets: ["127.0.0.1:{agent.prometheus}"]}}]}}]'
    )
    server = Process(
        "Prometheus",
        [
            all_of([PROMETHEUS])[PROMETHEUS],
            f"--config.file={configuration}",
            f"--storage.tsdb.path={tmp_path / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        ready=f"http://127.0.0.1:{port}/-/ready",
        log=tmp_path / "prometheus.log",
    )
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    with server, Load(agent) as load:
        soon(lambda: prometheus.value(REQUESTS), "it is scraped")
        server.kill()
        load.more(2000)
        server.start()
        load.more(1000)
        load.finish()
        for metric in (REQUESTS, DURATIONS):
            soon(lambda metric=metric: prometheus.value(metric) == len(load.spans), metric)  # type: ignore[misc]
        assert prometheus.value(f"resets({REQUESTS}[5m])") == 0


def test_an_agent_whose_backend_is_away_stays_within_its_memory(tmp_path: Path, sink: Sink) -> None:
    sink.process.kill()
    sent = [flood(number) for number in range(FLOODS)]
    environment = {"DBVITALS_TRACES_ENDPOINT": f"127.0.0.1:{sink.grpc}", "DBVITALS_MEMORY_LIMIT_MIB": LIMIT}
    with Collector(tmp_path / "agent", **environment) as agent:
        most = 0.0
        with ThreadPoolExecutor(4) as senders:
            pending = [senders.submit(send, agent, "flood", spans) for spans in sent]
            while not all(one.done() for one in pending):
                most = max(most, memory(agent))
                time.sleep(0.02)
        for one in pending:
            one.result()
        assert total(agent, QUEUED) > LIMIT * 1_000_000  # more than it may hold
        assert most < LIMIT + SLACK
        sink.process.start()
        wanted = {span.span_id.hex().encode() for spans in sent for span in spans}
        soon(
            lambda: sink.file.exists() and wanted == set(SPAN_ID.findall(sink.file.read_bytes())),
            "all of it is at the backend",
        )


def flood(number: int) -> list[Span]:
    """Two megabytes of spans."""
    random = Random(number)
    text = AnyValue(string_value=random.randbytes(10_000).hex())
    return [
        Span(
            trace_id=random.randbytes(16),
            span_id=random.randbytes(8),
            name="flood",
            attributes=[KeyValue(key="text", value=text)],
        )
        for _ in range(100)
    ]


def memory(agent: Collector) -> float:
    """Megabytes of the process that are not a file's pages, which the system may take back."""
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)
    assert found
    return int(found[1]) / 1000
