"""A fleet: two agents, two gateways and a backend at once, each a real Collector."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from collectors import AGENT, program, soon
from fleet import DECIDED, FLAGS, GATEWAY, TO_GATEWAYS, Fleet, Trace, errors, total, traces

PERCENT = 10
PLAIN = ("ordinary", "told not to be")
KEPT = [one for kind in FLAGS if kind not in PLAIN for one in traces(kind, 20)]
REST = [one for kind in PLAIN for one in traces(kind, 200)]
RECEIVED = "otelcol_receiver_accepted_spans"
EXEMPLAR = re.compile(r'# \{[^}]*trace_id="([0-9a-f]{32})"')


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with Fleet(folder, DBVITALS_DECISION_WAIT="2s", DBVITALS_SAMPLE_PERCENT=PERCENT) as running:
        yield running


@pytest.fixture(scope="module")
def kept(fleet: Fleet) -> set[str]:
    """The ids of the traces that are at the backend, when all have been decided on."""
    return fleet.decide([*KEPT, *REST])


def ids(sent: Sequence[Trace]) -> set[str]:
    return {one.id.hex() for one in sent}


@pytest.mark.parametrize("files", [[GATEWAY], [AGENT, TO_GATEWAYS]], ids=["gateway", "agent"])
def test_the_files_are_valid_as_they_are(files: list[Path]) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DBVITALS_")}
    command = [program(), "validate", *(f"--config={file}" for file in files)]
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("kind", [kind for kind in FLAGS if kind not in PLAIN])
def test_every_trace_with_such_a_span_is_kept(kind: str, kept: set[str]) -> None:
    assert ids(traces(kind, 20)) <= kept


def test_of_the_rest_a_share_is_kept(kept: set[str]) -> None:
    expected = len(REST) * PERCENT / 100
    assert abs(len(ids(REST) & kept) - expected) < 4 * math.sqrt(expected)


def test_what_is_kept_is_whole_and_there_once(fleet: Fleet, kept: set[str]) -> None:
    sent = {one.id.hex(): dict.fromkeys(one.spans, 1) for one in [*KEPT, *REST]}
    arrived = fleet.arrived("first")
    assert arrived == {trace: sent[trace] for trace in kept}


def test_both_gateways_have_a_share_of_the_work(fleet: Fleet, kept: set[str]) -> None:
    assert min(total(gateway, DECIDED) for gateway in fleet.gateways) > 0.3 * (len(KEPT) + len(REST))


def test_late_spans_are_kept_with_a_kept_trace_and_else_if_they_are_remarkable(fleet: Fleet, kept: set[str]) -> None:
    dropped = [one for one in REST if one.id.hex() not in kept]
    # A gateway remembers the trace that it dropped last, and no other: not one of those.
    fleet.decide([Trace("last", number, "ordinary", "last") for number in range(40)])
    ordinary = [one.more("late") for one in dropped[:100]]
    remarkable = [one.more("late", "error") for one in dropped[100:150]]
    followers = [one.more("late", "ordinary") for one in KEPT]
    before = fleet.total(DECIDED)
    fleet.send([*ordinary, *remarkable, *followers])
    fleet.wait([*remarkable, *followers])
    again = len(ordinary) + len(remarkable)
    soon(lambda: fleet.total(DECIDED) - before >= again, "all that is late has been judged")
    assert set(fleet.arrived("late")) == ids([*remarkable, *followers])


def test_the_decision_does_not_depend_on_the_agent_nor_the_gateway(fleet: Fleet, kept: set[str]) -> None:
    for gateway in fleet.gateways:  # forget all decisions
        gateway.process.stop()
    fleet.list(fleet.gateways[0])
    fleet.gateways[0].process.start()
    again = fleet.decide([one.more("again") for one in REST], swapped=True)
    fleet.gateways[1].process.start()
    fleet.list(*fleet.gateways)
    assert again == ids(REST) & kept


@pytest.mark.parametrize("farewell", [True, False], ids=["stopped", "killed"])
def test_a_gateway_that_leaves_takes_nothing_with_it_that_was_not_in_its_memory(fleet: Fleet, farewell: bool) -> None:
    leaving, staying = fleet.gateways
    held, waiting, later, back = (errors(100, f"{name} {farewell}") for name in ("held", "waiting", "later", "back"))
    before = fleet.total(RECEIVED)
    fleet.send(held)
    soon(lambda: fleet.total(RECEIVED) >= before + 4 * len(held), "the gateways have them, undecided")

    leaving.process.stop() if farewell else leaving.process.kill()
    fleet.send(waiting)  # the part of the one that is gone waits on the agents' disks
    fleet.agents[0].process.kill()
    fleet.agents[0].process.start()
    fleet.list(staying)
    fleet.wait(waiting)
    fleet.send(later)
    fleet.wait(later)

    leaving.process.start()
    fleet.list(*fleet.gateways)
    fleet.send(back)
    fleet.wait(back)
    assert total(leaving, RECEIVED) > 0.25 * 4 * len(back)
    if farewell:  # has decided at once, and sent or written down what it kept
        fleet.wait(held)
    else:  # undecided traces die with it; what the other one had is whole
        assert all(len(spans) == 4 for spans in fleet.arrived(held[0].name).values())


def test_spans_for_a_gateway_that_is_away_wait_until_it_is_back(fleet: Fleet) -> None:
    sent = errors(100, "away")
    fleet.gateways[0].process.kill()
    fleet.send(sent)
    soon(lambda: 0 < len(fleet.arrived("away")) < len(sent), "the other gateway's traces are at the backend")
    fleet.gateways[0].process.start()
    fleet.wait(sent)


def test_every_exemplar_points_to_a_trace_that_is_kept(fleet: Fleet) -> None:
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": fleet.agents[0].endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "100",
        "OTEL_SERVICE_NAME": "shop",
    }
    service = [sys.executable, Path(__file__).with_name("exemplars.py")]
    subprocess.run([sys.executable, "-m", "dbvitals", "run", "--", *service], env=environment, check=True)
    exemplars = set(EXEMPLAR.findall(fleet.agents[0].scrape()))
    assert len(exemplars) > 1
    soon(lambda: exemplars <= {span["traceId"] for span in fleet.sink.spans()}, "their traces are at the backend")
