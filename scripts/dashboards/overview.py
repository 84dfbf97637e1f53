"""How the databases of the services are, on one page, and where to look next."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.limits import BAND, BURN, ERRORS, HITS, MEAN, SLOW_SHARE
from dashboards.links import address, link
from dashboards.overview_parts import ASKED, BESIDE, HIT, OPEN, QUERIES_OF_SERIES, TO_DO
from dashboards.panels import Query, graph, named, number
from dashboards.promql import (
    FAILED,
    RECORDED,
    SERVICES,
    by,
    durations,
    mean,
    pool_use,
    quantile,
    rate,
    share,
)
from dashboards.variables import services
from dbvitals.stack.names import (
    CACHE_REQUESTS,
    ENVIRONMENT,
    HINT,
    OPERATION_DURATION,
    QUERY_SLOW,
    SERVICE,
)

WHO = (SERVICE, ENVIRONMENT)
LEGEND = named(SERVICE, ENVIRONMENT)
BURN_RATES = {
    "5 min": "service:db_client_operation_slo:burnrate5m",
    "1 h": "service:db_client_operation_slo:burnrate1h",
    "6 h": "service:db_client_operation_slo:burnrate6h",
    "3 d": "service:db_client_operation_slo:burnrate3d",
}
"""Recorded by alerts/: how fast the error budget burns, looked at over different times."""

CALLS = rate(durations("count", SERVICES))
ERROR_SHARE = share(rate(durations("count", SERVICES, FAILED)), CALLS)
SLOW = share(rate(SERVICES(QUERY_SLOW)), CALLS)
HIT_SHARE = share(rate(SERVICES(CACHE_REQUESTS, HIT)), rate(SERVICES(CACHE_REQUESTS, ASKED)))

TO_QUERIES = link("Which queries", address("dbvitals-queries", "service", "instance"))
TO_POOL = link("The pools", address("dbvitals-pool", "service", "instance"))
TO_CACHE = link("The caches", address("dbvitals-cache", "service", "instance"))
TO_HINTS = link("The hints", address("dbvitals-hints", "service", "instance"))


def _of_each(q: float) -> Query:
    return Query(quantile(q, OPERATION_DURATION, SERVICES, *WHO), f"p{q * 100:.0f} {LEGEND}", exemplars=True)


NOW = Row(
    "Now",
    (
        number(
            "Queries per second",
            "Queries of all selected services. A sudden fall means that callers are gone or stuck, a sudden rise that "
            "something loops: see the queries.",
            "ops",
            CALLS,
            links=[TO_QUERIES],
        ),
        number(
            "Mean duration",
            "What a query takes on average. Above 50 ms, see which queries take most of the time.",
            "s",
            mean(OPERATION_DURATION, SERVICES),
            steps=MEAN,
            links=[TO_QUERIES],
        ),
        number(
            "p95 duration",
            "19 of 20 queries are faster. Far above the mean, a few queries are slow, or all are now and then: the "
            "heat map of a query tells.",
            "s",
            quantile(0.95, OPERATION_DURATION, SERVICES),
            links=[TO_QUERIES],
        ),
        number(
            "Slow share",
            "Queries that were slow by the threshold, by their own past or by their own spread. Above 20 %, sort the "
            "queries by their share of time.",
            "percentunit",
            SLOW,
            steps=SLOW_SHARE,
            links=[TO_QUERIES],
        ),
        number(
            "Error share",
            "Queries that failed. Which queries, and of what, the table of queries and each query's page tell.",
            "percentunit",
            ERROR_SHARE,
            steps=ERRORS,
            links=[TO_QUERIES],
        ),
        number(
            "Pool use",
            "Connections in use, of those allowed. 70 to 80 % is a pool of the right size; above it callers soon wait, "
            "far below it connections lie idle at the database.",
            "percentunit",
            pool_use(SERVICES),
            steps=BAND,
            links=[TO_POOL],
        ),
        number(
            "Cache hits",
            "Of the reads that a cache could answer, those that it did. Below 90 %, see which cache, and why.",
            "percentunit",
            HIT_SHARE,
            steps=HITS,
            links=[TO_CACHE],
        ),
        number(
            "Open index hints",
            "Missing indexes that were found and are not there yet. Each has its DDL to copy.",
            "short",
            f"count({by((HINT,), OPEN)}) or vector(0)",
            steps=((None, "green"), (1, "blue")),
            links=[TO_HINTS],
        ),
    ),
)

QUERIES = Row(
    "Queries",
    (
        graph(
            "Queries per second by service",
            "Who asks how much. Compare a change here with releases, and with the graphs beside it.",
            "ops",
            Query(rate(durations("count", SERVICES), *WHO), LEGEND),
            links=[QUERIES_OF_SERIES],
        ),
        graph(
            "Mean duration by service",
            "The line is at 50 ms. A service above it: see which of its queries take most of the time.",
            "s",
            Query(mean(OPERATION_DURATION, SERVICES, *WHO), LEGEND),
            steps=MEAN,
            top=0.06,
            links=[QUERIES_OF_SERIES],
        ),
        graph(
            "p95 and p99 duration by service",
            "What the slowest of 20, and of 100, take. The points are single queries: a click opens the trace of one.",
            "s",
            _of_each(0.95),
            _of_each(0.99),
            links=[QUERIES_OF_SERIES],
        ),
        graph(
            "Slow share by service",
            "The line is at 20 %. Above it the trouble is no longer one query's: look at the pool and the database "
            "first.",
            "percentunit",
            Query(share(rate(SERVICES(QUERY_SLOW), *WHO), rate(durations("count", SERVICES), *WHO)), LEGEND),
            steps=SLOW_SHARE,
            top=0.25,
            links=[QUERIES_OF_SERIES],
        ),
        graph(
            "Error share by service",
            "Failed queries, of all. From 1 % on look at which errors: time-outs and refused connections are the "
            "database's or the network's, the others mostly the code's.",
            "percentunit",
            Query(
                share(rate(durations("count", SERVICES, FAILED), *WHO), rate(durations("count", SERVICES), *WHO)),
                LEGEND,
            ),
            steps=ERRORS,
            links=[QUERIES_OF_SERIES],
        ),
        graph(
            "Error budget burn",
            "How fast the budget of the latency objective burns, 99 % within 0.1 s: 1 uses it up exactly at its end, 6 "
            "in a sixth of the time. High in the short windows only is a bad moment; in the long ones, too, act now.",
            "none",
            *(
                Query(by((SERVICE,), RECORDED(name), "max"), f"{named(SERVICE)} {window}")
                for window, name in BURN_RATES.items()
            ),
            steps=BURN,
        ),
    ),
)

BOARD = Board(
    name="overview",
    title="Overview",
    description="How the databases of the services are, and where to look next.",
    variables=services(),
    rows=(NOW, QUERIES, BESIDE, TO_DO),
)
