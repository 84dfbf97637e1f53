"""The shop's day: a fixed list of requests, served by a few threads, each request under a server span."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import SpanKind, StatusCode, Tracer
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from dbvitals.shop.cache import Cache
from dbvitals.shop.pages import PAGE, Pages
from dbvitals.shop.seed import SEED, Size

THREADS = 6
POOL_SIZE = 3
MAX_OVERFLOW = 1
POOL_TIMEOUT = 0.8
OUTAGE = 1.2
"""Seconds that requests hold every connection of the pool in an outage: longer than others wait for one."""

BETWEEN = 0.003
"""Seconds in which a thread waits for its next request, and others get at the connection that it gave back."""

REQUESTS = 600
_WORDS = ("teapot", "lamp", "wool", "blue chair", "kettle", "umb")
_FAILURES = (IntegrityError, OperationalError, PoolTimeout)  # what a request may end in; anything else is our mistake


@dataclass(frozen=True)
class Request:
    """One request: the route that its span is named by, and the page that answers it."""

    route: str
    page: str
    arguments: tuple[Any, ...] = ()
    outage: bool | None = None


@dataclass(frozen=True)
class Outcome:
    """How many requests were answered and how many failed."""

    answered: int
    failed: int


def requests(size: Size, scale: float, day: int = 0) -> list[Request]:
    """The requests of a day: the same each time, in the same order. No two days place the same orders."""
    chance = random.Random(SEED + day)
    number = max(40, round(REQUESTS * scale))
    planned: list[Request] = []
    for index in range(number):
        planned.append(_request(chance, day * number + index, size))
        if index % max(20, number // 12) == 19:
            planned.append(Request("GET /admin/events", "export_events"))
    outage = [
        Request("POST /payments", "pay", (chance.randint(1, size.customers),), outage=True)
        for _ in range(POOL_SIZE + MAX_OVERFLOW)
    ]
    middle = len(planned) // 2
    return planned[:middle] + outage + planned[middle:]


def _request(chance: random.Random, index: int, size: Size) -> Request:
    customer, dice = chance.randint(1, size.customers), chance.random()
    if dice < 0.12:
        return Request("GET /orders", "list_orders", (chance.randrange(min(40, size.orders // PAGE)),))
    if dice < 0.30:
        return Request("GET /customers/{id}/orders", "orders_of_customer", (customer,))
    if dice < 0.42:
        return Request("GET /search", "search", (chance.choice(_WORDS),))
    if dice < 0.66:
        return Request("GET /products/{id}", "show_product", (1 + int(chance.paretovariate(1.2)) % 40,))
    if dice < 0.80:
        return Request("GET /recommendations", "recommend", (f"s{chance.randrange(200):06}", index))
    if dice < 0.92:
        products = [chance.randint(1, size.products) for _ in range(3)]
        reference = "N-double-click" if dice < 0.825 else f"N{index:08}"
        return Request("POST /orders", "place_order", (customer, reference, products))
    return Request("POST /payments", "pay", (customer,), outage=False)


def serve(engine: Engine, redis: Any, tracer: Tracer, planned: list[Request], progress: Callable[[], None]) -> Outcome:
    """Answer all requests with :data:`THREADS` threads; ``progress`` hears of each."""
    rendezvous = threading.Barrier(POOL_SIZE + MAX_OVERFLOW)
    pages = Pages(engine, Cache(redis), rendezvous, OUTAGE)
    waiting = deque(planned)
    failed: list[Request] = []
    broken: list[BaseException] = []

    def work() -> None:
        while not broken:
            try:
                request = waiting.popleft()
            except IndexError:
                return
            try:
                if not answer(pages, tracer, request):
                    failed.append(request)
            except BaseException as error:
                broken.append(error)
            progress()
            time.sleep(BETWEEN)

    threads = [threading.Thread(target=work, name=f"shop-{number}", daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        waiting.clear()
        for thread in threads:
            thread.join(timeout=5)
        raise
    if broken:
        raise broken[0]
    return Outcome(len(planned) - len(failed), len(failed))


def answer(pages: Pages, tracer: Tracer, request: Request) -> bool:
    """Answer one request under its server span; false where it failed as requests may."""
    options = {} if request.outage is None else {"outage": request.outage}
    with tracer.start_as_current_span(request.route, kind=SpanKind.SERVER) as span:
        try:
            getattr(pages, request.page)(*request.arguments, **options)
        except _FAILURES as error:
            span.set_status(StatusCode.ERROR, type(error).__name__)
            return False
    return True
