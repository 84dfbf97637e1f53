"""Every process that measures has an id of its own, whoever made its resource and however it was started."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

PRELUDE = """
    import json, os, sys
    import sqlalchemy as sa
    from opentelemetry import _logs, metrics, trace
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    import dbvitals
    from dbvitals_instrumentation import guard, semconv

    class Providers:
        def __init__(self, resource=None):
            self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
            resource = resource or Resource.create()
            self.tracers = TracerProvider(resource=resource)
            self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
            self.tracer = self.tracers.get_tracer("app")  # before anything is known of processes
            self.meters = MeterProvider([self.reader], resource=resource)
            self.logs = LoggerProvider(resource=resource)

        def make_global(self):
            trace.set_tracer_provider(self.tracers)
            metrics.set_meter_provider(self.meters)
            _logs.set_logger_provider(self.logs)
            return self

    def tell(providers, **more):
        \"\"\"Print the ids of everything that this process exports.\"\"\"
        providers.exporter.clear()
        engine = sa.create_engine("sqlite://")
        with providers.tracer.start_as_current_span("request"), engine.connect() as connection:
            connection.execute(sa.text("SELECT 42")).all()
        engine.dispose()
        resources = [span.resource for span in providers.exporter.get_finished_spans()]
        resources += [each.resource for each in providers.reader.get_metrics_data().resource_metrics]
        resources.append(providers.logs.resource)
        ids = [str(resource.attributes.get(semconv.SERVICE_INSTANCE_ID)) for resource in resources]
        names = {str(resource.attributes[semconv.SERVICE_NAME]) for resource in resources}
        told = {"pid": os.getpid(), "ids": ids, "names": sorted(names), "faults": guard.faults(), **more}
        print(json.dumps(told), flush=True)

    def in_a_child(work):
        child = os.fork()
        if child == 0:
            work()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
"""
GIVEN = "service.name=shop,service.instance.id=pod-7"


def told(output: str) -> list[dict[str, Any]]:
    """What each process printed, its one id as ``id``."""
    processes = [json.loads(line) for line in output.splitlines()]
    for process in processes:
        assert len(process["ids"]) >= 5  # spans of ours and the application's, metrics, logs
        (process["id"],) = set(process["ids"])
        assert process["names"] == ["shop"]
        assert process["faults"] == {}
    return processes


def test_a_given_id_has_the_number_of_each_forked_process_behind_it(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    providers = Providers().make_global()
    dbvitals.instrument()
    tell(providers)
    in_a_child(lambda: (tell(providers), in_a_child(lambda: tell(providers))))
    in_a_child(lambda: tell(providers))
    tell(providers)
    """,
        OTEL_RESOURCE_ATTRIBUTES=GIVEN,
    )
    parent, *children, again = told(output)
    assert parent["id"] == again["id"] == "pod-7"
    assert [child["id"] for child in children] == [f"pod-7/{child['pid']}" for child in children]
    assert len({child["id"] for child in children}) == 3


def test_where_none_is_given_each_process_makes_one(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    providers = Providers().make_global()
    dbvitals.instrument(tracer_provider=providers.tracers, meter_provider=providers.meters)
    tell(providers)
    in_a_child(lambda: (tell(providers), in_a_child(lambda: tell(providers))))
    in_a_child(lambda: tell(providers))
    tell(providers)
    """,
        OTEL_RESOURCE_ATTRIBUTES="service.name=shop",
    )
    parent, *children, again = told(output)
    assert parent["id"] == again["id"]
    ids = {process["id"] for process in (parent, *children)}
    assert len(ids) == 4
    assert all(UUID(one).version == 4 for one in ids)


@pytest.mark.parametrize("before", ["dbvitals.instrument()", ""])
def test_providers_that_are_made_in_a_forked_process_name_it(before: str, run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + f"""
    {before}

    def work():
        providers = Providers().make_global()
        dbvitals.instrument()
        tell(providers)

    in_a_child(work)
    in_a_child(work)
    """,
        OTEL_RESOURCE_ATTRIBUTES=GIVEN,
    )
    children = told(output)
    assert [child["id"] for child in children] == [f"pod-7/{child['pid']}" for child in children]


def test_a_spawned_process_is_named_like_a_forked_one(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import multiprocessing

    def work():
        providers = Providers()
        _logs.set_logger_provider(providers.logs)
        dbvitals.instrument(tracer_provider=providers.tracers, meter_provider=providers.meters)
        tell(providers)

    if __name__ == "__main__":
        work()
        for _ in range(2):
            child = multiprocessing.get_context("spawn").Process(target=work)
            child.start()
            child.join()
            assert child.exitcode == 0
    """,
        OTEL_RESOURCE_ATTRIBUTES=GIVEN,
    )
    parent, *children = told(output)
    assert parent["id"] == "pod-7"
    assert [child["id"] for child in children] == [f"pod-7/{child['pid']}" for child in children]
    assert len(children) == 2


def test_what_is_not_the_sdks_or_is_everybodys_is_left_alone(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    class Foreign(trace.NoOpTracerProvider):
        _resource = "its own"

    foreign, empty = Foreign(), TracerProvider(resource=Resource.get_empty())
    dbvitals.instrument(tracer_provider=foreign, meter_provider=metrics.NoOpMeterProvider())
    dbvitals.identity.adopt(empty, None, object())
    in_a_child(lambda: print(foreign._resource, dict(Resource.get_empty().attributes), guard.faults(), flush=True))
    """
    )
    assert output == "its own {} {}\n"


def test_an_sdk_that_is_made_otherwise_is_a_fault_and_not_an_error(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import logging
    logging.getLogger("dbvitals").addHandler(logging.NullHandler())
    logging.getLogger("dbvitals").propagate = False
    tracers, meters = TracerProvider(), MeterProvider()
    del tracers._resource
    dbvitals.instrument(tracer_provider=tracers, meter_provider=meters)
    print(guard.faults())
    """
    )
    assert output == "{'identity.adopt': 1}\n"
