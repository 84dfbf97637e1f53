"""The connection pools: whether they have the right size, and who waits."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.limits import ANY, ANY_BAD, BAND, BAND_GROUND
from dashboards.links import address, link, of_series
from dashboards.panels import Query, graph, heat, named, number
from dashboards.promql import POOLS, WINDOW, by, equal, increase, mean, pool_use, quantile, rate
from dashboards.variables import POOLS as POOL_VARIABLE
from dashboards.variables import services
from dbvitals.stack.names import (
    CONNECTION_COUNT,
    CONNECTION_CREATE_TIME,
    CONNECTION_INVALIDATIONS,
    CONNECTION_MAX,
    CONNECTION_PENDING_REQUESTS,
    CONNECTION_STATE,
    CONNECTION_TIMEOUTS,
    CONNECTION_USE_TIME,
    CONNECTION_WAIT_TIME,
    POOL,
    POOL_RESIZES,
    REASON,
    RESIZE_DIRECTION,
    SERVICE,
)
from dbvitals_instrumentation import semconv

WHO = (SERVICE, POOL)
LEGEND = named(SERVICE, POOL)
QUERIES = link("Queries of this service", address("dbvitals-queries", service=of_series(SERVICE)))
WAIT = ((None, "green"), (0.01, "orange"), (0.1, "red"))


def _state(state: str) -> Query:
    series = POOLS(CONNECTION_COUNT, equal(CONNECTION_STATE, state))
    return Query(by(WHO, series), f"{state} {LEGEND}")


def _of_each(q: float, histogram: str, exemplars: bool = False) -> Query:
    return Query(quantile(q, histogram, POOLS, *WHO), f"p{q * 100:.0f} {LEGEND}", exemplars)


NOW = Row(
    "Now",
    (
        number(
            "Use",
            "Connections in use, of those allowed, in all selected pools. 70 to 80 % is the right size.",
            "percentunit",
            pool_use(POOLS),
            steps=BAND,
            width=4,
        ),
        number(
            "Connections in use",
            "By the requests that hold them, whether they query or not.",
            "short",
            by((), POOLS(CONNECTION_COUNT, equal(CONNECTION_STATE, semconv.USED))),
            width=4,
        ),
        number(
            "Waiting callers",
            "Requests that wait for a connection at this moment. Where it stays above zero, the pool is too small or "
            "connections are held too long.",
            "short",
            by((), POOLS(CONNECTION_PENDING_REQUESTS)),
            steps=ANY,
            width=4,
        ),
        number(
            "p95 wait",
            "19 of 20 requests get a connection faster. From 10 ms on, callers feel it.",
            "s",
            quantile(0.95, CONNECTION_WAIT_TIME, POOLS),
            steps=WAIT,
            width=4,
        ),
        number(
            "Time-outs per second",
            "Requests that got no connection at all: they failed. See what holds the connections.",
            "cps",
            f"{rate(POOLS(CONNECTION_TIMEOUTS))} or vector(0)",
            steps=ANY_BAD,
            width=4,
        ),
        number(
            "Connections made per second",
            "A pool that makes many is too small for its peaks, or loses them: see invalidations.",
            "cps",
            rate(POOLS(f"{CONNECTION_CREATE_TIME}_count")),
            width=4,
        ),
    ),
)

SIZE = Row(
    "Size",
    (
        graph(
            "Connections",
            "In use, idle, and allowed. “used” at the height of “max” means that others wait; “idle” that never falls "
            "is memory of the database.",
            "short",
            _state(semconv.USED),
            _state(semconv.IDLE),
            Query(by(WHO, POOLS(CONNECTION_MAX)), f"max {LEGEND}"),
            width=12,
        ),
        graph(
            "Use, of what is allowed",
            "In the green band, 70 to 80 %, is the right size. Above: shorten what holds connections, then enlarge. "
            "Below: make it smaller.",
            "percentunit",
            Query(pool_use(POOLS, *WHO), LEGEND),
            steps=BAND_GROUND,
            band=True,
            top=1,
            links=[QUERIES],
            width=12,
        ),
    ),
)

WAITING = Row(
    "Waiting",
    (
        graph(
            "Wait for a connection",
            "The median and the slowest of 20. A click on a point opens the trace of a request that waited.",
            "s",
            _of_each(0.5, CONNECTION_WAIT_TIME, exemplars=True),
            _of_each(0.95, CONNECTION_WAIT_TIME, exemplars=True),
            steps=WAIT,
        ),
        graph(
            "Callers that wait",
            "At the moments of measurement. Short peaks are bursts; a plateau is a pool that cannot keep up.",
            "short",
            Query(by(WHO, POOLS(CONNECTION_PENDING_REQUESTS)), LEGEND),
        ),
        graph(
            "Time-outs",
            "Requests that gave up waiting, and failed.",
            "cps",
            Query(rate(POOLS(CONNECTION_TIMEOUTS), *WHO), LEGEND),
            steps=ANY_BAD,
        ),
    ),
)

HOLDING = Row(
    "Holding and making",
    (
        graph(
            "Use of a connection",
            "How long a request holds a connection: far longer than its queries take is a transaction that idles while "
            "something else is done. End it first.",
            "s",
            _of_each(0.5, CONNECTION_USE_TIME),
            _of_each(0.95, CONNECTION_USE_TIME),
            links=[QUERIES],
        ),
        heat(
            "Times of use",
            "How many holds took how long. A second band high up is what exhausts the pool.",
            "s",
            Query(increase(POOLS(f"{CONNECTION_USE_TIME}_bucket"), "le", window=WINDOW), "{{le}}", exemplars=True),
            width=8,
            height=8,
        ),
        graph(
            "Making a connection",
            "How long it takes to connect. Above 50 ms look at the network, TLS and name resolution, and keep "
            "connections longer.",
            "s",
            _of_each(0.95, CONNECTION_CREATE_TIME),
            Query(mean(CONNECTION_CREATE_TIME, POOLS, *WHO), f"mean {LEGEND}"),
        ),
        graph(
            "Invalidated connections",
            "Thrown away as broken. Many at once are a restart of the database or a firewall that cuts idle "
            "connections: recycle them earlier.",
            "cps",
            Query(rate(POOLS(CONNECTION_INVALIDATIONS), *WHO, REASON), named(*WHO, REASON)),
            stacked=True,
            width=12,
        ),
        graph(
            "Resizes",
            "How often the pool was made larger or smaller by itself. Up and down in turn is a band too narrow.",
            "cps",
            Query(rate(POOLS(POOL_RESIZES), *WHO, RESIZE_DIRECTION), named(*WHO, RESIZE_DIRECTION)),
            width=12,
        ),
    ),
)

BOARD = Board(
    name="pool",
    title="Connection pools",
    description="Whether the connection pools have the right size, and who waits.",
    variables=(*services(CONNECTION_MAX), POOL_VARIABLE),
    rows=(NOW, SIZE, WAITING, HOLDING),
)
