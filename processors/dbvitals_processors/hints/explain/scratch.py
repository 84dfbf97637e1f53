"""Indexes that no planner can imagine, built for real: on a copy that the user names, in a transaction rolled back.

Building locks the table against writes until the end; so it is never done on the database that is advised on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from dbvitals_processors.hints.explain.postgres import PostgresPlanner, connect, reason_of
from dbvitals_processors.hints.model import (
    Advice,
    AdvisorError,
    Estimate,
    Hint,
    Refusal,
    Served,
    Unplannable,
    quoted_name,
)

PATIENCE = "10min"
"""For each index, which is really built."""
USELESS = 0.95
"""A query that costs this share of what it did is not served."""


def confirmed(advice: Advice, url: URL, scratch: URL) -> Advice:
    """The advice with what was only estimated built on a copy: its costs as the planner has them then, or refused.

    Args:
        url: the database that the advice is for.
        scratch: the copy; PostgreSQL, and not ``url``.

    Raises:
        AdvisorError: the copy cannot be used.
    """
    if (scratch.host, scratch.port, scratch.database) == (url.host, url.port, url.database):
        raise AdvisorError("--scratch-database is the database itself: name a copy, for building locks tables")
    doubtful = [hint for hint in advice.hints if hint.verification == "heuristic"]
    if not doubtful:
        return advice
    hints, refusals = list(advice.hints), list(advice.refusals)
    with connect(scratch) as connection:
        planner = PostgresPlanner(connection)
        for hint in doubtful:
            built = _built(hint, planner)
            if isinstance(built, Refusal):
                refusals.append(built)
                hints.remove(hint)
            else:
                hints[hints.index(hint)] = built
    return replace(advice, hints=tuple(hints), refusals=tuple(refusals))


def _built(hint: Hint, planner: PostgresPlanner) -> Hint | Refusal:
    """A hint with its queries' costs on the copy, before and after."""
    queries = [one.query for one in hint.served]
    try:
        before = [planner.afresh(query) for query in queries]
    except Unplannable as error:
        raise AdvisorError(f"the scratch database is no copy of the other: {error}") from None
    try:
        with _rolled_back(planner):
            planner.connection.exec_driver_sql(hint.candidate.ddl())
            planner.connection.exec_driver_sql(f"ANALYZE {quoted_name(hint.candidate.table)}")
            after = [planner.afresh(query) for query in queries]
    except DBAPIError as error:
        return Refusal(str(hint.candidate), f"it cannot be built on the scratch database: {reason_of(error)}")
    served = tuple(map(_served, hint.served, before, after))
    if not any(one.after < USELESS * one.without for one in served):
        return Refusal(str(hint.candidate), "built on the scratch database, the planner would not use it")
    return replace(hint, served=served, verification="explain")


def _served(one: Served, before: Estimate, after: Estimate) -> Served:
    return replace(one, without=before.cost, after=after.cost, plan_after=after.plan)


@contextmanager
def _rolled_back(planner: PostgresPlanner) -> Iterator[None]:
    connection = planner.connection
    connection.exec_driver_sql("BEGIN READ WRITE")
    try:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{PATIENCE}'")
        yield
    finally:
        connection.exec_driver_sql("ROLLBACK")
