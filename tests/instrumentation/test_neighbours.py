"""Beside other vendors' tracers, in either order: each has its spans, the application its results, nobody complains."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

ORDERS = pytest.mark.parametrize("first", ["neighbour", "dbvitals"])

WORK = """
    import contextlib, json, sys
    from dbvitals import testing
    from dbvitals_instrumentation import guard, semconv

    results = {}
    with contextlib.ExitStack() as stack:
        if sys.argv[1] == "neighbour":
            switch_on()
        seen = stack.enter_context(testing.observe())
        if sys.argv[1] != "neighbour":
            switch_on()
        import sqlalchemy as sa

        engine = sa.create_engine("sqlite://", future=True)
        with transaction(), engine.connect() as connection:
            connection.execute(sa.text("CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT)"))
            insert = sa.text("INSERT INTO person VALUES (:id, :name)")
            connection.execute(insert, [{"id": n, "name": f"name {n}"} for n in range(3)])
            rows = connection.execute(sa.text("SELECT name FROM person WHERE id > 0"))
            results["rows"] = [tuple(row) for row in rows]
            streamed = connection.execution_options(yield_per=1).execute(sa.text("SELECT id FROM person"))
            results["streamed"] = [row.id for row in streamed]
            try:
                connection.execute(sa.text("SELECT missing FROM person"))
            except sa.exc.OperationalError:
                results["error"] = True
        engine.dispose()
        results["ours"] = [span.name for span in seen.spans()]
        results["measured"] = sum(point.count for point in seen.points(semconv.OPERATION_DURATION))
        results["faults"] = guard.faults()
    results["theirs"] = theirs()
    print(json.dumps(results))
"""

SENTRY = """
    import sentry_sdk
    from sentry_sdk.integrations.sqlalchemy import SqlalchemyIntegration
    from sentry_sdk.transport import Transport

    sent = []

    class Dropping(Transport):
        def capture_envelope(self, envelope):
            transactions = [item for item in envelope.items if item.type == "transaction"]
            sent.extend(span["description"] for item in transactions for span in item.payload.json["spans"])

    def switch_on():
        sentry_sdk.init(
            dsn="https://key@localhost/1",
            transport=Dropping,
            traces_sample_rate=1.0,
            integrations=[SqlalchemyIntegration()],
            default_integrations=False,
            auto_enabling_integrations=False,
        )

    def transaction():
        return sentry_sdk.start_transaction(name="request")

    def theirs():
        sentry_sdk.flush()
        return sent
"""

DDTRACE = """
    import contextlib
    import ddtrace
    from ddtrace.trace import TraceFilter, tracer

    sent = []

    class Dropping(TraceFilter):
        def process_trace(self, trace):
            sent.extend(span.resource for span in trace if span.name == "sqlite.query")
            return None

    tracer.configure(trace_processors=[Dropping()])

    def switch_on():
        ddtrace.patch(sqlalchemy=True)

    def transaction():
        return contextlib.nullcontext()

    def theirs():
        return sent
"""
ALONE = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_CRASHTRACKING_ENABLED": "false",
    "DD_TRACE_STARTUP_LOGS": "false",
    "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",  # nobody listens there
}

OURS = ["CREATE TABLE person", "BATCH INSERT person", "SELECT person", "SELECT person", "SELECT person"]


def check(results: Any) -> None:
    """What must be so beside anybody."""
    assert results["rows"] == [["name 1"], ["name 2"]]
    assert results["streamed"] == [0, 1, 2]
    assert results["error"] is True
    assert results["ours"] == OURS
    assert results["measured"] == len(OURS)
    assert results["faults"] == {}
    assert len(results["theirs"]) == len(OURS)
    assert results["theirs"][2] == "SELECT name FROM person WHERE id > 0"


@ORDERS
def test_sentry_and_dbvitals_each_have_every_query(first: str, run_script: Callable[..., str]) -> None:
    check(json.loads(run_script(SENTRY + WORK, first)))


@ORDERS
def test_ddtrace_and_dbvitals_each_have_every_query(first: str, run_script: Callable[..., str]) -> None:
    check(json.loads(run_script(DDTRACE + WORK, first, **ALONE)))
