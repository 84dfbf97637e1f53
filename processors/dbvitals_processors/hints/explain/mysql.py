"""MySQL's and MariaDB's planner, asked for today's plan; what an index would change is worked out by :mod:`.nested`."""

from __future__ import annotations

import re
from functools import cached_property
from math import prod
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlglot import exp

from dbvitals_processors.hints import parsing
from dbvitals_processors.hints.explain import mysql_plan
from dbvitals_processors.hints.explain.asked import Block, blocks
from dbvitals_processors.hints.explain.evaluating import Evaluator
from dbvitals_processors.hints.explain.filling import filled
from dbvitals_processors.hints.explain.mysql_catalogue import Reader
from dbvitals_processors.hints.explain.mysql_connection import reason_of
from dbvitals_processors.hints.explain.nested import Nested, Plan, Prices
from dbvitals_processors.hints.explain.paths import Shape, of_candidate, of_index, with_primary
from dbvitals_processors.hints.explain.sampled import as_text, distinct_of
from dbvitals_processors.hints.model import (
    Candidate,
    Catalogue,
    Estimate,
    Table,
    TableName,
    Unplannable,
    WorkloadQuery,
)

_LOCKS = re.compile(r"\bFOR\s+(?:UPDATE|SHARE)\b|\bLOCK\s+IN\s+SHARE\s+MODE\b", re.IGNORECASE)


class MysqlPlanner:
    """Asks one connection. Not safe for several threads.

    Args:
        connection: from :func:`connect`.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.what_if_calls = 0
        self._connection = connection.execution_options(no_parameters=True)
        self._prices = Prices()
        self._reader = Reader(connection)
        self._today: dict[str, list[tuple[tuple[Block, ...], dict[str, Any], float]]] = {}
        self._estimates: dict[tuple[str, frozenset[Candidate]], Estimate] = {}
        self._candidates: dict[Candidate, Shape] = {}

    @cached_property
    def _catalogue(self) -> Catalogue:
        return self._reader.read()

    def catalogue(self) -> Catalogue:
        """Tables, statistics and indexes, read once."""
        return self._catalogue

    def size(self, candidate: Candidate) -> int:
        """Bytes: the keys, the primary key, 13 bytes of overhead; pages are fifteen sixteenths full when sorted in."""
        table = self._catalogue.tables[candidate.table]
        names = dict.fromkeys([*(key.column or "" for key in candidate.keys), *table.primary_key])
        width = sum(table.columns[one].width if one in table.columns else 16.0 for one in names)
        return max(2, 1 + int(table.rows * (width + len(names) + 10) * 16 / 15 / 16_384)) * 16_384

    def selectivity(self, candidate: Candidate) -> float:
        """There are no partial indexes."""
        return 1.0

    def estimate(self, query: WorkloadQuery, indexes: frozenset[Candidate] = frozenset()) -> Estimate:
        """Today's cost, changed as our own model of the plan changes; remembered."""
        known = self._estimates.get((query.id, indexes))
        if known is None:
            known = self._estimates[query.id, indexes] = self._ask(query, indexes)
        return known

    def _ask(self, query: WorkloadQuery, indexes: frozenset[Candidate]) -> Estimate:
        today = self._today.get(query.id)
        if today is None:
            today = self._today[query.id] = [self._planned(text) for text in filled(query, self._catalogue)]
        total, used, text = 0.0, frozenset[Candidate](), mysql_plan.as_text(today[0][1])
        planner = self._with(indexes)
        for read, plan, before in today:
            self.what_if_calls += 1
            cost = mysql_plan.cost(plan, self._prices)
            if indexes and read:
                found = planner.plan(read)
                if found.used and found.cost < before:
                    cost *= found.cost / before
                    text = _as_text(found) if not used else text
                    used |= found.used
            total += cost
        return Estimate(total / len(today), used, text, "heuristic")

    def _planned(self, sql: str) -> tuple[tuple[Block, ...], dict[str, Any], float]:
        """What a statement asks, today's plan, and what our model says of today."""
        read = blocks(sql, self._catalogue, self._evaluate)
        tree = parsing.parse(sql, self._catalogue.system)
        if not isinstance(tree, exp.Query):  # a read-only session explains no changes, but what finds their rows
            query = parsing.as_query(tree) if isinstance(tree, exp.DML) else None
            if query is None:
                return (), {}, 1.0
            sql = query.sql("mysql")
        elif _LOCKS.search(sql):  # nor does it explain FOR UPDATE, which the parser leaves out
            sql = tree.sql("mysql")
        try:
            plan = mysql_plan.loaded(self._connection.exec_driver_sql(f"EXPLAIN FORMAT=JSON {sql}").scalar_one())
        except DBAPIError as error:
            raise Unplannable(f"the planner refuses it: {reason_of(error)}") from None
        return read, plan, self._with(frozenset()).plan(read).cost

    def _with(self, indexes: frozenset[Candidate]) -> Nested:
        shapes: dict[TableName, list[Shape]] = {name: list(own) for name, own in self._existing.items()}
        for one in sorted(indexes, key=lambda one: (len(one.keys), one.id)):
            if one not in self._candidates:
                table = self._catalogue.tables[one.table]
                self._candidates[one] = with_primary(of_candidate(one, self._averages(one, table)), table.primary_key)
            shapes.setdefault(one.table, []).append(self._candidates[one])
        return Nested(shapes, self._prices)

    @cached_property
    def _existing(self) -> dict[TableName, list[Shape]]:
        return {
            table.name: [
                with_primary(
                    of_index(index, self._averages_of(table.name, index.name), clustered=index.name == "PRIMARY"),
                    table.primary_key,
                )
                for index in table.indexes
                if index.valid and index.method == "btree"
            ]
            for table in self._catalogue.tables.values()
        }

    def _averages_of(self, table: TableName, index: str) -> tuple[float, ...]:
        return self._reader.averages.get((table, index), ())

    def _averages(self, candidate: Candidate, table: Table) -> tuple[float, ...]:
        """Rows for each value of its first key, of the first two, and so on: by the sample, within what is known."""
        names, rows = self._reader.samples[candidate.table]
        found: list[float] = []
        columns = [key.column for key in candidate.keys]
        for length in range(1, len(columns) + 1):
            if not all(one in names for one in columns[:length]):
                break
            places = [names.index(one) for one in columns[:length] if one is not None]
            most = min(table.rows, prod(table.columns[names[place]].distinct for place in places))
            sampled = distinct_of([tuple(as_text(row[place]) for place in places) for row in rows], table.rows)
            least = max([table.columns[names[place]].distinct for place in places])
            distinct = min(most, max(least, sampled)) if rows else most
            found.append(max(1.0, table.rows / max(1.0, distinct)))
        return tuple(found)

    @cached_property
    def _evaluate(self) -> Evaluator:
        return Evaluator("mysql", self._value)

    def _value(self, text: str) -> Any:
        try:
            return self._connection.exec_driver_sql(f"SELECT {text}").scalar_one()
        except DBAPIError as error:
            raise ValueError(reason_of(error)) from None


def _as_text(plan: Plan) -> str:
    lines = []
    for one in plan.accesses:
        by = f"by {', '.join(shape.name for shape in one.by)}" if one.by else f"({one.how})"
        lines.append(f"{one.alias} {by}  (rows {one.rows:,.0f})")
    return "\n".join(lines)
