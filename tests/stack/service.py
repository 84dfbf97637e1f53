"""A service for the whole pipeline: the shop on PostgreSQL and Redis, and whatever else a panel or a rule looks at.

    dbvitals run -- python tests/stack/service.py DATABASE REDIS

Until SIGTERM. What a part of dbvitals emits that does not exist yet (a pool that resizes itself, a query cache, a
circuit breaker) or that cannot be provoked (a fault of its own, a full queue) is emitted by hand here, under the names
of the contract.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import redis
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from dbvitals.shop.backends import connect_database, connect_redis, take_down
from dbvitals.shop.cache import PRODUCTS, Cache
from dbvitals.shop.load import requests, serve
from dbvitals.shop.seed import Size, seed
from dbvitals.watch import record_cache
from dbvitals_instrumentation import guard, semconv

SCALE = 0.5
NOBODY = "redis://127.0.0.1:1/0"


def circuit(_options: CallbackOptions) -> Iterable[Observation]:
    return [
        Observation(semconv.CIRCUIT_OPEN, {semconv.CIRCUIT_NAME: PRODUCTS}),
        Observation(semconv.CIRCUIT_CLOSED, {semconv.CIRCUIT_NAME: "recommendations"}),
    ]


class Rest:
    """What the shop itself does not do."""

    def __init__(self, database: str) -> None:
        meter = metrics.get_meter(semconv.SCOPE)
        meter.create_observable_gauge(semconv.CIRCUIT_STATE, [circuit], semconv.STATE)
        self.resizes = meter.create_counter(semconv.POOL_RESIZES, semconv.RESIZES)
        self.invalidations = meter.create_counter(semconv.CACHE_INVALIDATIONS, semconv.INVALIDATIONS)
        self.evictions = meter.create_counter(semconv.CACHE_EVICTIONS, semconv.EVICTIONS)
        self.dropped = meter.create_counter(semconv.DROPPED, semconv.ITEMS)
        self.engine = create_engine(database, pool_size=20, pool_logging_name="idle-pool")
        self.away = redis.Redis.from_url(NOBODY, socket_connect_timeout=0.2, retry=None)
        self.tracer = trace.get_tracer("rest")
        self.turn = 0

    def run(self, ended: threading.Event) -> None:
        while not ended.wait(0.1):
            self.turn += 1
            with self.tracer.start_as_current_span("rest"), contextlib.suppress(redis.RedisError):
                self.work()

    def work(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(text("SELECT pg_sleep(0.15)"))
            for number in range(12):  # more queries than keep series of their own
                connection.execute(text(f"SELECT 1 AS a{number}, {self.turn} AS b"))
            if self.turn % 5 == 0:
                connection.invalidate()
        fail(self.engine)
        for direction in (semconv.UP, semconv.DOWN):
            self.resizes.add(1, {semconv.POOL_NAME: "shop", semconv.POOL_RESIZE_DIRECTION: direction})
        self.invalidations.add(1, {semconv.CACHE_NAME: PRODUCTS, semconv.REASON: "write"})
        self.evictions.add(1, {semconv.CACHE_NAME: PRODUCTS, semconv.REASON: "size"})
        for result in (semconv.BYPASS, semconv.ERROR):
            record_cache(PRODUCTS, result, tier="application")
        guard.fault("tests", RuntimeError())
        self.dropped.add(1, {semconv.REASON: semconv.SLOW_QUEUE_FULL})
        self.away.get("nobody is there")


def fail(engine: Engine) -> None:
    """Ask for what fails, and takes so long that it keeps series of its own."""
    with contextlib.suppress(DBAPIError), engine.connect() as connection:
        connection.execute(text("SELECT 1 / length(pg_sleep(0.1)::text)"))


def fill(engine: Engine) -> Size:
    size = Size.scaled(SCALE)
    seed(engine, size, lambda _rows: None)
    return size


def main(database: str, cache: str) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ended = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        client = connect_redis(cache)
        engine = connect_database(database, Path(folder))
        try:
            fail(engine)  # before the others, as series of their own are few
            size = fill(engine)
            rest = threading.Thread(target=Rest(str(engine.url)).run, args=(ended,))
            rest.start()
            print("serving", flush=True)
            for day in itertools.count():
                serve(engine, client, trace.get_tracer("shop"), requests(size, SCALE, day), lambda: None)
                time.sleep(0.2)
        except KeyboardInterrupt:
            pass
        finally:
            ended.set()
            take_down(engine)
            Cache(client).clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
