"""What the planner says: the cost of each statement, and which indexes its plans use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import psycopg
from psycopg import sql
from workload import Statement

CHECKED = """
    SELECT conrelid::regclass::text, pg_attribute.attname FROM pg_constraint
    JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
    WHERE contype = 'f' AND confrelid = to_regclass(%s) AND cardinality(conkey) = 1 AND confdeltype <> 'x'
"""
ROWS = 3  # of those that a DELETE finds, as many are followed through the foreign keys


class Estimate(NamedTuple):
    """One statement: the mean cost of its samples, and all indexes that any of their plans uses."""

    cost: float
    indexes: frozenset[str]


Estimates = Mapping[str, Estimate]


def estimates(connection: psycopg.Connection[Any], statements: Iterable[Statement]) -> dict[str, Estimate]:
    return {statement.id: _estimate(connection, statement) for statement in statements if statement.reads}


def _estimate(connection: psycopg.Connection[Any], statement: Statement) -> Estimate:
    total, used = 0.0, set[str]()
    for sample in statement.samples:
        for cost, plan in _plans(connection, statement, sample):
            total += cost
            used |= set(indexes(plan))
    return Estimate(total / len(statement.samples), frozenset(used))


def _plans(connection: psycopg.Connection[Any], statement: Statement, sample: str) -> Iterator[tuple[float, Any]]:
    try:
        yield explain(connection, sample)
        if statement.verb == "DELETE":
            yield from _checks(connection, sample)
    except psycopg.Error as error:
        raise SystemExit(f"{statement.id}: {error}\n{sample}") from None


def explain(connection: psycopg.Connection[Any], query: str) -> tuple[float, Any]:
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {query}").fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return float(plan["Total Cost"]), plan


def indexes(plan: Any) -> Iterator[str]:
    if "Index Name" in plan:
        yield plan["Index Name"]
    for part in plan.get("Plans", ()):
        yield from indexes(part)


def _checks(connection: psycopg.Connection[Any], delete: str) -> Iterator[tuple[float, Any]]:
    """What EXPLAIN keeps quiet about: a deleted row is looked for in every table that refers to it."""
    match = re.fullmatch(r'\s*DELETE\s+FROM\s+"?(\w+)"?\s+WHERE\s+(.*)', delete, re.IGNORECASE | re.DOTALL)
    if match is None:
        return
    table, condition = match.groups()
    referring = connection.execute(CHECKED, [table]).fetchall()
    if not referring:
        return
    found = sql.SQL("SELECT id FROM {} WHERE {} ORDER BY id LIMIT {}")
    keys = connection.execute(found.format(sql.Identifier(table), sql.SQL(condition), ROWS)).fetchall()
    for (key,) in keys:
        for child, column in referring:
            yield explain(connection, f'SELECT 1 FROM ONLY {child} AS x WHERE "{column}" = {key!r} FOR KEY SHARE OF x')


def weighted(statements: Iterable[Statement], costs: Estimates) -> float:
    """The planner's cost of an hour."""
    return sum(costs[statement.id].cost * statement.calls for statement in statements if statement.reads)
