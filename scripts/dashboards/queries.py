"""Every query by what it costs: where work pays."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.limits import ANY, ANY_BAD, CHANGE, ERRORS, MEAN
from dashboards.links import QUERY_OF_ROW, QUERY_OF_SERIES, address, cell_link, link, of_row, of_series
from dashboards.panels import Query, graph, named, number
from dashboards.promql import FAILED, QUERIES, RANGE, by, durations, equal, increase, mean, quantile, rate, share
from dashboards.tables import Column, table
from dashboards.variables import ASKED, COMPARE
from dbvitals.stack.names import (
    COLLECTION,
    ERROR_TYPE,
    FINGERPRINT,
    FUNCTION,
    HINT_STATE,
    INDEX_HINT_SAVING,
    NAMESPACE,
    OPERATION_DURATION,
    QUERY_N_PLUS_ONE,
    QUERY_SLOW,
    SERVICE,
    SLOW_REASON,
    SUMMARY,
)
from dbvitals_instrumentation import semconv

KEY = (SERVICE, NAMESPACE, SUMMARY, FINGERPRINT)
LINE = (SUMMARY, FINGERPRINT)
TABLE = (SERVICE, NAMESPACE, COLLECTION)
HERE = link("This query", QUERY_OF_SERIES)
ASKED_WITHIN = f"last_over_time({durations('count', QUERIES)}[{RANGE}])"
OPEN = QUERIES(INDEX_HINT_SAVING, equal(HINT_STATE, "open"))

THEN = mean(OPERATION_DURATION, QUERIES, *KEY, window=RANGE, offset="$compare")
CHANGED = f"{mean(OPERATION_DURATION, QUERIES, *KEY, window=RANGE)} / ({THEN}) - 1"

# A hint knows its table, and a query that asks one table knows it, too.
HINTED = by(
    KEY,
    f"{by(TABLE, OPEN)} * on ({', '.join(TABLE)}) group_right ()"
    f" ({increase(durations('count', QUERIES), COLLECTION, *KEY)} > bool 0)",
    "max",
)


def _top(series: str) -> Query:
    return Query(f"topk(10, {rate(series, *LINE)})", named(*LINE))


NOW = Row(
    "Now",
    (
        number(
            "Different queries",
            "Query texts that differ in more than their values, in the time shown. Hundreds of new ones point to texts "
            "that are put together from values: use parameters.",
            "short",
            f"count({by((FINGERPRINT,), ASKED_WITHIN, 'group')})",
            width=4,
        ),
        number(
            "Calls per second",
            "All queries of the selection.",
            "ops",
            rate(durations("count", QUERIES)),
            width=4,
        ),
        number(
            "Queries at once",
            "Seconds of query time in a second: how many queries run at the same time on average. Above what the "
            "database has cores, they wait for each other.",
            "short",
            rate(durations("sum", QUERIES)),
            width=4,
            decimals=2,
        ),
        number(
            "Slow per second",
            "Slow by the threshold, by their own past or by their own spread. The graph below tells which.",
            "cps",
            f"{rate(QUERIES(QUERY_SLOW))} or vector(0)",
            steps=ANY,
            width=4,
        ),
        number(
            "N+1 loops per second",
            "Loops that ask the same query again and again. The graph below tells the functions.",
            "cps",
            f"{rate(QUERIES(QUERY_N_PLUS_ONE))} or vector(0)",
            steps=ANY,
            width=4,
        ),
        number(
            "Share without a series",
            "Calls of queries that share the fingerprint “other”, as more than DBVITALS_MAX_FINGERPRINTS are asked. "
            "Above a few per cent, raise it, or ask with parameters.",
            "percentunit",
            share(
                rate(durations("count", QUERIES, equal(FINGERPRINT, semconv.OTHER))), rate(durations("count", QUERIES))
            ),
            steps=((None, "green"), (0.05, "orange"), (0.2, "red")),
            width=4,
        ),
    ),
)

ALL = Row(
    "All queries",
    (
        table(
            "Queries",
            "One line for each query, over the time shown. Begin at the top: what takes most of the time is what all "
            "others wait behind. “Changed” compares the mean with the same time as chosen above; “Hint” is what the "
            "open index hints of its table would save. A click opens the query.",
            (
                Column("Query", SUMMARY, links=[cell_link("This query", QUERY_OF_ROW)]),
                Column("Fingerprint", FINGERPRINT, width=160, links=[cell_link("This query", QUERY_OF_ROW)]),
                Column("Service", SERVICE, width=130),
                Column("Database", NAMESPACE, width=130),
                Column(
                    "Share of time",
                    expr=f"{increase(durations('sum', QUERIES), *KEY)} / scalar({increase(durations('sum', QUERIES))})",
                    unit="percentunit",
                    bar=True,
                    width=170,
                ),
                Column("Calls/s", expr=rate(durations("count", QUERIES), *KEY, window=RANGE), unit="ops", width=90),
                Column(
                    "Mean", expr=mean(OPERATION_DURATION, QUERIES, *KEY, window=RANGE), unit="s", steps=MEAN, width=90
                ),
                Column("p95", expr=quantile(0.95, OPERATION_DURATION, QUERIES, *KEY, window=RANGE), unit="s", width=90),
                Column(
                    "Errors",
                    expr=share(
                        rate(durations("count", QUERIES, FAILED), *KEY, window=RANGE),
                        rate(durations("count", QUERIES), *KEY, window=RANGE),
                    ),
                    unit="percentunit",
                    steps=ERRORS,
                    width=80,
                ),
                Column("Changed", expr=CHANGED, unit="percentunit", steps=CHANGE, width=90),
                Column(
                    "N+1 loops",
                    expr=increase(QUERIES(QUERY_N_PLUS_ONE), *KEY),
                    unit="short",
                    steps=ANY,
                    width=90,
                    decimals=0,
                ),
                Column(
                    "Hint, saves/h",
                    expr=f"{HINTED} > 0",
                    unit="s",
                    width=110,
                    links=[
                        cell_link(
                            "The hints of this database",
                            address("dbvitals-hints", service=of_row(SERVICE), namespace=of_row(NAMESPACE)),
                        )
                    ],
                ),
            ),
            sort="Share of time",
            height=14,
        ),
    ),
)

OVER_TIME = Row(
    "Over time",
    (
        graph(
            "Time by query",
            "Seconds of query time in a second, of the ten queries that take most. What grows here is what the "
            "database will be busy with tomorrow.",
            "s",
            _top(durations("sum", QUERIES)),
            stacked=True,
            links=[HERE],
            width=12,
        ),
        graph(
            "Calls by query",
            "The ten queries that are asked most. One that is asked far more often than requests come in is in a loop.",
            "ops",
            _top(durations("count", QUERIES)),
            stacked=True,
            links=[HERE],
            width=12,
        ),
        graph(
            "Slow queries by reason",
            "“threshold” is slow for everybody, “regression” slower than it used to be, “outlier” far slower than its "
            "own calls are: the first wants an index or another query, the second a look at the last release, the "
            "third at locks.",
            "cps",
            Query(rate(QUERIES(QUERY_SLOW), SLOW_REASON), named(SLOW_REASON)),
            stacked=True,
        ),
        graph(
            "Errors by type",
            "SQLSTATE, error number or exception. 40001 and 40P01 are conflicts to try again, 57014 is a time-out, "
            "53300 too many connections, 23… breaks a constraint.",
            "cps",
            Query(rate(durations("count", QUERIES, FAILED), ERROR_TYPE), named(ERROR_TYPE)),
            steps=ANY_BAD,
            stacked=True,
        ),
        graph(
            "N+1 loops by calling function",
            "Functions that ask in a loop. Load at once what they need, with a join or selectinload.",
            "cps",
            Query(
                f"topk(10, {rate(QUERIES(QUERY_N_PLUS_ONE), SERVICE, FUNCTION)})",
                named(SERVICE, FUNCTION),
            ),
            stacked=True,
            links=[link("Queries of this service", address("dbvitals-queries", service=of_series(SERVICE)))],
        ),
    ),
)

BOARD = Board(
    name="queries",
    title="Query analytics",
    description="Every query by what it costs: where work pays.",
    variables=(*ASKED, COMPARE),
    rows=(NOW, ALL, OVER_TIME),
)
