"""One query: how long it takes, since when, who asks it, and what would help."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.limits import ANY, ANY_BAD, CHANGE, ERRORS, MEAN, SLOW_SHARE
from dashboards.panels import Query, graph, heat, named, number
from dashboards.promql import (
    FAILED,
    ONE_QUERY,
    QUERIES,
    RANGE,
    RECORDED,
    WINDOW,
    by,
    durations,
    equal,
    increase,
    mean,
    quantile,
    rate,
    share,
)
from dashboards.query_help import HELP
from dashboards.tables import Column, table
from dashboards.variables import ASKED, COMPARE, ONE_FINGERPRINT, TEMPO
from dbvitals.stack.names import (
    ERROR_TYPE,
    FINGERPRINT,
    FUNCTION,
    OPERATION_DURATION,
    QUERY_INFO,
    QUERY_N_PLUS_ONE,
    QUERY_SLOW,
    RETURNED_ROWS,
    SLOW_REASON,
    SUMMARY,
    TEXT,
)

CALLS = durations("count", ONE_QUERY)


def _mean(offset: str = "") -> str:
    return mean(OPERATION_DURATION, ONE_QUERY, window=RANGE, offset=offset)


def _of_each(q: float) -> Query:
    return Query(quantile(q, OPERATION_DURATION, ONE_QUERY), f"p{q * 100:.0f}", exemplars=True)


def _rows(q: float) -> Query:
    return Query(quantile(q, RETURNED_ROWS, ONE_QUERY), f"p{q * 100:.0f}")


WHAT = Row(
    "The query",
    (
        number("Calls per second of this query", "How often it is asked.", "ops", rate(CALLS)),
        number("Mean of this query", "Over the time shown. The line of alerts is at 50 ms.", "s", _mean(), steps=MEAN),
        number(
            "p95 of this query",
            "19 of 20 calls are faster, over the time shown. Far above the mean: it depends on values, locks or the "
            "pool.",
            "s",
            quantile(0.95, OPERATION_DURATION, ONE_QUERY, window=RANGE),
        ),
        number(
            "Share of all time",
            "Of what all queries of the selected services take, this one's part: as much as could be won here.",
            "percentunit",
            f"{increase(durations('sum', ONE_QUERY))} / scalar({increase(durations('sum', QUERIES))})",
        ),
        number(
            "Changed",
            "Its mean, compared with the time chosen above. Half as long again and more is a regression: look at what "
            "was released, at the plan and at the table's growth.",
            "percentunit",
            f"{_mean()} / ({_mean('$compare')}) - 1",
            steps=CHANGE,
            empty="nothing to compare with",
        ),
        number(
            "Slow share of this query",
            "Of its calls, those that were slow for one of three reasons; the graph below tells which.",
            "percentunit",
            share(rate(ONE_QUERY(QUERY_SLOW)), rate(CALLS)),
            steps=SLOW_SHARE,
        ),
        number(
            "Error share of this query",
            "Of its calls, those that failed.",
            "percentunit",
            share(rate(durations("count", ONE_QUERY, FAILED)), rate(CALLS)),
            steps=ERRORS,
        ),
        number(
            "N+1 loops of this query",
            "Loops that asked it again and again, in the time shown. Each is a request that could have asked once.",
            "short",
            f"{increase(ONE_QUERY(QUERY_N_PLUS_ONE))} or vector(0)",
            steps=ANY,
            decimals=0,
        ),
        table(
            "Text",
            "The query without its values. A click on the eye shows and copies it whole.",
            (
                Column("Query", SUMMARY, width=260),
                Column("Text", TEXT, long=True),
                Column("Fingerprint", FINGERPRINT, width=170),
                Column(
                    "Processes",
                    expr=by(
                        (SUMMARY, FINGERPRINT, TEXT),
                        f"last_over_time({RECORDED(QUERY_INFO, equal(FINGERPRINT, '$fingerprint'))}[{RANGE}])",
                        "count",
                    ),
                    unit="short",
                    width=90,
                ),
            ),
            sort="Processes",
            height=5,
        ),
    ),
)

DURATION = Row(
    "Duration",
    (
        heat(
            "Durations",
            "How many calls took how long. One warm band is a query that always takes its time; two are two plans, or "
            "a cache; a cloud above the band is waiting. The points are single calls: a click opens their trace.",
            "s",
            Query(increase(durations("bucket", ONE_QUERY), "le", window=WINDOW), "{{le}}", exemplars=True),
        ),
        graph(
            "p50, p95 and p99",
            "The median is what callers feel, the others what they complain about. The points are single calls: a "
            "click opens their trace.",
            "s",
            _of_each(0.5),
            _of_each(0.95),
            _of_each(0.99),
            width=12,
            height=9,
        ),
        graph(
            "Mean, now and then",
            "The mean, and what it was at the time chosen above. A step apart that stays is a regression.",
            "s",
            Query(mean(OPERATION_DURATION, ONE_QUERY), "now"),
            Query(mean(OPERATION_DURATION, ONE_QUERY, offset="$compare"), "$compare earlier"),
            steps=MEAN,
            top=0.06,
            width=12,
        ),
        graph(
            "Calls, now and then",
            "How often it is asked, and was at the time chosen above. Slower at the same number of calls is the "
            "database's doing, slower at more of them the load's.",
            "ops",
            Query(rate(CALLS), "now"),
            Query(f"sum(rate({CALLS}[{WINDOW}] offset $compare))", "$compare earlier"),
            width=12,
        ),
    ),
)

WHY = Row(
    "Why",
    (
        graph(
            "Slow calls by reason",
            "“threshold” is slow for everybody, “regression” slower than it used to be, “outlier” far slower than its "
            "own calls are.",
            "cps",
            Query(rate(ONE_QUERY(QUERY_SLOW), SLOW_REASON), named(SLOW_REASON)),
            stacked=True,
            width=6,
        ),
        graph(
            "Rows returned",
            "Rows of a call. Thousands for one request are too many to show anyone: page them, or let the database "
            "count. Slow with few rows is a search without an index.",
            "short",
            _rows(0.5),
            _rows(0.95),
            Query(mean(RETURNED_ROWS, ONE_QUERY), "mean"),
            width=6,
        ),
        graph(
            "Errors of this query",
            "SQLSTATE, error number or exception of its failed calls.",
            "cps",
            Query(rate(durations("count", ONE_QUERY, FAILED), ERROR_TYPE), named(ERROR_TYPE)),
            steps=ANY_BAD,
            stacked=True,
            width=6,
        ),
        graph(
            "Callers that loop",
            "Functions that ask this query again and again. Who asks it otherwise is in its traces, as "
            "code.function.name.",
            "cps",
            Query(rate(ONE_QUERY(QUERY_N_PLUS_ONE), FUNCTION), named(FUNCTION)),
            stacked=True,
            width=6,
        ),
    ),
)

BOARD = Board(
    name="query",
    title="One query",
    description="How long a query takes, since when, who asks it, and what would help.",
    variables=(*ASKED, ONE_FINGERPRINT, COMPARE, TEMPO),
    rows=(WHAT, DURATION, WHY, HELP),
)
