"""Two agents, two gateways and a traces backend, all real Collectors; and traces that are known in advance."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from collectors import AGENT, ROOT, Collector, Sink, soon
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from dbvitals_instrumentation import semconv

GATEWAY = ROOT / "stack" / "gateway.yaml"
TO_GATEWAYS = ROOT / "stack" / "agent-to-gateways.yaml"
DECIDED = "otelcol_processor_tail_sampling_global_count_traces_sampled"
BACKENDS = "otelcol_loadbalancer_num_backends"

FLAGS: dict[str, dict[str, AnyValue]] = {
    "ordinary": {},
    "error": {semconv.ERROR_TYPE: AnyValue(string_value="OperationalError")},
    "slow": {semconv.SLOW: AnyValue(bool_value=True)},
    "n-plus-one": {semconv.N_PLUS_ONE: AnyValue(bool_value=True)},
    "exemplar": {semconv.EXEMPLAR: AnyValue(bool_value=True)},
    "hinted": {
        semconv.INDEX_HINT_IDS: AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="eebb17eeed3a")]))
    },
    "told not to be": {
        semconv.SLOW: AnyValue(bool_value=False),
        semconv.N_PLUS_ONE: AnyValue(bool_value=False),
        semconv.EXEMPLAR: AnyValue(bool_value=False),
        semconv.INDEX_HINT_IDS: AnyValue(array_value=ArrayValue()),
    },
}
"""What the one remarkable span of a trace has, by the trace's kind."""


@dataclass(frozen=True)
class Trace:
    """Four spans of one trace, two of each service. Ids follow from the group and the number: the same in each run."""

    group: str
    number: int
    kind: str
    name: str = "first"
    everywhere: bool = False

    @property
    def id(self) -> bytes:
        return sha256(f"{self.group} {self.number}".encode()).digest()[:16]

    def span_id(self, position: int) -> bytes:
        return sha256(f"{self.group} {self.number} {self.name} {position}".encode()).digest()[:8]

    @property
    def spans(self) -> set[str]:
        return {self.span_id(position).hex() for position in range(4)}

    def half(self, service: int) -> list[Span]:
        """What one of the services saw. The remarkable span is the other service's in every other trace."""
        return [self._span(position) for position in range(4) if position % 2 == service]

    def more(self, name: str, kind: str | None = None) -> Trace:
        """Further spans of the same trace, perhaps of another kind."""
        return replace(self, name=name, kind=kind or self.kind)

    def _span(self, position: int) -> Span:
        now = time.time_ns()
        remarkable = self.everywhere or position == 2 + self.number % 2
        flags = FLAGS[self.kind] if remarkable else {}
        return Span(
            trace_id=self.id,
            span_id=self.span_id(position),
            parent_span_id=self.span_id(0) if position else b"",
            name=self.name,
            start_time_unix_nano=now - 1_000_000,
            end_time_unix_nano=now,
            attributes=[KeyValue(key=key, value=value) for key, value in flags.items()],
            status=Status(code=Status.STATUS_CODE_ERROR) if semconv.ERROR_TYPE in flags else Status(),
        )


def traces(kind: str, number: int) -> list[Trace]:
    """So many of a kind."""
    return [Trace(kind, index, kind) for index in range(number)]


def errors(number: int, name: str) -> list[Trace]:
    """So many that are kept even in parts."""
    return [Trace(name, index, "error", name, everywhere=True) for index in range(number)]


def send(agent: Collector, service: str, spans: Iterable[Span]) -> None:
    """Over OTLP, as a service does: again until the agent has it."""
    resource = Resource(attributes=[KeyValue(key=semconv.SERVICE_NAME, value=AnyValue(string_value=service))])
    body = ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])]
    ).SerializeToString()
    request = urllib.request.Request(
        f"{agent.endpoint}/v1/traces", body, {"Content-Type": "application/x-protobuf"}, method="POST"
    )

    def attempt() -> bool:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    soon(attempt, f"{service} is heard")


class Fleet:
    """All of them, running."""

    def __init__(self, folder: Path, **environment: str | int) -> None:
        self.sink = Sink(folder / "sink")
        self._list = folder / "gateways.yaml"
        self.gateways = [
            Collector(
                folder / f"gateway-{number}",
                [GATEWAY],
                DBVITALS_TRACES_ENDPOINT=f"127.0.0.1:{self.sink.grpc}",
                **environment,
            )
            for number in range(2)
        ]
        self.agents = [
            Collector(folder / f"agent-{number}", [AGENT, TO_GATEWAYS], DBVITALS_GATEWAYS=f"${{file:{self._list}}}")
            for number in range(2)
        ]
        self._write(self.gateways)

    def __enter__(self) -> Fleet:
        # An agent that finds a gateway away sends the others' parts of a batch again: so the gateways come first.
        with ThreadPoolExecutor() as pool:
            for together in ([self.sink], self.gateways, self.agents):
                list(pool.map(lambda one: one.process.start(), together))
        return self

    def __exit__(self, *_error: object) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda one: one.process.stop(), self._all()))

    def _all(self) -> list[Collector]:
        return [self.sink, *self.gateways, *self.agents]

    def _write(self, gateways: Sequence[Collector]) -> None:
        self._list.write_text(json.dumps([f"127.0.0.1:{gateway.grpc}" for gateway in gateways]))

    def list(self, *gateways: Collector) -> None:
        """Tell the agents which gateways there are."""
        self._write(gateways)
        for agent in self.agents:
            os.kill(agent.process.pid, signal.SIGHUP)
        for agent in self.agents:
            soon(lambda agent=agent: total(agent, BACKENDS) == len(gateways), "the agent has the new list")  # type: ignore[misc]

    def send(self, sent: Sequence[Trace], *, swapped: bool = False, size: int = 50) -> None:
        """Each trace by both agents: its first service beside the one, its second beside the other."""
        agents = self.agents[::-1] if swapped else self.agents
        for start in range(0, len(sent), size):
            for number, (agent, service) in enumerate(zip(agents, ("front", "back"), strict=True)):
                send(agent, service, [span for one in sent[start : start + size] for span in one.half(number)])

    def arrived(self, name: str) -> dict[str, Counter[str]]:
        """How often each span with this name is at the backend, by trace."""
        found: dict[str, Counter[str]] = {}
        for span in self.sink.spans():
            if span["name"] == name:
                found.setdefault(span["traceId"], Counter())[span["spanId"]] += 1
        return found

    def wait(self, sent: Sequence[Trace], patience: float = 30.0) -> None:
        """Until every span of these traces is at the backend."""
        wanted = {one.id.hex(): one.spans for one in sent}
        name = sent[0].name

        def whole() -> bool:
            found = self.arrived(name)
            return all(found.get(trace, Counter()).keys() >= spans for trace, spans in wanted.items())

        soon(whole, f"all spans of {len(wanted)} traces are at the backend", patience)

    def total(self, name: str, **labels: str) -> float:
        """A metric of the gateways' own, summed."""
        return sum(total(gateway, name, **labels) for gateway in self.gateways)

    def decide(self, sent: Sequence[Trace], *, swapped: bool = False) -> set[str]:
        """Send these; the ids of those that were kept, once all are decided on and those are at the backend."""
        decided, kept = self.total(DECIDED), self.total(DECIDED, sampled="true")
        self.send(sent, swapped=swapped)
        soon(lambda: self.total(DECIDED) - decided >= len(sent), "all are decided on")
        kept = self.total(DECIDED, sampled="true") - kept
        name = sent[0].name
        soon(lambda: sum(map(len, self.arrived(name).values())) >= kept * 4, "what was kept is at the backend")
        return set(self.arrived(name))


def total(collector: Collector, name: str, **labels: str) -> float:
    """A metric of the Collector's own, summed over its series; 0 while it does not answer."""
    try:
        text = collector.own_metrics()
    except OSError:
        return 0.0
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if re.match(rf"{name}[ {{]", line) and all(f'{label}="{value}"' in line for label, value in labels.items())
    )
