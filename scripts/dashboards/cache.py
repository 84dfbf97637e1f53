"""The caches: whether they earn their keep."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.limits import ANY_BAD, HITS
from dashboards.panels import Query, graph, heat, named, number, states
from dashboards.promql import CACHES, SERVICES, WINDOW, any_of, by, equal, increase, quantile, rate, share
from dashboards.variables import CACHES as CACHE_VARIABLE
from dashboards.variables import services
from dbvitals.stack.names import (
    CACHE,
    CACHE_EVICTIONS,
    CACHE_INVALIDATIONS,
    CACHE_OPERATION,
    CACHE_OPERATION_DURATION,
    CACHE_REQUESTS,
    CIRCUIT,
    CIRCUIT_STATE,
    REASON,
    RESULT,
    SERVICE,
    TIER,
)
from dbvitals_instrumentation import semconv

HIT = CACHES(CACHE_REQUESTS, equal(RESULT, semconv.HIT))
ASKED = CACHES(CACHE_REQUESTS, any_of(RESULT, semconv.HIT, semconv.MISS))
FAILED = CACHES(CACHE_REQUESTS, equal(RESULT, semconv.ERROR))
REQUESTS = CACHES(CACHE_REQUESTS)
LEGEND = named(CACHE)
WHO = (SERVICE, CACHE)
WHOSE = named(*WHO)

STATES = {
    semconv.CIRCUIT_CLOSED: ("closed", "green"),
    semconv.CIRCUIT_HALF_OPEN: ("half-open", "orange"),
    semconv.CIRCUIT_OPEN: ("open", "red"),
}


def _of_each(q: float) -> Query:
    legend = f"p{q * 100:.0f} {named(CACHE, CACHE_OPERATION)}"
    return Query(quantile(q, CACHE_OPERATION_DURATION, CACHES, CACHE, CACHE_OPERATION), legend)


NOW = Row(
    "Now",
    (
        number(
            "Hit ratio",
            "Of the reads that a cache could answer, those that it did. Below 90 % the cache costs more looks than it "
            "saves.",
            "percentunit",
            share(rate(HIT), rate(ASKED)),
            steps=HITS,
            width=4,
        ),
        number("Requests per second", "Reads of all selected caches.", "ops", rate(REQUESTS), width=4),
        number(
            "Misses per second",
            "Each of them becomes a query. A sudden rise is an emptied cache: watch the pool.",
            "ops",
            f"{rate(CACHES(CACHE_REQUESTS, equal(RESULT, semconv.MISS)))} or vector(0)",
            width=4,
        ),
        number(
            "Errors per second",
            "Requests that the cache failed to answer. Above zero look at its server, and at the circuit below.",
            "cps",
            f"{rate(FAILED)} or vector(0)",
            steps=ANY_BAD,
            width=4,
        ),
        number(
            "p95 latency",
            "19 of 20 operations are faster. As slow as the query that it spares, it spares nothing.",
            "s",
            quantile(0.95, CACHE_OPERATION_DURATION, CACHES),
            steps=((None, "green"), (0.005, "orange"), (0.05, "red")),
            width=4,
        ),
        number(
            "Evictions per second",
            "Entries that had to go before their time. Where hits are few, too, the cache is too small.",
            "cps",
            f"{rate(CACHES(CACHE_EVICTIONS))} or vector(0)",
            width=4,
        ),
    ),
)

EARNING = Row(
    "Hits",
    (
        graph(
            "Hit ratio by cache and tier",
            "The line is at 90 %. A first tier may be below it where the second catches what it misses.",
            "percentunit",
            Query(
                share(rate(HIT, *WHO, TIER), rate(ASKED, *WHO, TIER)),
                named(*WHO, TIER),
            ),
            steps=HITS,
            top=1,
            width=12,
        ),
        graph(
            "Requests by result",
            "“bypass” did not ask the cache, “error” could not. Misses that grow while requests do not: entries end "
            "too early, or keys are too particular.",
            "ops",
            Query(rate(REQUESTS, CACHE, RESULT), named(CACHE, RESULT)),
            stacked=True,
            width=12,
        ),
    ),
)

LATENCY = Row(
    "Latency and errors",
    (
        heat(
            "Durations of operations",
            "How many operations took how long. A cloud above the band is the network, a large value or a busy server.",
            "s",
            Query(
                increase(CACHES(f"{CACHE_OPERATION_DURATION}_bucket"), "le", window=WINDOW), "{{le}}", exemplars=True
            ),
            width=8,
            height=8,
        ),
        graph(
            "Latency by operation",
            "The median and the slowest of 20.",
            "s",
            _of_each(0.5),
            _of_each(0.95),
        ),
        graph(
            "Errors by cache",
            "Requests that failed. The service goes on without the cache, so its queries rise: watch the pool.",
            "cps",
            Query(rate(FAILED, *WHO), WHOSE),
            steps=ANY_BAD,
        ),
    ),
)

CONTENT = Row(
    "Content and circuit",
    (
        graph(
            "Invalidations",
            "Entries that were removed because what they hold has changed. Many of them for few hits: cache something "
            "that changes less.",
            "cps",
            Query(rate(CACHES(CACHE_INVALIDATIONS), *WHO, REASON), named(*WHO, REASON)),
            stacked=True,
        ),
        graph(
            "Evictions",
            "Entries that had to go before their time, by reason. For want of room: a larger cache, or smaller values.",
            "cps",
            Query(rate(CACHES(CACHE_EVICTIONS), *WHO, REASON), named(*WHO, REASON)),
            stacked=True,
        ),
        states(
            "Circuit",
            "Open: the cache is left alone as it kept failing, and is tried again by and by. The worst of all "
            "processes is shown. Open for long: look at the server.",
            Query(by((SERVICE, CIRCUIT), SERVICES(CIRCUIT_STATE), "max"), named(SERVICE, CIRCUIT)),
            STATES,
        ),
    ),
)

BOARD = Board(
    name="cache",
    title="Caches",
    description="Whether the caches earn their keep.",
    variables=(*services(CACHE_REQUESTS), CACHE_VARIABLE),
    rows=(NOW, EARNING, LATENCY, CONTENT),
)
