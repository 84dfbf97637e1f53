"""The agent, otel-collector.yaml as it is, in a real Collector that real exporters send to."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from collectors import AGENT, Collector, Sink, program, soon
from exposition import Sample, samples
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as OverGrpc
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode, Tracer

import dbvitals
from dbvitals.stack import names
from dbvitals_instrumentation import semconv

NEVER = 1e9
DELTA = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with Sink(tmp_path_factory.mktemp("sink")) as backend:
        assert isinstance(backend, Sink)
        yield backend


@pytest.fixture(scope="module")
def agent(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    folder = tmp_path_factory.mktemp("agent")
    with Collector(folder, DBVITALS_TRACES_ENDPOINT=f"127.0.0.1:{sink.grpc}") as collector:
        yield collector
        assert "error" not in (folder / "log").read_text(), "each test's points and spans are good ones"


def resource(service: str, instance: str | None = "one", **more: str) -> Resource:
    given = {semconv.SERVICE_NAME: service, **{key.replace("_", "."): value for key, value in more.items()}}
    return Resource({**given, **({semconv.SERVICE_INSTANCE_ID: instance} if instance is not None else {})})


@contextmanager
def meters(
    agent: Collector, about: Resource, *, delta: bool = False, views: tuple[View, ...] = ()
) -> Iterator[MeterProvider]:
    """A process's meters; ``force_flush`` exports."""
    exporter = OTLPMetricExporter(f"{agent.endpoint}/v1/metrics", preferred_temporality=DELTA if delta else {})
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=NEVER)
    provider = MeterProvider([reader], about, views=views, shutdown_on_exit=False)
    yield provider
    provider.shutdown()


@contextmanager
def tracer(agent: Collector, about: Resource, scope: str = "other") -> Iterator[Tracer]:
    provider = TracerProvider(resource=about, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{agent.endpoint}/v1/traces")))
    yield provider.get_tracer(scope)
    provider.shutdown()


def of(agent: Collector, service: str, name: str | None = None) -> list[Sample]:
    """The samples of one service."""
    return [sample for sample in samples(agent.scrape(), name) if sample.labels.get("job") == service]


def spans_of(sink: Sink, service: str, number: int) -> list[dict[str, Any]]:
    def look() -> list[dict[str, Any]]:
        found = [span for span in sink.spans() if span["resource"][semconv.SERVICE_NAME] == service]
        return found if len(found) == number else []

    return soon(look, f"{number} spans of {service}")


# --- the file ------------------------------------------------------------------------------------------------------


def test_the_file_is_valid_with_nothing_set() -> None:
    checked = subprocess.run([program(), "validate", f"--config={AGENT}"], capture_output=True, text=True, env={})
    assert checked.returncode == 0, checked.stderr


def test_it_listens_on_loopback_only(agent: Collector) -> None:
    process = Path(f"/proc/{agent.process.pid}")
    own = {link.readlink().name for link in (process / "fd").iterdir() if link.is_symlink()}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in (process / "net" / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                addresses.add(fields[1].rpartition(":")[0])
    assert addresses == {"0100007F"}, "127.0.0.1, as the kernel writes it"


# --- names ---------------------------------------------------------------------------------------------------------

METRICS: list[tuple[str, str, str, str]] = [
    (semconv.OPERATION_DURATION, semconv.SECONDS, "histogram", names.OPERATION_DURATION),
    (semconv.RETURNED_ROWS, semconv.ROWS, "histogram", names.RETURNED_ROWS),
    (semconv.CONNECTION_COUNT, semconv.CONNECTIONS, "up_down_counter", names.CONNECTION_COUNT),
    (semconv.CONNECTION_MAX, semconv.CONNECTIONS, "up_down_counter", names.CONNECTION_MAX),
    (semconv.CONNECTION_IDLE_MAX, semconv.CONNECTIONS, "up_down_counter", names.CONNECTION_IDLE_MAX),
    (semconv.CONNECTION_IDLE_MIN, semconv.CONNECTIONS, "up_down_counter", names.CONNECTION_IDLE_MIN),
    (
        semconv.CONNECTION_PENDING_REQUESTS,
        semconv.REQUESTS,
        "up_down_counter",
        names.CONNECTION_PENDING_REQUESTS,
    ),
    (semconv.CONNECTION_TIMEOUTS, semconv.TIMEOUTS, "counter", names.CONNECTION_TIMEOUTS),
    (semconv.CONNECTION_CREATE_TIME, semconv.SECONDS, "histogram", names.CONNECTION_CREATE_TIME),
    (semconv.CONNECTION_WAIT_TIME, semconv.SECONDS, "histogram", names.CONNECTION_WAIT_TIME),
    (semconv.CONNECTION_USE_TIME, semconv.SECONDS, "histogram", names.CONNECTION_USE_TIME),
    (semconv.CONNECTION_INVALIDATIONS, semconv.INVALIDATIONS, "counter", names.CONNECTION_INVALIDATIONS),
    (semconv.QUERY_INFO, semconv.QUERIES, "gauge", names.QUERY_INFO),
    (semconv.QUERY_N_PLUS_ONE, semconv.OCCURRENCES, "counter", names.QUERY_N_PLUS_ONE),
    (semconv.QUERY_SLOW, semconv.QUERIES, "counter", names.QUERY_SLOW),
    (semconv.CACHE_REQUESTS, semconv.REQUESTS, "counter", names.CACHE_REQUESTS),
    (semconv.CACHE_OPERATION_DURATION, semconv.SECONDS, "histogram", names.CACHE_OPERATION_DURATION),
    (semconv.CACHE_INVALIDATIONS, semconv.INVALIDATIONS, "counter", names.CACHE_INVALIDATIONS),
    (semconv.CACHE_EVICTIONS, semconv.EVICTIONS, "counter", names.CACHE_EVICTIONS),
    (semconv.INDEX_HINT_SAVING, semconv.SECONDS_PER_HOUR, "gauge", names.INDEX_HINT_SAVING),
    (semconv.INDEX_HINT_FIRST_SEEN, semconv.SECONDS, "gauge", names.INDEX_HINT_FIRST_SEEN),
    (semconv.POOL_RESIZES, semconv.RESIZES, "counter", names.POOL_RESIZES),
    (semconv.CIRCUIT_STATE, semconv.STATE, "gauge", names.CIRCUIT_STATE),
    (semconv.FAULTS, semconv.FAULT_UNIT, "counter", names.FAULTS),
    (semconv.DROPPED, semconv.ITEMS, "counter", names.DROPPED),
]


def emit(meter: Meter, name: str, unit: str, kind: str) -> None:
    attributes = {semconv.FINGERPRINT: "f00d", semconv.DB_COLLECTION_NAME: "orders"}
    if kind == "histogram":
        meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=[0.1, 1.0]).record(0.5, attributes)
    elif kind == "gauge":

        def observe(_options: CallbackOptions) -> list[Observation]:
            return [Observation(1, attributes)]

        meter.create_observable_gauge(name, [observe], unit)
    else:
        getattr(meter, f"create_{kind}")(name, unit).add(1, attributes)


def test_every_metric_of_the_contract_has_the_name_that_dashboards_and_rules_ask_for(agent: Collector) -> None:
    with meters(agent, resource("named")) as provider:
        for name, unit, kind, _ in METRICS:
            emit(provider.get_meter(semconv.SCOPE), name, unit, kind)
        provider.force_flush()
        shown = {sample.name for sample in of(agent, "named")} - {"target_info"}
    assert shown == {
        series
        for _, _, kind, translated in METRICS
        for series in (
            [translated + suffix for suffix in ("_bucket", "_sum", "_count")] if kind == "histogram" else [translated]
        )
    }
    labels = of(agent, "named", names.FAULTS)[0].labels
    assert labels[names.FINGERPRINT] == "f00d"
    assert labels[names.COLLECTION] == "orders"


def test_the_table_above_has_every_metric_of_the_contract() -> None:
    known = {value for key, value in vars(semconv).items() if key.isupper() and isinstance(value, str)}
    metrics = {name for name in known if name.startswith("db.client.") and name.count(".") >= 3}
    metrics -= {semconv.POOL_NAME, semconv.CONNECTION_STATE}
    assert metrics <= {name for name, *_ in METRICS}
    assert {name for name, *_ in METRICS} <= known


def test_a_watched_engine_arrives_with_its_exemplars_and_buckets(agent: Collector) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.QueuePool)
    about = resource("watched")
    with meters(agent, about) as meter_provider:
        traces = TracerProvider(resource=about, shutdown_on_exit=False)
        dbvitals.instrument(engine, tracer_provider=traces, meter_provider=meter_provider)
        try:
            with traces.get_tracer("request").start_as_current_span("request") as span, engine.connect() as connection:
                connection.execute(sa.text("SELECT 1 AS one")).all()
            meter_provider.force_flush()
        finally:
            dbvitals.uninstrument()
            traces.shutdown()
            engine.dispose()
        shown = of(agent, "watched")
    contract = {translated for *_, translated in METRICS}
    families = {sample.name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for sample in shown}
    families = {name if name in contract else f"{name}_count" for name in families - {"target_info"}}
    assert families <= contract
    assert {names.OPERATION_DURATION, names.RETURNED_ROWS, names.CONNECTION_USE_TIME, names.QUERY_INFO} <= families
    buckets = [sample for sample in shown if sample.name == f"{names.OPERATION_DURATION}_bucket"]
    bounds = [float(sample.labels["le"]) for sample in buckets]
    assert bounds == [*semconv.DURATION_BUCKETS, float("inf")]
    trace = f"{span.get_span_context().trace_id:032x}"
    assert trace in {sample.exemplar.get("trace_id") for sample in buckets}
    assert all("span_id" in sample.exemplar for sample in buckets if sample.exemplar)


# --- totals --------------------------------------------------------------------------------------------------------


def test_differences_arrive_as_totals(agent: Collector) -> None:
    with meters(agent, resource("differences"), delta=True) as provider:
        counter = provider.get_meter("m").create_counter("orders")
        histogram = provider.get_meter("m").create_histogram("size", explicit_bucket_boundaries_advisory=[1.0, 10.0])
        for amount in (2, 3, 4):
            counter.add(amount)
            histogram.record(amount)
            provider.force_flush()
        assert [sample.value for sample in of(agent, "differences", "orders_total")] == [9]
        assert [sample.value for sample in of(agent, "differences", "size_bucket")] == [0, 3, 3]
        assert [sample.value for sample in of(agent, "differences", "size_sum")] == [9]


@pytest.mark.parametrize("monotonic", [True, False])
def test_differences_with_a_gap_between_them_go_on_from_the_total(agent: Collector, monotonic: bool) -> None:
    """A query that is rare, an export that was lost, an up-down counter: the exporter alone drops these."""
    service = f"gaps-{monotonic}"
    for start, amount in ((10, 2), (30, 3), (90, -1 if not monotonic else 4)):
        point = {
            "asInt": str(amount),
            "startTimeUnixNano": str(start * 10**9),
            "timeUnixNano": str((start + 5) * 10**9),
        }
        data = {"sum": {"aggregationTemporality": 1, "isMonotonic": monotonic, "dataPoints": [point]}}
        send_json(agent, "metrics", metrics_request({"service.name": service}, "m", [("orders", data)]))
    total = of(agent, service, "orders_total" if monotonic else "orders")
    assert [sample.value for sample in total] == [9 if monotonic else 4]


def test_two_processes_of_a_service_are_two_series_whose_sum_is_right(agent: Collector) -> None:
    with meters(agent, resource("fleet", "a")) as one, meters(agent, resource("fleet", "b")) as other:
        for provider, amount in ((one, 2), (other, 5)):
            provider.get_meter("m").create_counter("orders").add(amount)
            provider.force_flush()
        found = of(agent, "fleet", "orders_total")
    assert {sample.labels["instance"]: sample.value for sample in found} == {"a": 2, "b": 5}
    assert {sample.labels["service_instance_id"] for sample in found} == {"a", "b"}


def test_processes_that_share_an_instance_overwrite_each_other(agent: Collector) -> None:
    """What docs/collector.md warns of: the last of them to export is the one that is seen."""
    with meters(agent, resource("shared", "same")) as one, meters(agent, resource("shared", "same")) as other:
        for provider, amount in ((one, 2), (other, 5), (one, 0)):
            provider.get_meter("m").create_counter("orders").add(amount)
            provider.force_flush()
            last = [sample.value for sample in of(agent, "shared", "orders_total")]
            assert last == [amount or 2]


def test_processes_without_an_instance_are_told_apart_by_their_process(agent: Collector) -> None:
    for pid in (17, 18):
        point = {"asInt": "1", "timeUnixNano": "1"}
        about = {"service.name": "nameless", "host.name": "h", "process.pid": pid}
        send_json(agent, "metrics", metrics_request(about, "m", [("orders", sum_of(point))]))
    assert {sample.labels["instance"] for sample in of(agent, "nameless", "orders_total")} == {"h:17", "h:18"}


def test_a_classic_histogram_survives_beside_an_exponential_one_of_the_same_name(agent: Collector) -> None:
    exponential = View(instrument_name=semconv.OPERATION_DURATION, aggregation=ExponentialBucketHistogramAggregation())
    with (
        meters(agent, resource("classic")) as ours,
        meters(agent, resource("native"), views=(exponential,)) as theirs,
    ):
        for provider in (theirs, ours):
            histogram = provider.get_meter("m").create_histogram(
                semconv.OPERATION_DURATION,
                semconv.SECONDS,
                explicit_bucket_boundaries_advisory=list(semconv.DURATION_BUCKETS),
            )
            for _ in range(3):
                histogram.record(0.02)
            provider.force_flush()
        bucket = f"{names.OPERATION_DURATION}_bucket"
        for openmetrics in (True, False):
            shown = samples(agent.scrape(openmetrics=openmetrics), bucket)
            classic = {sample.labels["le"]: sample.value for sample in shown if sample.labels["job"] == "classic"}
            native = {sample.labels["le"]: sample.value for sample in shown if sample.labels["job"] == "native"}
            assert {float(le): count for le, count in classic.items()} == {
                **{bound: float(bound >= 0.05) * 3 for bound in semconv.DURATION_BUCKETS},
                float("inf"): 3,
            }
            assert native == {"+Inf": 3}, "as text, a native histogram is its count and its sum"


# --- labels --------------------------------------------------------------------------------------------------------


def test_what_dashboards_group_by_is_promoted_and_the_rest_of_the_resource_is_not(agent: Collector) -> None:
    about = resource("promoted", service_namespace="shops", deployment_environment="production", team="blue")
    with meters(agent, about) as provider:
        provider.get_meter("m").create_counter("orders").add(1)
        provider.force_flush()
        (sample,) = of(agent, "shops/promoted", "orders_total")
        (info,) = of(agent, "shops/promoted", "target_info")
    assert {key: value for key, value in sample.labels.items() if not key.startswith("otel_scope_")} == {
        "job": "shops/promoted",
        "instance": "one",
        names.SERVICE: "promoted",
        "service_instance_id": "one",
        names.ENVIRONMENT: "production",
    }
    assert info.labels["team"] == "blue"
    with meters(agent, resource("plain")) as provider:
        provider.get_meter("m").create_counter("orders").add(1)
        provider.force_flush()
    assert not [sample for sample in of(agent, "plain") if names.ENVIRONMENT in sample.labels], (
        "only where there is one"
    )
    assert info.labels["host_name"], "of the Collector's host, as the service did not say"


def test_a_point_that_has_a_promoted_attribute_already_keeps_it_once(agent: Collector) -> None:
    attributes = {"service.name": "of the point", "service_instance_id": "x", "job": "nightly", "instance": "i"}
    with meters(agent, resource("twice", deployment_environment_name="test")) as provider:
        provider.get_meter("m").create_counter("orders").add(
            1, {**attributes, semconv.DEPLOYMENT_ENVIRONMENT_NAME: "own"}
        )
        provider.force_flush()
        (sample,) = of(agent, "twice", "orders_total")
    assert len(dict(sample.pairs)) == len(sample.pairs)
    assert {key: value for key, value in sample.labels.items() if not key.startswith("otel_scope_")} == {
        "job": "twice",
        "instance": "one",
        names.SERVICE: "of the point",
        "service_instance_id": "one",
        names.ENVIRONMENT: "own",
        "exported_job": "nightly",
        "exported_instance": "i",
        "exported_service_instance_id": "x",
    }


# --- redaction -----------------------------------------------------------------------------------------------------

TEXTS = {
    "literals go, names with digits stay": (
        "postgresql",
        "SELECT col1, t2.c3 FROM table2 AS t2 WHERE a = 'it''s' AND b IN (1, -2.5, 3e10, .5, 0xFF) LIMIT 10",
        "SELECT col1, t2.c3 FROM table2 AS t2 WHERE a = ? AND b IN (?, -?, ?, ?, ?) LIMIT ?",
    ),
    "placeholders of all kinds stay": (
        "postgresql",
        "SELECT a FROM t WHERE b = $1 AND c = %(c_1)s AND d = %s AND e = :e1 AND f = ? AND g = ?2 AND h::int4 = @p1",
        "SELECT a FROM t WHERE b = $1 AND c = %(c_1)s AND d = %s AND e = :e1 AND f = ? AND g = ?2 AND h::int4 = @p1",
    ),
    "what SQLAlchemy makes stays": (
        "sqlite",
        'SELECT orders_1.id AS "anon_1.x", "user 2".name FROM orders AS orders_1 LIMIT ? OFFSET ?',
        'SELECT orders_1.id AS "anon_1.x", "user 2".name FROM orders AS orders_1 LIMIT ? OFFSET ?',
    ),
    "quotes in names and comments open no literal": (
        "postgresql",
        "SELECT \"o'brien\", 'x' -- it's 5\nFROM t /* can't 7 */ WHERE a = 'secret'",
        'SELECT "o\'brien", ? \nFROM t  WHERE a = ?',
    ),
    "PostgreSQL's other quotes": (
        "postgresql",
        "SELECT E'a\\'b 5', $$ it's $$, $tag$ 'x' $tag$, U&'d' FROM t WHERE p = 'C:\\' AND q = 'secret'",
        "SELECT ?, ?, ?, U&? FROM t WHERE p = ? AND q = ?",
    ),
    "a text that was cut within a literal": (
        "postgresql",
        "SELECT a FROM t WHERE b = 'x' AND c = 'secr",
        "SELECT a FROM t WHERE b = ? AND c = ?",
    ),
    "MySQL's texts": (
        "mysql",
        "SELECT `c 1`, \"bob\" FROM t1 WHERE a = 'it\\'s 5' AND b = \"d\"\"e\" AND c = 'z' # it's",
        "SELECT `c 1`, ? FROM t1 WHERE a = ? AND b = ? AND c = ? ?",
    ),
    "SQL Server's names": (
        "microsoft.sql_server",
        "SELECT [Order Details 2].[id] FROM #temp1 WHERE a = @p1 AND b = N'x'",
        "SELECT [Order Details 2].[id] FROM #temp1 WHERE a = @p1 AND b = N?",
    ),
    "languages that are not known": (None, '{"name": "bob", "age1": 5}', "{?: ?, ?: ?}"),
    "Redis": ("redis", "SET user:1 secret EX 5", "SET ?"),
    "Redis, redacted already": ("redis", "SET ? ?\nGET ?", "SET ? ?\nGET ?"),
    "letters of all alphabets": (
        "postgresql",
        "SELECT größe1, 数量2 FROM bücher WHERE titel = 'Ärger' AND preis > 5",
        "SELECT größe1, 数量2 FROM bücher WHERE titel = ? AND preis > ?",
    ),
}


def test_literals_go_from_texts_and_all_else_stays(agent: Collector, sink: Sink) -> None:
    with tracer(agent, resource("texts")) as other:
        for title, (system, text, _) in TEXTS.items():
            for key in (semconv.DB_QUERY_TEXT, semconv.OLD_DB_STATEMENT):
                named = semconv.DB_SYSTEM_NAME if key == semconv.DB_QUERY_TEXT else semconv.OLD_DB_SYSTEM
                attributes = {"title": title, key: text, semconv.DB_QUERY_SUMMARY: "SELECT table2"}
                other.start_span(text, attributes={**attributes, **({named: system} if system else {})}).end()
    found = spans_of(sink, "texts", len(TEXTS) * 2)
    for span in found:
        attributes = span["attributes"]
        _, text, redacted = TEXTS[attributes["title"]]
        shown = attributes.get(semconv.DB_QUERY_TEXT, attributes.get(semconv.OLD_DB_STATEMENT))
        assert shown == redacted, attributes["title"]
        assert attributes[semconv.DB_QUERY_SUMMARY] == "SELECT table2"
        assert span["name"] == text.split(" ")[0], "a text is no name"


def test_what_is_redacted_is_not_redacted_again(agent: Collector, sink: Sink) -> None:
    with tracer(agent, resource("again")) as other:
        for system, _, redacted in TEXTS.values():
            attributes = {"expected": redacted, semconv.DB_QUERY_TEXT: redacted}
            other.start_span(
                "s", attributes={**attributes, **({semconv.DB_SYSTEM_NAME: system} if system else {})}
            ).end()
    for span in spans_of(sink, "again", len(TEXTS)):
        expected = span["attributes"]["expected"]
        assert span["attributes"][semconv.DB_QUERY_TEXT] == expected or "# " in expected


def test_texts_of_dbvitals_pass_untouched(agent: Collector, sink: Sink) -> None:
    text = {"redis": "SET ? ? EX ?", "sqlite": 'SELECT "user".id FROM "user" WHERE "user".id IN (?, ?)'}
    with tracer(agent, resource("ours"), semconv.SCOPE) as ours:
        for system, one in text.items():
            attributes = {
                semconv.DB_SYSTEM_NAME: system,
                semconv.DB_QUERY_TEXT: one,
                semconv.FINGERPRINT: "0123456789abcdef",
            }
            ours.start_span("SET", attributes=attributes).end()
    for span in spans_of(sink, "ours", len(text)):
        assert span["attributes"][semconv.DB_QUERY_TEXT] == text[span["attributes"][semconv.DB_SYSTEM_NAME]]
        assert span["attributes"][semconv.FINGERPRINT] == "0123456789abcdef"


def test_parameters_messages_and_passwords_go(agent: Collector, sink: Sink) -> None:
    attributes = {
        semconv.DB_SYSTEM_NAME: "postgresql",
        f"{semconv.DB_QUERY_PARAMETER}.email": "secret",
        "db.statement.parameters": "('secret',)",
        "db.connection_string": "postgresql://shop:secret@db/shop",
        "dsn": "host=db password=secret dbname=shop",
        "db.query.parameters_shape": "2",
    }
    message = "(psycopg.errors.UniqueViolation) duplicate key\nDETAIL:  Key (email)=(secret)\n[SQL: INSERT 'secret']"
    with tracer(agent, resource("secrets")) as other, other.start_as_current_span("request") as request:
        with other.start_as_current_span("INSERT users", attributes=attributes) as query:
            query.record_exception(ValueError("invalid input: secret"))
            query.set_status(StatusCode.ERROR, "ValueError: invalid input: secret")
        request.set_status(StatusCode.ERROR, f"IntegrityError: {message}")
        request.record_exception(sa.exc.IntegrityError("INSERT 'secret'", {"email": "secret"}, Exception(message)))
        request.record_exception(RuntimeError(f"no order: {message}"))
        request.record_exception(RuntimeError("the oven is cold"))
    found = {span["name"]: span for span in spans_of(sink, "secrets", 2)}
    assert "secret" not in json.dumps(found).replace("secrets", "")
    query, request = found["INSERT users"], found["request"]
    assert query["attributes"]["db.query.parameters_shape"] == "2"
    assert query["attributes"]["db.connection_string"] == "postgresql****db/shop"
    assert query["attributes"]["dsn"] == "host=db p**** dbname=shop"
    assert query["status"]["message"] == "ValueError"
    events = [
        {pair["key"]: pair["value"]["stringValue"] for pair in event["attributes"]} for event in request["events"]
    ]
    assert [event["exception.type"] for event in events] == [
        "sqlalchemy.exc.IntegrityError",
        "RuntimeError",
        "RuntimeError",
    ]
    assert events[2]["exception.message"] == "the oven is cold"


def test_parameters_stay_where_they_are_asked_for(sink: Sink, tmp_path: Path) -> None:
    endpoint = f"127.0.0.1:{sink.grpc}"
    with Collector(tmp_path, DBVITALS_TRACES_ENDPOINT=endpoint, DBVITALS_KEEP_PARAMETERS="true") as keeping:
        with tracer(keeping, resource("kept")) as other:
            other.start_span("s", attributes={f"{semconv.DB_QUERY_PARAMETER}.0": "wanted"}).end()
        (span,) = spans_of(sink, "kept", 1)
    assert span["attributes"][f"{semconv.DB_QUERY_PARAMETER}.0"] == "wanted"


def test_labels_are_redacted_as_spans_are(agent: Collector) -> None:
    attributes = {
        semconv.DB_SYSTEM_NAME: "postgresql",
        semconv.DB_QUERY_TEXT: "SELECT a FROM t1 WHERE b = 'secret'",
        f"{semconv.DB_QUERY_PARAMETER}.0": "secret",
        "address": "redis://:secret@cache:6379",
    }
    with meters(agent, resource("labelled")) as provider:
        provider.get_meter("m").create_counter("calls").add(1, attributes)
        provider.force_flush()
        (sample,) = of(agent, "labelled", "calls_total")
    assert sample.labels[names.TEXT] == "SELECT a FROM t1 WHERE b = ?"
    assert sample.labels["address"] == "redis****cache:6379"
    assert "secret" not in str(sample)


def test_odd_attributes_cost_nobody_their_spans(agent: Collector, sink: Sink) -> None:
    odd: list[dict[str, Any]] = [
        {semconv.DB_QUERY_TEXT: 5, semconv.DB_SYSTEM_NAME: (1, 2), semconv.OLD_DB_STATEMENT: True},
        {semconv.DB_QUERY_TEXT: "", semconv.DB_SYSTEM_NAME: ""},
        {semconv.DB_QUERY_TEXT: "⟦⟧ $1 ${1} \\ '", semconv.DB_SYSTEM_NAME: "sqlite"},
    ]
    with tracer(agent, resource("odd")) as other:
        for attributes in odd:
            with other.start_as_current_span("s", attributes=attributes) as span:
                span.add_event("exception", {"exception.type": 5, "exception.message": (1, 2)})
    spans_of(sink, "odd", len(odd))


# --- memory --------------------------------------------------------------------------------------------------------


def test_a_flood_is_refused_so_that_it_can_be_sent_again(tmp_path: Path) -> None:
    """Series are what fills a Collector's memory: each point here is one, as where a label holds a user."""
    limit = 100

    def post(number: int) -> tuple[int, int]:
        points = [
            {"asInt": "1", "timeUnixNano": "1", "attributes": pairs({"user": f"{number}-{n}"})} for n in range(500)
        ]
        metric = ("orders", {"gauge": {"dataPoints": points}})
        request = metrics_request({"service.name": "flood", "service.instance.id": "one"}, "m", [metric])
        return answer_of(small, "metrics", json.dumps(request).encode()), resident(small)

    with Collector(tmp_path, DBVITALS_MEMORY_LIMIT_MIB=limit) as small, ThreadPoolExecutor(4) as senders:
        answers = list(senders.map(post, range(400)))
        assert small.process.running
    assert {code for code, _ in answers} == {200, 503}, "503 is what OTLP's exporters try again"
    assert max(size for _, size in answers) < 3 * limit, "the limit is of the heap: the rest is the program itself"


def test_metrics_over_grpc_arrive_too(agent: Collector) -> None:
    exporter = OverGrpc(f"127.0.0.1:{agent.grpc}", insecure=True)
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=NEVER)],
        resource("grpc"),
        shutdown_on_exit=False,
    )
    provider.get_meter("m").create_counter("orders").add(4)
    provider.force_flush()
    provider.shutdown()
    assert [sample.value for sample in of(agent, "grpc", "orders_total")] == [4]


# --- requests by hand ----------------------------------------------------------------------------------------------


def resident(collector: Collector) -> int:
    """Its memory, in MiB."""
    for line in Path(f"/proc/{collector.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    raise AssertionError("no VmRSS")


def answer_of(collector: Collector, signal: str, body: bytes) -> int:
    url = f"{collector.endpoint}/v1/{signal}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def send_json(collector: Collector, signal: str, request: dict[str, Any]) -> None:
    assert answer_of(collector, signal, json.dumps(request).encode()) == 200


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue" if isinstance(value, int) else "stringValue": value}}
        for key, value in attributes.items()
    ]


def sum_of(point: dict[str, Any]) -> dict[str, Any]:
    return {"sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]}}


def metrics_request(about: dict[str, Any], scope: str, metrics: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    scoped = {"scope": {"name": scope}, "metrics": [{"name": name, **data} for name, data in metrics]}
    return {"resourceMetrics": [{"resource": {"attributes": pairs(about)}, "scopeMetrics": [scoped]}]}


def traces_request(about: dict[str, Any], spans: list[dict[str, Any]]) -> dict[str, Any]:
    made = [
        {"traceId": f"{n + 1:032x}", "spanId": f"{n + 1:016x}", "name": "s", "kind": 3, "attributes": pairs(attributes)}
        for n, attributes in enumerate(spans)
    ]
    return {"resourceSpans": [{"resource": {"attributes": pairs(about)}, "scopeSpans": [{"spans": made}]}]}
