"""The lower half of the overview: pools, caches, and what to do."""

from __future__ import annotations

from dashboards.board import FIRING, Row
from dashboards.limits import BAND_GROUND, HITS
from dashboards.links import QUERY_OF_ROW, address, cell_link, link, of_row, of_series
from dashboards.panels import Query, graph, named
from dashboards.promql import (
    SERVICES,
    any_of,
    by,
    durations,
    equal,
    increase,
    pool_use,
    rate,
    share,
)
from dashboards.tables import Column, table
from dbvitals.stack.names import (
    CACHE,
    CACHE_REQUESTS,
    COLLECTION,
    FINGERPRINT,
    FUNCTION,
    HINT_STATE,
    INDEX_HINT_SAVING,
    NAMESPACE,
    POOL,
    QUERY_N_PLUS_ONE,
    RESULT,
    SERVICE,
    SUMMARY,
)
from dbvitals_instrumentation import semconv

HIT = equal(RESULT, semconv.HIT)
ASKED = any_of(RESULT, semconv.HIT, semconv.MISS)
OPEN = SERVICES(INDEX_HINT_SAVING, equal(HINT_STATE, "open"))

QUERIES_OF_SERIES = link("Queries of this service", address("dbvitals-queries", service=of_series(SERVICE)))


TOP = (SERVICE, NAMESPACE, SUMMARY, FINGERPRINT)
TIME = durations("sum", SERVICES)

BESIDE = Row(
    "Pools and caches",
    (
        graph(
            "Pool use by pool",
            "The green band, 70 to 80 %, is a pool of the right size. Above it callers wait soon: shorten what holds "
            "connections, then enlarge. Far below it, make the pool smaller.",
            "percentunit",
            Query(pool_use(SERVICES, SERVICE, POOL), named(SERVICE, POOL)),
            steps=BAND_GROUND,
            band=True,
            top=1,
            links=[link("This pool", address("dbvitals-pool", service=of_series(SERVICE), pool=of_series(POOL)))],
        ),
        graph(
            "Cache hits by cache",
            "The line is at 90 %. Below it: entries end too early, keys are too particular, or the cache is too small.",
            "percentunit",
            Query(
                share(
                    rate(SERVICES(CACHE_REQUESTS, HIT), SERVICE, CACHE),
                    rate(SERVICES(CACHE_REQUESTS, ASKED), SERVICE, CACHE),
                ),
                named(SERVICE, CACHE),
            ),
            steps=HITS,
            top=1,
            links=[link("This cache", address("dbvitals-cache", service=of_series(SERVICE), cache=of_series(CACHE)))],
        ),
        graph(
            "N+1 loops by function",
            "Functions that ask the same query again and again where one would do. Load what they need at once: the "
            "loop's span names the relationship and the line.",
            "cps",
            Query(
                f"topk(10, {rate(SERVICES(QUERY_N_PLUS_ONE), SERVICE, FUNCTION)})",
                named(SERVICE, FUNCTION),
            ),
            links=[QUERIES_OF_SERIES],
        ),
    ),
)

TO_DO = Row(
    "What to do",
    (
        table(
            "Queries by time",
            "The ten queries that the databases spend most time on, in the time shown. The first of them is where work "
            "pays: open it.",
            (
                Column("Query", SUMMARY, links=[cell_link("This query", QUERY_OF_ROW)]),
                Column("Service", SERVICE, width=130),
                Column("Database", NAMESPACE, width=130),
                Column("Fingerprint", FINGERPRINT, width=160, links=[cell_link("This query", QUERY_OF_ROW)]),
                Column(
                    "Share of time",
                    expr=f"topk(10, {increase(TIME, *TOP)}) / scalar({increase(TIME)})",
                    unit="percentunit",
                    bar=True,
                    width=170,
                ),
            ),
            sort="Share of time",
            width=12,
        ),
        table(
            "Open hints by table",
            "What the missing indexes of a table would save. The page of hints has their DDL.",
            (
                Column(
                    "Table",
                    COLLECTION,
                    links=[
                        cell_link(
                            "Its hints",
                            address("dbvitals-hints", service=of_row(SERVICE), namespace=of_row(NAMESPACE)),
                        )
                    ],
                ),
                Column("Service", SERVICE, width=110),
                Column("Database", NAMESPACE, width=120),
                Column("Saves per hour", expr=by((SERVICE, NAMESPACE, COLLECTION), OPEN), unit="s", width=120),
            ),
            sort="Saves per hour",
            width=6,
        ),
        table(
            "Firing alerts",
            "What fires for the selected services, and how often. Each alert has a runbook, linked from its "
            "notification.",
            (
                Column("Alert", "alertname"),
                Column(
                    "Severity",
                    "severity",
                    width=90,
                    words={"critical": "red", "warning": "orange", "information": "blue"},
                ),
                Column("Service", SERVICE, width=110),
                Column("Series", expr=by(("alertname", "severity", SERVICE), FIRING, "count"), unit="short", width=70),
            ),
            sort="Series",
            width=6,
        ),
    ),
)
