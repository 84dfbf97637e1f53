"""The missing indexes that were found: what to create, and what it would save."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.links import QUERY_OF_ROW, address, cell_link, link, of_row, of_series
from dashboards.panels import Query, graph, named, number
from dashboards.promql import QUERIES, by, durations, equal, increase
from dashboards.tables import Column, table
from dashboards.variables import ASKED
from dbvitals.stack.names import (
    COLLECTION,
    FINGERPRINT,
    HINT,
    HINT_COLUMNS,
    HINT_DDL,
    HINT_STATE,
    HINT_VERIFICATION,
    INDEX_HINT_FIRST_SEEN,
    INDEX_HINT_SAVING,
    NAMESPACE,
    SERVICE,
    SUMMARY,
)

SAVING = QUERIES(INDEX_HINT_SAVING)
OPEN = QUERIES(INDEX_HINT_SAVING, equal(HINT_STATE, "open"))
APPLIED = QUERIES(INDEX_HINT_SAVING, equal(HINT_STATE, "applied"))
WHICH = (HINT, HINT_DDL, HINT_COLUMNS, HINT_VERIFICATION, HINT_STATE, SERVICE, NAMESPACE, COLLECTION)
TABLE = (SERVICE, NAMESPACE, COLLECTION)
ONE = (HINT, SERVICE, NAMESPACE, COLLECTION)
AGE = f"time() - {by(ONE, QUERIES(INDEX_HINT_FIRST_SEEN), 'min')}"

QUERY = (SERVICE, NAMESPACE, COLLECTION, SUMMARY, FINGERPRINT)


def _affected(suffix: str) -> str:
    """Of the queries that ask a table with an open hint."""
    asked = increase(durations(suffix, QUERIES), *QUERY)
    return f"{asked} * on ({', '.join(TABLE)}) group_left () {by(TABLE, OPEN, 'group')}"


NOW = Row(
    "Now",
    (
        number(
            "Open hints",
            "Missing indexes that were found and are not there yet. More than a handful: create those that save most, "
            "and look again, for one index often serves many queries.",
            "short",
            f"count({by((HINT,), OPEN)}) or vector(0)",
            steps=((None, "green"), (1, "blue")),
            width=6,
        ),
        number(
            "They would save per hour",
            "Database time of an hour, what writing to the indexes costs taken off. The savings of all hints add up.",
            "s",
            f"{by((), OPEN)} or vector(0)",
            steps=((None, "green"), (60, "orange"), (600, "red")),
            width=6,
        ),
        number(
            "Applied hints",
            "Indexes that were advised and are there now, under the advised name or another.",
            "short",
            f"count({by((HINT,), APPLIED)}) or vector(0)",
            width=6,
        ),
        number(
            "Oldest open hint",
            "How long the oldest of them is known. A hint that waits for days is either worth doing or worth a word "
            "why not.",
            "s",
            f"max({AGE} and on ({', '.join(ONE)}) {by(ONE, OPEN)}) or vector(0)",
            steps=((None, "green"), (86400, "orange"), (604800, "red")),
            width=6,
        ),
    ),
)

HINTS = Row(
    "Hints",
    (
        table(
            "Index hints",
            "One line for each index. A click on the eye in a cell shows its DDL whole, to copy. Create it as written: "
            "it does not block writes where the database can do so. “explain” was verified by the planner, "
            "“hypothetical” with an index that it was told of, “heuristic” by rules only.",
            (
                Column("DDL", HINT_DDL, long=True),
                Column(
                    "Table",
                    COLLECTION,
                    width=150,
                    links=[
                        cell_link(
                            "Queries of this database",
                            address("dbvitals-queries", service=of_row(SERVICE), namespace=of_row(NAMESPACE)),
                        )
                    ],
                ),
                Column("Columns", HINT_COLUMNS, width=150),
                Column("Service", SERVICE, width=120),
                Column("Database", NAMESPACE, width=120),
                Column("Saves per hour", expr=by(WHICH, SAVING), unit="s", bar=True, width=160),
                Column("Verified by", HINT_VERIFICATION, width=110),
                Column("State", HINT_STATE, width=90, words={"open": "blue", "applied": "green"}),
                Column("Age", expr=AGE, unit="s", width=100),
                Column("Hint", HINT, width=150),
            ),
            sort="Saves per hour",
            height=12,
        ),
    ),
)

AFFECTED = Row(
    "Whom they serve",
    (
        table(
            "Affected queries",
            "Queries of the tables that have open hints, by the time that they took within the time shown. Which hint "
            "serves which query for certain, slow spans tell, as dbvitals.index_hint.ids.",
            (
                Column("Query", SUMMARY, links=[cell_link("This query", QUERY_OF_ROW)]),
                Column("Fingerprint", FINGERPRINT, width=160, links=[cell_link("This query", QUERY_OF_ROW)]),
                Column("Table", COLLECTION, width=150),
                Column("Service", SERVICE, width=120),
                Column("Database", NAMESPACE, width=120),
                Column("Time", expr=_affected("sum"), unit="s", bar=True, width=160),
                Column("Calls", expr=_affected("count"), unit="short", width=100, decimals=0),
            ),
            sort="Time",
            width=14,
        ),
        graph(
            "Savings by table",
            "What the open hints of a table would save. A line that ends is an index that was created, one that grows "
            "a table that does.",
            "s",
            Query(by(TABLE, OPEN), named(SERVICE, NAMESPACE, COLLECTION)),
            stacked=True,
            links=[
                link(
                    "Queries of this database",
                    address("dbvitals-queries", service=of_series(SERVICE), namespace=of_series(NAMESPACE)),
                )
            ],
            width=10,
            height=10,
        ),
    ),
)

BOARD = Board(
    name="hints",
    title="Index hints",
    description="The missing indexes that were found: what to create, and what it would save.",
    variables=ASKED,
    rows=(NOW, HINTS, AFFECTED),
    refresh="1m",
    time="now-6h",
)
