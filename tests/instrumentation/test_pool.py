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

from dbvitals import testing
from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.config import Config


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
    engine = sa.create_engine("postgresql+psycopg://nobody:geheim@127.0.0.1:1/nothing")
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
    engine = engine_of("psycopg", table=False, pool_size=2, pool_pre_ping=True, pool_recycle=0)
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
    engines = [engine_of("sqlite", table=False) for _ in range(2)]
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
