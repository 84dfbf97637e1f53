"""What is known of one database beforehand, so that each query costs a look-up: its queries and their attributes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.context import Context

from dbvitals_instrumentation import semconv
from dbvitals_instrumentation.budget import Budget, Cost
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.endpoint import Endpoint
from dbvitals_instrumentation.histogram import Series
from dbvitals_instrumentation.statement import Statement, parse

MOST_REMEMBERED_CHARACTERS = 4_000_000
"""All the SQL text that one database's queries may hold; statements longer than a tenth are not remembered."""

KNOWS_ROWCOUNT = frozenset({"psycopg", "psycopg2", "asyncpg", "pymysql", "mysqldb", "aiomysql", "asyncmy"})
"""Drivers whose ``rowcount`` after a query on a client-side cursor is the number of its rows."""

TRACED_FETCH = frozenset({"asyncpg"})
"""Drivers whose own instrumentation makes spans of fetching from a server-side cursor."""

_TEXT_IS_STRING = frozenset({"mysql", "mariadb"})

See = Callable[[int, bool, Context, Any], "Mapping[str, Any] | None"]
"""Who judges the calls of one query: hears of each one's nanoseconds, whether it failed, the context that it was made
in, and the :class:`Execution` itself; returns the attributes that its span is to be flagged with. Never raises."""


class Query:
    """One statement of one database: what its spans and series have in common, and what it has shown of itself."""

    __slots__ = (
        "attributes", "batch_size", "calls", "cost", "failed", "name", "other", "returns_rows", "see", "series",
    )  # fmt: skip

    def __init__(self, name: str, attributes: dict[str, Any], cost: Cost, batch_size: int, other: Series) -> None:
        self.name = name
        self.attributes = attributes
        self.cost = cost
        self.batch_size = batch_size
        self.other = other
        self.series = Series({k: v for k, v in attributes.items() if k != semconv.DB_QUERY_TEXT})
        self.failed: dict[str, Series] = {}
        self.calls = 0
        self.returns_rows: bool | None = None
        self.see: See | None = None

    def series_of(self, error_type: str | None, admitted: bool) -> Series:
        """The series of this query's measurements."""
        plain = self.series if admitted else self.other
        if error_type is None:
            return plain
        key = error_type if admitted else f"{error_type} {semconv.OTHER}"
        failed = self.failed.get(key)
        if failed is None:
            failed = Series({**(plain.attributes or {}), semconv.ERROR_TYPE: error_type})
            if len(self.failed) < 32:
                self.failed[key] = failed
        return failed


class Database:
    """The queries of one dialect instance, that is of one ``create_engine``."""

    def __init__(
        self, dialect: Any, endpoint: Endpoint, config: Config, budget: Budget, learned: Callable[[Statement], None]
    ) -> None:
        self.endpoint = endpoint
        driver = getattr(dialect, "driver", None)  # a third-party dialect may have no name for it
        self.knows_rowcount = driver in KNOWS_ROWCOUNT
        self.traced_fetch = driver in TRACED_FETCH
        self._dialect = weakref.ref(dialect)  # its end is what this database is forgotten by
        self._config = config
        self._budget = budget
        self._learned = learned
        self._characters = 0
        self._other: Series | None = None
        self._other_schema: object = None
        self.single: dict[str, Query] = {}
        self.literal: dict[str, Query] = {}
        self.batch: dict[str, Query] = {}

    def learn(self, kept: dict[str, Query], sql: str, *, literal: bool, batch: bool, insert_many: bool) -> Query:
        """Make the :class:`Query` of a statement that is not in ``kept`` yet, and keep it there.

        Args:
            literal: the text may hold values, so that they must be replaced before it is shown.
            batch: it is executed once for each of several parameter sets.
            insert_many: it is one batch of SQLAlchemy's insertmanyvalues, whose rows stand in the text.
        """
        statement = parse(sql, double_quotes="string" if self.endpoint.system in _TEXT_IS_STRING else "identifier")
        batch_size = statement.value_rows if insert_many and statement.value_rows > 1 else 0
        query = self._query(statement, statement.text if literal else sql, batch or batch_size > 1, batch_size)
        self._learned(statement)
        if len(sql) * 10 <= MOST_REMEMBERED_CHARACTERS:
            kept[sql] = query
            self._characters += len(sql)
            self._forget_oldest()
        return query

    def _query(self, statement: Statement, text: str, batch: bool, batch_size: int) -> Query:
        schema = getattr(self._dialect(), "default_schema_name", None)
        attributes: dict[str, Any] = self.endpoint.attributes(schema)
        prefix = "BATCH " if batch else ""
        if statement.operation:
            attributes[semconv.DB_OPERATION_NAME] = prefix + statement.operation
        if statement.collection:
            attributes[semconv.DB_COLLECTION_NAME] = statement.collection
        if statement.summary:
            attributes[semconv.DB_QUERY_SUMMARY] = _cut(prefix + statement.summary)
        attributes[semconv.FINGERPRINT] = statement.fingerprint
        if self._config.query_text:
            attributes[semconv.DB_QUERY_TEXT] = text[: self._config.query_text_length]
        name = attributes.get(semconv.DB_QUERY_SUMMARY) or self._fallback_name(attributes)
        cost = self._budget.cost_of(statement.fingerprint)
        return Query(name, attributes, cost, batch_size, self._other_series(schema))

    def _fallback_name(self, attributes: dict[str, Any]) -> str:
        """The conventions' names for a span without a summary: namespace, else server, else system."""
        address, port = self.endpoint.address, self.endpoint.port
        server = f"{address}:{port}" if address and port else address
        return str(attributes.get(semconv.DB_NAMESPACE) or server or self.endpoint.system)

    def _other_series(self, schema: object) -> Series:
        if self._other is None or schema != self._other_schema:
            shared = self.endpoint.attributes(schema if isinstance(schema, str) else None)
            self._other = Series({**shared, semconv.FINGERPRINT: semconv.OTHER})
            self._other_schema = schema
        return self._other

    def _forget_oldest(self) -> None:
        for kept in (self.single, self.literal, self.batch):
            while kept and (len(kept) > self._config.max_statements or self._characters > MOST_REMEMBERED_CHARACTERS):
                try:
                    oldest = next(iter(kept))
                    del kept[oldest]
                except (KeyError, RuntimeError, StopIteration):  # another thread was here
                    break
                self._characters -= len(oldest)


def _cut(summary: str) -> str:
    """At most the convention's length, cut between tokens."""
    return summary if len(summary) <= semconv.MAX_SUMMARY else summary[: semconv.MAX_SUMMARY + 1].rpartition(" ")[0]
