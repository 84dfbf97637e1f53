"""What a user sees of connection pools: counts that agree with the pool, waits, uses, time-outs, checkout spans."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import pool as pools

from dbvitals import testing, watch
from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.pool import MOST_NAMES, PoolWatch


def counts(seen: testing.Seen, name: str | None = None) -> dict[str, int]:
    """Idle and used connections, as the metric tells them."""
    points = seen.points(semconv.CONNECTION_COUNT)
    if name is not None:
        points = [point for point in points if point.attributes[semconv.POOL_NAME] == name]
    return {point.attributes[semconv.CONNECTION_STATE]: point.value for point in points}


def value(seen: testing.Seen, metric: str) -> Any:
    """The value of the only point of a metric."""
    (point,) = seen.points(metric)
    return point.value


def test_a_checkout_is_an_internal_span_with_its_wait(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite", pool_size=2)
    seen.clear()
    engine.dispose()
    for _ in range(2):
        with engine.connect():
            pass
    first, second = seen.spans(semconv.CHECKOUT_SPAN)
    assert first.kind is SpanKind.INTERNAL
    assert first.attributes[semconv.POOL_NEW_CONNECTION] is True
    assert second.attributes[semconv.POOL_NEW_CONNECTION] is False
    assert 0 < second.attributes[semconv.POOL_WAIT] < first.attributes[semconv.POOL_WAIT]
    assert first.attributes[semconv.POOL_NAME].startswith("sqlite:")


def test_counts_and_limits_of_a_queue_pool_are_those_of_the_pool(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("sqlite", table=False, pool_size=3, max_overflow=2)
    held = [engine.connect() for _ in range(4)]
    assert counts(seen) == {"idle": 0, "used": 4}
    for connection in held[:3]:
        connection.close()
    assert counts(seen) == {"idle": 3, "used": 1}
    assert value(seen, semconv.CONNECTION_MAX) == 5
    assert value(seen, semconv.CONNECTION_IDLE_MAX) == 3
    assert value(seen, semconv.CONNECTION_IDLE_MIN) == 0
    assert value(seen, semconv.CONNECTION_PENDING_REQUESTS) == 0
    held[3].close()


def test_waiting_creating_and_using_are_measured(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite", table=False, pool_size=3)
    for _ in range(5):
        with engine.connect():
            pass
    assert [seen.points(name)[0].count for name in (semconv.CONNECTION_WAIT_TIME, semconv.CONNECTION_USE_TIME)] == [
        5,
        5,
    ]
    assert seen.points(semconv.CONNECTION_CREATE_TIME)[0].count == 1


def test_a_timeout_is_counted_and_its_checkout_is_an_error(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite", table=False, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), pytest.raises(sa.exc.TimeoutError):
        engine.connect()
    failed = seen.spans(semconv.CHECKOUT_SPAN)[-1]
    assert failed.attributes[semconv.ERROR_TYPE] == "sqlalchemy.exc.TimeoutError"
    assert failed.status.status_code is StatusCode.ERROR
    assert value(seen, semconv.CONNECTION_TIMEOUTS) == 1
    assert counts(seen) == {"idle": 1, "used": 0}


def test_a_request_that_waits_is_pending(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite", table=False, pool_size=1, max_overflow=0)
    holder = engine.connect()
    thread = threading.Thread(target=lambda: engine.connect().close())
    thread.start()
    deadline = threading.Event()
    for _ in range(500):
        if value(seen, semconv.CONNECTION_PENDING_REQUESTS) == 1:
            break
        deadline.wait(0.01)
    assert value(seen, semconv.CONNECTION_PENDING_REQUESTS) == 1
    holder.close()
    thread.join()
    assert value(seen, semconv.CONNECTION_PENDING_REQUESTS) == 0


def test_a_failed_connect_is_a_failed_checkout(seen: testing.Seen) -> None:
    engine = sa.create_engine("postgresql+psycopg2://nobody:geheim@127.0.0.1:1/nothing")
    with pytest.raises(sa.exc.OperationalError):
        engine.connect()
    failed = seen.spans(semconv.CHECKOUT_SPAN)[-1]
    assert failed.status.status_code is StatusCode.ERROR
    assert "geheim" not in failed.to_json()
    assert value(seen, semconv.CONNECTION_PENDING_REQUESTS) == 0


def test_invalidated_connections_are_counted_with_their_reason(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("sqlite", table=False, pool_size=2)
    with engine.connect() as connection:
        connection.invalidate()
    with engine.connect() as connection:
        connection.invalidate(sa.exc.OperationalError("select 'geheim'", {}, ValueError("geheim")))
    reasons = {point.attributes[semconv.REASON]: point.value for point in seen.points(semconv.CONNECTION_INVALIDATIONS)}
    assert reasons == {"requested": 1, "ValueError": 1}


def test_detached_connections_are_no_longer_used(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite", table=False, pool_size=2)
    with engine.connect() as connection:
        connection.detach()
        assert counts(seen) == {"idle": engine.pool.checkedin(), "used": 0}
    assert seen.points(semconv.CONNECTION_USE_TIME)[0].count == 1


def test_pre_ping_and_recycling_keep_the_counts(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("postgresql", table=False, pool_size=2, pool_pre_ping=True, pool_recycle=0)
    for _ in range(3):
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
            assert counts(seen)["used"] == 1
    assert counts(seen)["used"] == 0
    assert len([span for span in seen.spans() if span.name.startswith("SELECT")]) >= 3


@pytest.mark.parametrize(
    "poolclass, during, after, most",
    [
        (pools.NullPool, {"idle": 0, "used": 1}, {"idle": 0, "used": 0}, None),
        (pools.StaticPool, {"idle": 0, "used": 1}, {"idle": 1, "used": 0}, 1),
        (pools.SingletonThreadPool, {"idle": 0, "used": 1}, {"idle": 1, "used": 0}, 5),
        (pools.AssertionPool, {"idle": 0, "used": 1}, {"idle": 1, "used": 0}, 1),
        (pools.QueuePool, {"idle": 0, "used": 1}, {"idle": 1, "used": 0}, 15),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_kind_of_pool_tells_its_connections(
    poolclass: Any, during: dict[str, int], after: dict[str, int], most: int | None, seen: testing.Seen
) -> None:
    engine = sa.create_engine("sqlite://", poolclass=poolclass)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1")).all()
        assert counts(seen) == during
    assert counts(seen) == after
    assert [point.value for point in seen.points(semconv.CONNECTION_MAX)] == ([] if most is None else [most])
    engine.dispose()


async def test_an_async_pool_is_watched_like_any_other(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("asyncpg", pool_size=2)
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT 1"))
        assert counts(seen) == {"idle": 0, "used": 1}
    assert counts(seen) == {"idle": 1, "used": 0}
    await engine.dispose()


def test_a_pool_made_anew_by_dispose_keeps_its_name(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite", table=False, pool_size=2)
    for _ in range(3):
        with engine.connect():
            assert counts(seen) == {"idle": 0, "used": 1}
        engine.dispose()
    names = {span.attributes[semconv.POOL_NAME] for span in seen.spans(semconv.CHECKOUT_SPAN)}
    assert len(names) == 1
    assert seen.points(semconv.CONNECTION_USE_TIME)[0].count == 3


def test_pools_of_the_same_server_have_names_of_their_own(seen: testing.Seen, engine_of: Callable[..., Any]) -> None:
    engines = [engine_of("sqlite", table=False, poolclass=pools.QueuePool) for _ in range(2)]
    named = engine_of("sqlite", table=False, pool_logging_name="replica")
    for engine in (*engines, named):
        with engine.connect():
            pass
    names = [span.attributes[semconv.POOL_NAME] for span in seen.spans(semconv.CHECKOUT_SPAN)]
    assert names[1] == f"{names[0]}#2"
    assert names[2] == "replica"


def test_a_pool_that_is_gone_is_no_longer_told_of(seen: testing.Seen) -> None:
    import gc

    engine = sa.create_engine("sqlite://", poolclass=pools.NullPool)
    with engine.connect():
        assert counts(seen)["used"] == 1
    engine.dispose()
    del engine
    gc.collect()
    assert counts(seen) == {}


def pool_names(seen: testing.Seen) -> set[str]:
    """The names that checkouts have had."""
    return {span.attributes[semconv.POOL_NAME] for span in seen.spans(semconv.CHECKOUT_SPAN)}


def use_once(engine: Any) -> None:
    """Check a connection out and in."""
    with engine.connect():
        pass


def test_engines_that_keep_no_connections_share_a_name_and_are_counted_together(seen: testing.Seen) -> None:
    engines = [sa.create_engine("sqlite://", poolclass=pools.NullPool) for _ in range(50)]
    with contextlib.ExitStack() as held:
        for engine in engines[:40]:
            held.enter_context(engine.connect())
        assert counts(seen) == {"idle": 0, "used": 40}
        assert len(seen.points(semconv.CONNECTION_COUNT)) == 2
    for engine in engines[40:]:
        use_once(engine)
    assert counts(seen) == {"idle": 0, "used": 0}
    assert pool_names(seen) == {"sqlite::memory:"}
    assert value(seen, semconv.CONNECTION_IDLE_MAX) == 0
    assert value(seen, semconv.CONNECTION_IDLE_MIN) == 0
    assert value(seen, semconv.CONNECTION_PENDING_REQUESTS) == 0
    assert seen.points(semconv.CONNECTION_MAX) == []
    assert [point.count for point in seen.points(semconv.CONNECTION_USE_TIME)] == [50]


def test_engines_made_and_dropped_again_and_again_have_one_series_and_lose_no_measurement(seen: testing.Seen) -> None:
    import gc

    for _ in range(100):
        use_once(sa.create_engine("sqlite://", poolclass=pools.NullPool))
    gc.collect()
    assert [point.count for point in seen.points(semconv.CONNECTION_WAIT_TIME)] == [100]


def test_a_pool_with_a_limit_does_not_share_the_name_of_those_without(seen: testing.Seen) -> None:
    kinds = (pools.QueuePool, pools.NullPool, pools.NullPool, pools.QueuePool)
    engines = [sa.create_engine("sqlite://", poolclass=kind) for kind in kinds]
    for engine in engines:
        use_once(engine)
    names = [span.attributes[semconv.POOL_NAME] for span in seen.spans(semconv.CHECKOUT_SPAN)]
    assert [name.removeprefix("sqlite::memory:") for name in names] == ["", "#2", "#2", "#3"]
    for engine in engines:
        engine.dispose()


def test_the_name_of_a_pool_that_is_gone_is_given_again(seen: testing.Seen) -> None:
    import gc

    engines = [sa.create_engine("sqlite://", poolclass=pools.QueuePool) for _ in range(3)]
    for engine in engines:
        use_once(engine)
    engines.pop(1).dispose()
    del engine
    gc.collect()
    seen.clear()
    new = sa.create_engine("sqlite://", poolclass=pools.QueuePool)
    use_once(new)
    assert pool_names(seen) == {"sqlite::memory:#2"}
    for engine in (new, *engines):
        engine.dispose()


def test_a_pool_made_anew_gets_another_name_where_its_own_was_given_away(seen: testing.Seen) -> None:
    first, second = (sa.create_engine("sqlite://", poolclass=pools.QueuePool, pool_size=n) for n in (3, 4))
    use_once(first)
    first.dispose()
    use_once(second)
    use_once(first)
    named = {point.attributes[semconv.POOL_NAME]: point.value for point in seen.points(semconv.CONNECTION_IDLE_MAX)}
    assert named == {"sqlite::memory:": 4, "sqlite::memory:#2": 3}
    for engine in (first, second):
        engine.dispose()


def test_a_server_has_at_most_thirty_two_pool_names_and_one_for_all_others(seen: testing.Seen) -> None:
    engines = [sa.create_engine("sqlite://", poolclass=pools.QueuePool, pool_size=2) for _ in range(MOST_NAMES + 8)]
    with contextlib.ExitStack() as held:
        for engine in engines:
            held.enter_context(engine.connect())
        assert len(pool_names(seen)) == MOST_NAMES + 1
        assert counts(seen, "sqlite::memory:") == {"idle": 0, "used": 1}
        assert counts(seen, f"sqlite::memory:#{MOST_NAMES}") == {"idle": 0, "used": 1}
        assert counts(seen, "sqlite::memory:#other") == {"idle": 0, "used": 8}
    assert counts(seen, "sqlite::memory:#other") == {"idle": 8, "used": 0}
    for metric, most in ((semconv.CONNECTION_MAX, 12), (semconv.CONNECTION_IDLE_MAX, 2)):
        limits = {point.attributes[semconv.POOL_NAME]: point.value for point in seen.points(metric)}
        assert (limits["sqlite::memory:"], limits["sqlite::memory:#other"]) == (most, 8 * most)
    for engine in engines:
        engine.dispose()


def test_further_pools_have_no_limit_together_if_one_of_them_has_none(seen: testing.Seen) -> None:
    engines = [
        sa.create_engine("sqlite://", poolclass=pools.QueuePool, max_overflow=number) for number in [0] * 33 + [-1]
    ]
    for engine in engines:
        use_once(engine)
    assert len(seen.points(semconv.CONNECTION_MAX)) == MOST_NAMES
    for engine in engines:
        engine.dispose()


def test_the_most_connections_out_at_once_are_known_exactly(engine_of: Callable[..., Any]) -> None:
    with testing.observe():
        engine = engine_of("sqlite", table=False, pool_size=4, max_overflow=4)
        for most in (2, 8, 3):
            together = threading.Barrier(most)

            def work(together: threading.Barrier = together) -> None:
                with engine.connect():
                    together.wait(30)

            threads = [threading.Thread(target=work) for _ in range(most)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert watch._watch is not None
        (plug,) = (plug for plug in watch._watch.plugs if isinstance(plug, PoolWatch))
        assert [pool.peak for pool in plug._pools.values()] == [8]


def test_without_pool_watching_there_are_queries_alone(engine_of: Callable[..., Any]) -> None:
    with testing.observe(config=Config(pool=False)) as seen:
        engine = engine_of("sqlite")
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
        assert seen.spans(semconv.CHECKOUT_SPAN) == []
        assert counts(seen) == {}
        assert seen.spans()


class Worker(threading.Thread):
    """Does random things to a pool's connections."""

    def __init__(self, engine: Any, seed: int, operations: int) -> None:
        super().__init__()
        self.engine, self.random, self.operations = engine, random.Random(seed), operations
        self.held: list[Any] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for _ in range(self.operations):
                self.step()
        except BaseException as error:
            self.error = error
        finally:
            for connection in self.held:
                connection.close()

    def step(self) -> None:
        choice = self.random.random()
        if choice < 0.5 or not self.held:
            if len(self.held) < 2:
                with contextlib.suppress(sa.exc.TimeoutError):
                    self.held.append(self.engine.connect())
        elif choice < 0.9:
            self.held.pop().close()
        elif choice < 0.94:
            self.held[-1].invalidate()
        elif choice < 0.96 and not self.held[-1].invalidated:
            connection = self.held.pop()
            connection.detach()
            connection.close()
        elif not self.held[-1].invalidated:
            self.held[-1].execute(sa.text("SELECT 1")).all()


def test_counts_reconcile_with_the_pool_after_ten_thousand_random_operations(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    engine = engine_of("sqlite", table=False, pool_size=4, max_overflow=3, pool_timeout=0.001)
    workers = [Worker(engine, seed, 1250) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.error for worker in workers] == [None] * 8
    assert counts(seen) == {"idle": engine.pool.checkedin(), "used": engine.pool.checkedout()}
    assert engine.pool.checkedout() == 0
    (waits,), (uses,) = seen.points(semconv.CONNECTION_WAIT_TIME), seen.points(semconv.CONNECTION_USE_TIME)
    assert waits.count == uses.count
    assert value(seen, semconv.CONNECTION_PENDING_REQUESTS) == 0
    checkouts = seen.spans(semconv.CHECKOUT_SPAN)
    timeouts = sum(point.value for point in seen.points(semconv.CONNECTION_TIMEOUTS))
    assert len(checkouts) == waits.count + timeouts
