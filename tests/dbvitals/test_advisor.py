"""The advisor within a service: a thread that looks now and then, and hints that are metrics."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

import dbvitals
from dbvitals import Config, testing, watch
from dbvitals.advisor import MOST_QUERIES, Advisor
from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.queries import Counted
from dbvitals_instrumentation.telemetry import Telemetry
from dbvitals_processors.hints.explain import planner_for
from dbvitals_processors.hints.lives_file import LivesFile
from dbvitals_processors.hints.model import AdvisorError
from dbvitals_processors.hints.sources.parameters import ParameterSamples

HOUR = 3600.0
DATABASE = "impact_advisor"
TEXT = "SELECT * FROM orders WHERE user_id = ?"
ROWS = 20_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _sound() -> Iterator[None]:
    guard.reset()
    yield
    assert guard.faults() == {}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(tmp_path: Path) -> URL:
    """A SQLite file with a table that lacks an index."""
    url = make_url(f"sqlite:///{tmp_path / 'shop.db'}")
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER, note TEXT)")
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) "
            "INSERT INTO orders SELECT i, i % 5000, 'note ' || i FROM n"
        )
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()
    return url


class Query(NamedTuple):
    """So many calls of a statement, and what each of them takes."""

    text: str = TEXT
    milliseconds: int = 30
    namespace: str = "shop"
    fingerprint: str = "3fa9"
    calls: int = 1


class Asked:
    """What a process has asked so far, as the instrumentation counts it."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str, str], int] = {}
        self.nanoseconds: dict[str, int] = {}

    def add(self, query: Query) -> None:
        key = (query.namespace, query.fingerprint, query.text)
        self.calls[key] = self.calls.get(key, 0) + query.calls
        took = query.calls * query.milliseconds * 1_000_000
        self.nanoseconds[query.fingerprint] = self.nanoseconds.get(query.fingerprint, 0) + took

    def __call__(self) -> list[Counted]:
        return [
            Counted(namespace, "sqlite", fingerprint, text, calls, self.nanoseconds[fingerprint])
            for (namespace, fingerprint, text), calls in self.calls.items()
        ]


def advisor_for(url: URL | str, clock: Clock, ask: Any = None, **more: Any) -> Advisor:
    text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
    samples, urls = more.pop("samples", None), more.pop("urls", ())
    config = Config(advise=HOUR, advise_database=text, **more)
    return Advisor(config, Telemetry(), Asked(), lambda: urls, samples, clock=clock, ask=ask)


def ask_for(advisor: Advisor, *queries: Query) -> None:
    assert isinstance(advisor._counted, Asked)
    for query in queries:
        advisor._counted.add(query)


def look(advisor: Advisor, clock: Clock, *queries: Query) -> None:
    ask_for(advisor, *queries)
    clock.now += HOUR
    advisor.worker.flush(10)


class TestALook:
    def test_finds_what_is_missing_for_what_was_asked(self, shop: URL, clock: Clock) -> None:
        advisor = advisor_for(shop, clock)
        look(advisor, clock, Query(calls=50))
        (saving,), (first,) = advisor.board.saving(), advisor.board.first_seen()
        assert saving.attributes is not None
        assert saving.attributes[semconv.INDEX_HINT_COLUMNS] == "user_id"
        assert saving.attributes[semconv.INDEX_HINT_STATE] == "open"
        assert 0 < saving.value <= 50 * 0.030
        assert first.value == clock.now
        assert advisor.board.ids == {"3fa9": (saving.attributes[semconv.INDEX_HINT_ID],)}

    def test_at_nothing_asks_nobody(self, clock: Clock) -> None:
        def ask(_url: URL) -> Any:
            raise AssertionError("nobody is to be asked")

        advisor = advisor_for("postgresql://nowhere/shop", clock, ask=ask)
        look(advisor, clock)
        look(advisor, clock, Query(namespace="else|public"))
        assert advisor.board.saving() == []

    def test_sees_that_the_index_was_built_and_what_it_saves(self, shop: URL, clock: Clock, tmp_path: Path) -> None:
        file = tmp_path / "hints.json"
        advisor = advisor_for(shop, clock, hints_file=str(file))
        look(advisor, clock, Query(calls=50))
        engine = sa.create_engine(shop)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE INDEX mine ON orders (user_id)")
        engine.dispose()
        look(advisor, clock, Query(milliseconds=1, calls=80))
        look(advisor, clock, Query(milliseconds=2, calls=80))
        (life,) = LivesFile(file).load()
        assert life.state == "applied"
        assert life.measured == pytest.approx(50 * 0.028)
        assert advisor.board.ids == {}
        assert [one.attributes[semconv.INDEX_HINT_STATE] for one in advisor.board.saving() if one.attributes] == [
            "applied"
        ]

    def test_remembers_a_day(self, shop: URL, clock: Clock) -> None:
        advisor = advisor_for(shop, clock)
        look(advisor, clock, Query(calls=240))
        for _ in range(23):
            look(advisor, clock)
        ((life),) = advisor._lives
        assert life.effects[0].calls == pytest.approx(10)
        assert life.seen == clock.now
        look(advisor, clock)
        assert advisor._lives[0].seen < clock.now

    def test_shows_no_hint_of_others_who_use_the_same_file(self, shop: URL, clock: Clock, tmp_path: Path) -> None:
        file = tmp_path / "hints.json"
        look(advisor_for(shop, clock, hints_file=str(file)), clock, Query())
        (life,) = LivesFile(file).load()
        LivesFile(file).save([life, replace(life, namespace="else")])
        advisor = advisor_for(shop, clock, hints_file=str(file))
        look(advisor, clock, Query("SELECT * FROM orders WHERE id = ?"))
        assert advisor.board.saving() == []
        assert len(LivesFile(file).load()) == 2

    def test_counts_what_was_asked_since_the_last_one(self, clock: Clock) -> None:
        advisor = advisor_for("engine", clock)
        ask_for(advisor, Query(calls=10), Query("other text", 30, calls=10), Query("theirs", 7, "else", "bb01"))
        first = [(one.text, one.calls, one.nanoseconds) for one in advisor._asked_since()]
        assert first == [(TEXT, 10, 300_000_000), ("other text", 10, 300_000_000), ("theirs", 1, 7_000_000)]
        assert advisor._asked_since() == []
        ask_for(advisor, Query("third text", 50, calls=2))
        assert [(one.text, one.calls, one.nanoseconds) for one in advisor._asked_since()] == [
            ("third text", 2, 100_000_000)
        ]

    def test_takes_the_application_s_samples(self, shop: URL, clock: Clock) -> None:
        samples, seen = ParameterSamples(values=True), []
        samples.add("3fa9", {"user": 7}, "SELECT * FROM orders WHERE user_id = :user")

        @contextmanager
        def ask(url: URL) -> Iterator[Any]:
            with planner_for(url) as planner:
                estimate = planner.estimate

                def told(query: Any, *rest: Any) -> Any:
                    seen.append(list(query.parameters))
                    return estimate(query, *rest)

                planner.estimate = told
                yield planner

        look(advisor_for(shop, clock, ask=ask, samples=samples), clock, Query())
        assert seen
        assert all(one == [{"user": 7}] for one in seen)

    def test_is_at_the_most_expensive_queries(self, shop: URL, clock: Clock) -> None:
        advisor = advisor_for(shop, clock)
        for number in range(MOST_QUERIES + 20):
            ask_for(advisor, Query(f"SELECT {number}", 1, fingerprint=f"f{number}"))
        look(advisor, clock, Query())
        assert len(advisor._queries(advisor._looks, None)) == MOST_QUERIES
        assert len(advisor.board.saving()) == 1

    def test_that_fails_is_one_line_without_a_password(
        self, clock: Clock, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        def ask(_url: URL) -> Any:
            raise AdvisorError("the server is asleep")

        advisor = advisor_for("postgresql://me:secret@db/shop", clock, ask=ask)
        with caplog.at_level(logging.WARNING, "dbvitals"):
            for _ in range(3):
                look(advisor, clock, Query())
        (record,) = caplog.records
        assert record.getMessage() == ("dbvitals: no index hints for postgresql://me:***@db/shop: the server is asleep")

    def test_that_breaks_is_a_fault_of_ours(self, clock: Clock) -> None:
        def ask(_url: URL) -> Any:
            raise ValueError("secret")

        look(advisor_for("postgresql://db/shop", clock, ask=ask), clock, Query())
        assert guard.faults() == {"advisor.look": 1}
        guard.reset()

    def test_at_one_database_does_not_keep_from_another(self, shop: URL, clock: Clock, tmp_path: Path) -> None:
        advisor = advisor_for("engine", clock, urls=[make_url("sqlite://"), shop.set(drivername="sqlite+aiosqlite")])
        look(advisor, clock, Query())
        assert len(advisor.board.saving()) == 1

    def test_that_is_on_when_all_ends_comes_to_nothing(self, shop: URL, clock: Clock) -> None:
        advisor = advisor_for(shop, clock)
        advisor.install()
        asking, go_on = threading.Event(), threading.Event()

        @contextmanager
        def ask(url: URL) -> Iterator[Any]:
            asking.set()
            go_on.wait(10)
            with planner_for(url) as planner:
                yield planner

        advisor._ask = ask
        ask_for(advisor, Query())
        advisor.worker.wake()
        assert asking.wait(10)
        advisor.uninstall()
        go_on.set()
        with advisor.worker._lock:  # the look has ended
            assert advisor.board.saving() == []
            assert advisor._lives == ()


class TestInAService:
    CONFIG = Config(advise=HOUR, advise_database="engine")

    @pytest.fixture
    def engine(self, shop: URL) -> Iterator[Any]:
        made = sa.create_engine(shop)
        yield made
        made.dispose()

    def ask(self, engine: Any, times: int = 20) -> None:
        with engine.connect() as connection:
            for number in range(times):
                connection.execute(sa.text("SELECT * FROM orders WHERE user_id = :user"), {"user": number}).all()

    def advisor(self) -> Advisor:
        assert watch._watch is not None
        return next(plug for plug in watch._watch.plugs if isinstance(plug, Advisor))

    def look(self) -> Advisor:
        self.advisor().worker.flush(10)
        return self.advisor()

    def test_hints_are_metrics_by_the_application_s_own_url(self, engine: Any) -> None:
        with testing.observe(config=self.CONFIG) as seen:
            self.ask(engine)
            self.look()
            spans = len(seen.spans())
            (point,) = seen.points(semconv.INDEX_HINT_SAVING)
            assert point.attributes[semconv.INDEX_HINT_COLUMNS] == "user_id"
            assert point.value > 0
            assert len(seen.points(semconv.INDEX_HINT_FIRST_SEEN)) == 1
            assert (spans, len(seen.spans())) == (20, 20)  # the advisor's own are not among them

    def test_a_slow_query_that_a_hint_serves_names_it(self, engine: Any) -> None:
        with testing.observe(config=replace(self.CONFIG, slow=True, slow_threshold=1e-9)) as seen:
            self.ask(engine)
            self.look()
            before = len(seen.spans())
            self.ask(engine)
            (point,) = seen.points(semconv.INDEX_HINT_SAVING)
            first, later = seen.spans()[0], seen.spans()[before]
            assert semconv.INDEX_HINT_IDS not in first.attributes
            assert list(later.attributes[semconv.INDEX_HINT_IDS]) == [point.attributes[semconv.INDEX_HINT_ID]]

    def test_it_is_off_unless_it_is_asked_for(self, engine: Any) -> None:
        threads = threading.active_count()
        with testing.observe(config=Config(slow=False)):
            self.ask(engine)
            assert watch._watch is not None
            assert not [plug for plug in watch._watch.plugs if isinstance(plug, Advisor)]
            assert threading.active_count() == threads

    def test_calls_count_that_are_not_sampled_and_not_judged(self, engine: Any) -> None:
        reader = InMemoryMetricReader()
        dbvitals.instrument(
            tracer_provider=TracerProvider(sampler=ALWAYS_OFF),
            meter_provider=MeterProvider([reader]),
            config=replace(self.CONFIG, slow=False),
        )
        try:
            self.ask(engine)
            assert len(self.look().board.saving()) == 1
        finally:
            dbvitals.uninstrument()

    def test_it_ends_with_the_instrumentation(self, engine: Any) -> None:
        threads = threading.active_count()
        with testing.observe(config=self.CONFIG):
            advisor = self.advisor()
            assert advisor.worker.running
        assert not advisor.worker.running
        for thread in threading.enumerate():
            if thread.name == "dbvitals-advisor":
                thread.join(10)
        assert threading.active_count() <= threads + 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # from Python 3.12 on, of threads at a fork
    def test_a_forked_child_begins_anew(self, engine: Any) -> None:
        with testing.observe(config=replace(self.CONFIG, sample_parameters=True)):
            self.ask(engine)
            advisor = self.look()
            assert watch._watch is not None
            assert watch._watch.samples is not None
            assert advisor.board.saving()
            child = os.fork()
            if not child:
                try:
                    alive = any(thread.name == "dbvitals-advisor" for thread in threading.enumerate())
                    kept = watch._watch.samples._kept or advisor.board.saving() or advisor._looks or advisor._lives
                    os._exit(0 if alive and not kept else 1)
                except BaseException:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert advisor.board.saving()

    def test_parameters_are_sampled_where_that_is_allowed(self, engine: Any) -> None:
        with testing.observe(config=Config(sample_parameters=True)) as seen:
            self.ask(engine, 3)
            with engine.begin() as connection:
                statement = sa.text("INSERT INTO orders (note) VALUES (:note)")
                connection.execute(statement, [{"note": "a"}, {"note": "b"}])
            fingerprints = {span.attributes[semconv.FINGERPRINT] for span in seen.spans() if span.attributes}
            assert watch._watch is not None
            assert watch._watch.samples is not None
            kept = [watch._watch.samples.get(str(one)) for one in fingerprints]
            (sampled,) = [one for one in kept if one is not None]
            assert sampled.calls == 3
            assert sorted(tuple(one) for one in sampled.sets) == [(0,), (1,), (2,)]
        with testing.observe():
            assert watch._watch is not None
            assert watch._watch.samples is None

    def test_a_url_that_is_missing_is_said_at_the_start(self) -> None:
        with pytest.raises(dbvitals.ConfigError, match="advise_database"):
            Config(advise=HOUR)
        assert "secret" not in repr(Config(advise=HOUR, advise_database="postgresql://me:secret@db/shop"))


@pytest.mark.postgresql
class TestWithPostgreSQL:
    @pytest.fixture
    def url(self, postgresql_url: str) -> Iterator[URL]:
        server = make_url(postgresql_url).set(drivername="postgresql+psycopg")
        control = sa.create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with control.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            connection.exec_driver_sql(f"CREATE DATABASE {DATABASE}")
        url = server.set(database=DATABASE)
        owner = sa.create_engine(url, poolclass=NullPool)
        with owner.begin() as connection:
            connection.exec_driver_sql(
                f"CREATE TABLE orders AS SELECT i AS id, mod(i, 5000) AS user_id, 'note ' || i AS note "
                f"FROM generate_series(1, {ROWS}) AS i"
            )
            connection.exec_driver_sql("ALTER TABLE orders ADD PRIMARY KEY (id)")
            connection.exec_driver_sql("ANALYZE orders")
        yield url
        with control.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")

    def test_a_hint_is_open_then_its_index_is_really_created_then_it_has_a_measured_saving(
        self, url: URL, tmp_path: Path
    ) -> None:
        file = tmp_path / "hints.json"
        config = Config(
            advise=HOUR,
            advise_database=url.render_as_string(hide_password=False),
            hints_file=str(file),
            sample_parameters=True,
        )
        engine = sa.create_engine(url)
        service = TestInAService()
        with testing.observe(config=config) as seen:
            service.ask(engine)
            service.look()
            (open_,) = seen.points(semconv.INDEX_HINT_SAVING)
            assert open_.attributes[semconv.INDEX_HINT_STATE] == "open"
            assert open_.attributes[semconv.INDEX_HINT_VERIFICATION] == "hypothetical"
            assert open_.attributes[semconv.DB_NAMESPACE] == f"{DATABASE}|public"
            spans = seen.spans("SELECT orders")
            assert {span.attributes[semconv.DB_NAMESPACE] for span in spans if span.attributes} == {
                f"{DATABASE}|public"
            }
            with sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
                connection.exec_driver_sql(open_.attributes[semconv.INDEX_HINT_DDL])
            service.ask(engine)
            service.look()
            service.ask(engine)
            service.look()
            (applied,) = seen.points(semconv.INDEX_HINT_SAVING)
            assert applied.attributes[semconv.INDEX_HINT_STATE] == "applied"
            assert applied.value == open_.value
        engine.dispose()
        (life,) = LivesFile(file).load()
        assert life.state == "applied"
        assert life.measured is not None
        assert life.predicted is not None
        effect = life.effects[0]
        assert effect.before is not None
        assert effect.after is not None
        assert life.measured == pytest.approx((effect.before - effect.after) * effect.calls)
        assert effect.after < effect.before
