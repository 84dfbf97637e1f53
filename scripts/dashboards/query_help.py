"""What would help one query: hints, and its traces."""

from __future__ import annotations

from dashboards.board import Row
from dashboards.links import address, cell_link, of_row
from dashboards.promql import (
    ONE_QUERY,
    QUERIES,
    by,
    durations,
)
from dashboards.tables import Column, table
from dashboards.traces import traces
from dbvitals.stack.names import (
    COLLECTION,
    HINT,
    HINT_DDL,
    HINT_STATE,
    HINT_VERIFICATION,
    INDEX_HINT_SAVING,
    NAMESPACE,
    SERVICE,
)
from dbvitals_instrumentation import semconv

CALLS = durations("count", ONE_QUERY)
HINTS = (HINT, HINT_DDL, HINT_VERIFICATION, HINT_STATE, SERVICE, NAMESPACE, COLLECTION)
TABLE = (SERVICE, NAMESPACE, COLLECTION)
FOUND = f"{by(HINTS, QUERIES(INDEX_HINT_SAVING))} * on ({', '.join(TABLE)}) group_left () {by(TABLE, CALLS, 'group')}"


HELP = Row(
    "What helps",
    (
        table(
            "Index hints of its table",
            "Missing indexes of the table that it asks. Slow spans name the very ones that would serve them, as "
            "dbvitals.index_hint.ids; a query of several tables finds its hints on the page of hints.",
            (
                Column(
                    "DDL",
                    HINT_DDL,
                    long=True,
                    links=[
                        cell_link(
                            "All hints", address("dbvitals-hints", service=of_row(SERVICE), namespace=of_row(NAMESPACE))
                        )
                    ],
                ),
                Column("Table", COLLECTION, width=150),
                Column("Verified by", HINT_VERIFICATION, width=110),
                Column("State", HINT_STATE, width=80, words={"open": "blue", "applied": "green"}),
                Column("Hint", HINT, width=150),
                Column("Service", SERVICE, width=110),
                Column("Database", NAMESPACE, width=120),
                Column("Saves per hour", expr=FOUND, unit="s", width=120),
            ),
            sort="Saves per hour",
            height=6,
        ),
        traces(
            "Traces",
            "Traces with this query in the time shown. Open one to see who asked it, and what else that request waited "
            "for.",
            f'{{ span.{semconv.FINGERPRINT} = "$fingerprint" }}',
        ),
    ),
)
