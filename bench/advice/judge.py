"""The verdict on a set of indexes: what it saves, which queries it solves, and what in it is for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import psycopg
from indexes import Built, Index, build, listed, upkeep
from plans import Estimates, estimates, weighted
from psycopg import sql
from workload import Workload

WORTH = 0.9  # an index must bring one statement's cost down to this, or it is for nothing
CLOSE = 2.0  # solved: no more than this times the expert's cost,
LITTLE = 0.1  # or no more than this part of the cost without indexes


class Alarm(NamedTuple):
    """An index that somebody objects to, and why."""

    ddl: str
    reason: str


class Verdict(NamedTuple):
    """A set of indexes, judged."""

    built: Built
    costs: Estimates
    left: float  # share of the unindexed cost
    alarms: tuple[Alarm, ...]
    second_best: tuple[Alarm, ...]  # of use, but an expert knows better
    entries: float  # an hour


class Unsolved(NamedTuple):
    """A query that an index would help, and what it costs without, with the expert's and with the advisor's."""

    id: str
    none: float
    expert: float
    advisor: float
    calls: float


def judge(connection: psycopg.Connection[Any], workload: Workload, none: Estimates, ddl: list[str]) -> Verdict:
    """Builds the indexes and leaves them to be dropped by the caller."""
    built = build(connection, ddl)
    costs = estimates(connection, workload.statements)
    left = weighted(workload.statements, costs) / weighted(workload.statements, none)
    alarms = [Alarm(statement, f"fails: {reason}") for statement, reason in built.failed]
    alarms += [
        Alarm(index.ddl, reason)
        for index in built.indexes
        if (reason := objection(connection, workload, index, costs)) is not None
    ]
    lesser = [
        Alarm(index.ddl, known["why"])
        for index in built.indexes
        if (known := listed(index, workload.truth.get("second_best", ()))) is not None
    ]
    return Verdict(built, costs, left, tuple(alarms), tuple(lesser), upkeep(built.indexes, workload.statements))


def objection(connection: psycopg.Connection[Any], workload: Workload, index: Index, costs: Estimates) -> str | None:
    """What speaks against an index, if anything does."""
    warning = listed(index, workload.truth.get("traps", ()))
    if warning is not None:
        return f"trap: {warning['why']}"
    users = [
        statement for statement in workload.statements if statement.reads and index.name in costs[statement.id].indexes
    ]
    if not users:
        return "no plan uses it"
    with connection.transaction(force_rollback=True):
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index.name)))
        without = estimates(connection, users)
    gain, best = max((1 - costs[name].cost / without[name].cost, name) for name in without)
    if gain < 1 - WORTH:
        return f"nothing needs it: the most it saves is {gain:.0%}, of {best}"
    return None


def unsolved(workload: Workload, none: Estimates, expert: Mapping[str, float], advisor: Estimates) -> list[Unsolved]:
    """The worst first."""
    left = []
    for statement in workload.statements:
        if statement.id not in workload.truth.get("helped", ()):
            continue
        costs = none[statement.id].cost, expert[statement.id], advisor[statement.id].cost
        if costs[2] > max(CLOSE * costs[1], LITTLE * costs[0]):
            left.append(Unsolved(statement.id, *costs, statement.calls))
    return sorted(left, key=lambda each: (each.expert - each.advisor) * each.calls)
