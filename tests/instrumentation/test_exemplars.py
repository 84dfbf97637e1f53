"""Exemplars are few, their spans say so before they are written, and each collection shows them until replaced."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import fakeredis
import pytest
import sqlalchemy as sa
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import (
    AlignedHistogramBucketExemplarReservoir,
    AlwaysOffExemplarFilter,
    AlwaysOnExemplarFilter,
    Histogram,
    MeterProvider,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision, Sampler, SamplingResult, StaticSampler
from opentelemetry.trace import SpanContext, TraceFlags

from dbvitals import testing
from dbvitals_instrumentation import guard, pool, semconv
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.exemplars import EXEMPLAR_SECONDS
from dbvitals_instrumentation.histogram import BufferedHistograms, Series, Spec

DURATION = Spec("m", "s", "", (0.1, 1.0, 10.0))
ROWS = Spec("rows", "{row}", "", (1, 10))
TEMPORALITIES = [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA]
HISTOGRAMS = (
    semconv.OPERATION_DURATION,
    semconv.RETURNED_ROWS,
    semconv.CONNECTION_WAIT_TIME,
    semconv.CONNECTION_CREATE_TIME,
    semconv.CONNECTION_USE_TIME,
    semconv.CACHE_OPERATION_DURATION,
)


class Meter:
    """Buffered histograms on a clock that the test sets; every measurement has a span of its own."""

    def __init__(self, temporality: AggregationTemporality = TEMPORALITIES[0], **provider: Any) -> None:
        self.reader = InMemoryMetricReader({Histogram: temporality})
        meter = MeterProvider([self.reader], **provider).get_meter("test")
        self.histograms = BufferedHistograms(meter, DURATION, ROWS)
        self.series = Series({"k": "v"})
        self.seconds = 1.7e9
        self.number = 0  # of the last span

    def measure(self, value: float, *, sampled: bool = True, series: Series | None = None) -> bool:
        """Measure as a query does, and tell whether its span would have been flagged."""
        self.number += 1
        series, time = series or self.series, int(self.seconds * 1e9)
        late: dict[str, Any] = {}
        chosen = sampled and self.histograms.choose(late, series, value, time)
        span = SpanContext(1, self.number, False, TraceFlags(sampled))
        self.histograms.record(series, (value, 3), span, time, chosen)
        assert late == ({semconv.EXEMPLAR: True} if chosen else {})
        return chosen

    def shown(self, metric: str = DURATION.name) -> list[tuple[float, int]]:
        """Value and span of each exemplar in a collection."""
        self.histograms.flush()
        data = self.reader.get_metrics_data()
        return [
            (exemplar.value, exemplar.span_id)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric
            for point in one.data.data_points
            for exemplar in point.exemplars
        ]


def test_a_bucket_of_a_series_has_one_exemplar_in_30_seconds() -> None:
    meter = Meter()
    other = Series({"k": "w"})
    begin = meter.seconds
    assert meter.measure(0.05)
    assert not meter.measure(0.1)  # the same bucket: its upper boundary is in it
    assert meter.measure(0.2)
    assert meter.measure(50.0)
    assert meter.measure(0.05, series=other)
    meter.seconds = begin + EXEMPLAR_SECONDS - 1
    assert not meter.measure(0.05)
    assert sorted(meter.shown()) == [(0.05, 1), (0.05, 5), (0.2, 3), (50.0, 4)]
    meter.seconds = begin + EXEMPLAR_SECONDS
    assert [meter.measure(0.07), meter.measure(0.07)] == [True, False]
    assert sorted(meter.shown()) == [(0.05, 5), (0.07, 7), (0.2, 3), (50.0, 4)]


def test_an_exemplar_is_shown_though_others_of_its_bucket_are_merged_with_it() -> None:
    meter = Meter()
    meter.measure(0.05)
    chosen = [meter.measure(0.5) for _ in range(3)]  # these three wait
    assert chosen == [True, False, False]
    assert meter.shown() == [(0.05, 1), (0.5, 2)]
    assert meter.shown(ROWS.name) == [(3, 2)]  # what was measured with it has the same exemplars


@pytest.mark.parametrize("temporality", TEMPORALITIES)
@pytest.mark.parametrize("views", [[], [View(instrument_name="m", attribute_keys=set(), name="m")]])
def test_each_collection_shows_it_until_it_is_replaced(temporality: AggregationTemporality, views: list[View]) -> None:
    meter = Meter(temporality, views=views)
    meter.measure(0.05)
    meter.measure(0.5)
    for _ in range(3):
        assert meter.shown() == [(0.05, 1), (0.5, 2)]
        assert not meter.measure(0.05)  # else there is nothing to collect of a delta
    meter.seconds += EXEMPLAR_SECONDS
    assert meter.measure(0.05)
    for _ in range(2):
        assert meter.shown() == [(0.05, 6), (0.5, 2)]
        meter.measure(0.05)


@pytest.mark.parametrize(
    "exemplar_filter, expected", [(AlwaysOnExemplarFilter(), [(0.05, 2)]), (AlwaysOffExemplarFilter(), [])]
)
def test_with_another_filter_none_is_chosen_and_the_sdk_has_its_way(
    exemplar_filter: Any, expected: list[tuple[float, int]]
) -> None:
    meter = Meter(exemplar_filter=exemplar_filter)
    assert not meter.measure(0.05)
    assert not meter.measure(0.05, sampled=False)
    assert meter.shown() == expected
    assert meter.shown() == []


def test_a_reservoir_that_a_view_asks_for_stays() -> None:
    offered: list[float] = []

    class Own(AlignedHistogramBucketExemplarReservoir):
        def offer(self, value: float, *rest: Any) -> None:
            offered.append(value)
            super().offer(value, *rest)

    meter = Meter(views=[View(instrument_name="m", exemplar_reservoir_factory=lambda _kind: Own)])
    meter.measure(0.05)
    meter.measure(0.5)
    meter.measure(0.6)
    assert meter.shown() == [(0.05, 1), (0.5, 2)]
    assert offered == [0.05, 0.5]
    assert meter.shown() == []  # it forgets, as it is the SDK's


def test_an_aggregation_that_takes_the_place_of_another_goes_on_with_its_exemplars() -> None:
    meter = Meter()
    meter.measure(0.05)
    (storage,) = meter.histograms._sdk._reader_storages.values()
    (match,) = storage._get_or_init_view_instrument_match(meter.histograms._instruments[0])
    match._attributes_aggregation.clear()  # as an SDK may do at a collection
    assert not meter.measure(0.05)
    assert meter.measure(0.5)
    assert meter.shown() == [(0.05, 1), (0.5, 3)]


def test_what_is_cleared_for_a_child_is_not_shown_again() -> None:
    meter = Meter()
    meter.measure(0.05)
    meter.measure(0.5)
    assert meter.shown() == [(0.05, 1), (0.5, 2)]
    meter.histograms.clear()
    assert meter.measure(0.05)
    assert meter.shown() == [(0.05, 3)]


def test_of_two_threads_at_once_one_is_chosen() -> None:
    meter = Meter()
    meter.measure(0.05)
    both_looked = threading.Barrier(2)
    looked: set[int] = set()

    class Due(list[int]):
        def __getitem__(self, bucket: Any) -> Any:
            found = super().__getitem__(bucket)
            if threading.get_ident() not in looked:
                looked.add(threading.get_ident())
                both_looked.wait(timeout=30)
            return found

    meter.series.due = Due(meter.series.due)
    chosen: list[bool] = []

    def choose() -> None:
        chosen.append(meter.histograms.choose({}, meter.series, 0.5, int(meter.seconds * 1e9)))

    threads = [threading.Thread(target=choose) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(chosen) == [False, True]


def test_a_forked_child_begins_anew(run_script: Callable[..., str]) -> None:
    output = run_script(
        """
    import os
    import sqlalchemy as sa
    from dbvitals import testing
    from dbvitals_instrumentation import semconv

    def query_and_tell(seen, engine, calls):
        with engine.connect() as connection:
            for _ in range(calls):
                connection.execute(sa.text("SELECT 42")).all()
        shown = {e.span_id for point in seen.points(semconv.OPERATION_DURATION) for e in point.exemplars}
        flagged = {span.context.span_id for span in seen.spans() if semconv.EXEMPLAR in span.attributes}
        assert shown == flagged and flagged, (shown, flagged)
        print(len(seen.spans()), flush=True)

    with testing.observe() as seen:
        engine = sa.create_engine("sqlite://")
        query_and_tell(seen, engine, 2)
        child = os.fork()
        if child == 0:
            seen.clear()
            query_and_tell(seen, engine, 3)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        query_and_tell(seen, engine, 2)
    """
    )
    assert output.split() == ["2", "3", "4"]


# --- what is observed ------------------------------------------------------------------------------------------------


def flagged(seen: testing.Seen) -> dict[int, ReadableSpan]:
    """The spans that say that they are exemplars."""
    spans = [*seen.spans(), *seen.spans(semconv.CHECKOUT_SPAN), *seen.spans(semconv.HOLD_SPAN)]
    return {span.context.span_id: span for span in spans if span.attributes.get(semconv.EXEMPLAR) is True}


def shown(seen: testing.Seen, *metrics: str) -> set[int]:
    """The spans that are exemplars of metrics."""
    return {exemplar.span_id for metric in metrics for point in seen.points(metric) for exemplar in point.exemplars}


def names(seen: testing.Seen, metric: str) -> set[str]:
    """The names of the spans that are exemplars of a metric, which all say so, as no other does."""
    spans = flagged(seen)
    assert set(spans) == shown(seen, *HISTOGRAMS)
    return {spans[span_id].name for span_id in shown(seen, metric)}


def select(engine: Any) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT * FROM dbv_item")).all()


def stream(engine: Any) -> None:
    with engine.connect() as connection:
        for _ in connection.execution_options(yield_per=2).execute(sa.text("SELECT * FROM dbv_item")):
            pass


def fail(engine: Any) -> None:
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError):
        connection.execute(sa.text("SELECT * FROM nowhere"))


def insert(engine: Any) -> None:
    with engine.begin() as connection:
        statement = sa.text("INSERT INTO dbv_item (id, name) VALUES (:id, :name)")
        connection.execute(statement, [{"id": n, "name": str(n)} for n in (20, 21)])


@pytest.mark.parametrize("driver", ["sqlite", "psycopg", "pymysql"])
@pytest.mark.parametrize(
    "work, name",
    [
        (select, "SELECT dbv_item"),
        (stream, "SELECT dbv_item"),
        (fail, "SELECT nowhere"),
        (insert, "BATCH INSERT dbv_item"),
    ],
)
def test_spans_of_queries_are_flagged(
    work: Callable[[Any], None], name: str, driver: str, seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    work(engine_of(driver))
    assert name in names(seen, semconv.OPERATION_DURATION)


@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg", "aiomysql"])
def test_spans_of_awaited_queries_are_flagged(driver: str, seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    async def ask() -> None:
        engine = engine_of(driver)
        async with engine.connect() as connection:
            await connection.execute(sa.text("SELECT 42"))
        await engine.dispose()

    asyncio.run(ask())
    assert "SELECT" in names(seen, semconv.OPERATION_DURATION)


def test_checkouts_and_holds_are_flagged(
    seen: testing.Seen, engine_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LONG_HOLD", 0)
    engine = engine_of("sqlite", pool_size=1)
    for _ in range(3):
        with seen.tracer_provider.get_tracer("app").start_as_current_span("request"):
            select(engine)
    assert names(seen, semconv.CONNECTION_WAIT_TIME) == {semconv.CHECKOUT_SPAN}
    assert names(seen, semconv.CONNECTION_CREATE_TIME) == {semconv.CHECKOUT_SPAN}
    assert names(seen, semconv.CONNECTION_USE_TIME) == {semconv.HOLD_SPAN}


def get(client: Any) -> None:
    client.get("key")


def pipeline(client: Any) -> None:
    with client.pipeline() as pipe:
        pipe.get("key").get("other").execute()


def refuse(client: Any) -> None:
    with pytest.raises(Exception, match="WRONGTYPE"):
        client.lpush("key", 1)


@pytest.mark.parametrize("work, name", [(get, "GET"), (pipeline, "MULTI GET"), (refuse, "LPUSH")])
def test_spans_of_redis_commands_are_flagged(work: Callable[[Any], None], name: str, seen: testing.Seen) -> None:
    with fakeredis.FakeRedis() as client:
        client.set("key", "value")
        work(client)
    assert name in names(seen, semconv.CACHE_OPERATION_DURATION)


def test_spans_of_awaited_redis_commands_are_flagged(seen: testing.Seen) -> None:
    async def ask() -> None:
        async with fakeredis.FakeAsyncRedis() as client:
            await client.get("key")

    asyncio.run(ask())
    assert names(seen, semconv.CACHE_OPERATION_DURATION) == {"GET"}


# --- spans that are there already ------------------------------------------------------------------------------------


@pytest.fixture
def observed() -> Iterator[Callable[[Config], Any]]:
    """Observes with a configuration; no fault of ours may happen meanwhile."""
    guard.reset()
    yield lambda config: testing.observe(config=config)
    assert guard.faults() == {}


@pytest.fixture
def one_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations all fall into one bucket, however slow the machine is."""
    monkeypatch.setattr(semconv, "DURATION_BUCKETS", (1000.0,))


SPANLESS = Config(query_spans="off", redis_spans=False, pool_spans=False)
BOTH = (semconv.OPERATION_DURATION, semconv.CACHE_OPERATION_DURATION)


@pytest.fixture
def ask() -> Iterator[Callable[[Any], None]]:
    """Asks a database under one span, and Redis under another."""
    engine = sa.create_engine("sqlite://")
    with fakeredis.FakeRedis() as client:

        def ask_both(seen: testing.Seen) -> None:
            tracer = seen.tracer_provider.get_tracer("app")
            with tracer.start_as_current_span("of a query"), engine.connect() as connection:
                connection.execute(sa.text("SELECT 42")).all()
            with tracer.start_as_current_span("of a command"):
                client.get("key")

        yield ask_both
    engine.dispose()


@pytest.mark.parametrize(
    "config, expected",
    [
        (Config(), ["SELECT", "GET"]),
        (Config(suppress_nested=False), ["SELECT", "GET"]),
        (Config(sqlcommenter=True), ["SELECT", "GET"]),
        (SPANLESS, ["of a query", "of a command"]),
    ],
)
@pytest.mark.usefixtures("one_bucket")
def test_the_span_that_is_flagged_is_the_calls_else_the_one_above(
    config: Config, expected: list[str], observed: Callable[[Config], Any], ask: Callable[[Any], None]
) -> None:
    with observed(config) as seen:
        for _ in range(2):
            ask(seen)
            assert [names(seen, metric) for metric in BOTH] == [{name} for name in expected]


class Switch(Sampler):
    """Samples as another sampler does, which the test replaces."""

    now: Any = ALWAYS_ON

    def should_sample(self, *args: Any, **options: Any) -> SamplingResult:
        return self.now.should_sample(*args, **options)  # type: ignore[no-any-return]

    def get_description(self) -> str:
        return "switch"


class Early(SpanProcessor):
    """Has spans written by the API, as it wants to see their start."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Do nothing."""


@pytest.mark.parametrize("unwanted", [ALWAYS_OFF, StaticSampler(Decision.RECORD_ONLY)], ids=["dropped", "record only"])
@pytest.mark.parametrize("processors", [[], [Early()]], ids=["by us", "by the API"])
@pytest.mark.parametrize("config", [Config(), Config(suppress_nested=False), SPANLESS], ids=["leaf", "live", "none"])
@pytest.mark.usefixtures("one_bucket")
def test_an_unsampled_span_is_no_exemplar_and_leaves_the_place_to_the_next(
    config: Config,
    unwanted: Any,
    processors: list[SpanProcessor],
    observed: Callable[[Config], Any],
    ask: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sampler = Switch()
    monkeypatch.setattr(testing, "TracerProvider", functools.partial(TracerProvider, sampler=sampler))
    with observed(config) as seen:
        for processor in processors:
            seen.tracer_provider.add_span_processor(processor)
        for sampler.now, expected in ((unwanted, False), (ALWAYS_ON, True)):
            ask(seen)
            assert [bool(names(seen, metric)) for metric in BOTH] == [expected, expected]


@pytest.mark.parametrize("work", [select, stream, fail])
def test_the_official_span_of_a_query_is_flagged(
    work: Callable[[Any], None], seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    official = SQLAlchemyInstrumentor()
    official.instrument(tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider, skip_dep_check=True)
    try:
        work(engine_of("sqlite"))
    finally:
        official.uninstrument()
    names(seen, semconv.OPERATION_DURATION)
    scopes = {span.instrumentation_scope.name for span in flagged(seen).values() if span.name.startswith("SELECT")}
    assert scopes == {"opentelemetry.instrumentation.sqlalchemy"}


def test_the_official_span_of_a_redis_command_is_flagged(seen: testing.Seen) -> None:
    official = RedisInstrumentor()
    official.instrument(tracer_provider=seen.tracer_provider)
    try:
        with fakeredis.FakeRedis() as client:
            client.get("key")
    finally:
        official.uninstrument()
    assert names(seen, semconv.CACHE_OPERATION_DURATION) == {"GET"}
    (span,) = flagged(seen).values()
    assert span.instrumentation_scope.name == "opentelemetry.instrumentation.redis"
