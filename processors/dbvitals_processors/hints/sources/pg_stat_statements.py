"""The workload that PostgreSQL itself has counted, in its extension pg_stat_statements."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from dbvitals_processors.hints.model import AdvisorError, WorkloadQuery, quoted
from dbvitals_processors.hints.sources.merging import costliest_first, merge, per_hour
from dbvitals_processors.hints.sources.quiet import quiet
from dbvitals_processors.hints.sources.sql import OWN, fingerprint, is_workload

HIDDEN = "<insufficient privilege>"
MOST_HIDDEN = 0.1
"""Share of the time whose statements may be hidden: monitoring by the provider's own user is no loss."""

_PRELOAD = (
    "add it to shared_preload_libraries (ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements') "
    "and restart PostgreSQL"
)
_TYPED = re.compile(
    r"\b(interval|date|time(?:stamp)?(?:tz)?(?:\s+with(?:out)?\s+time\s+zone)?)\s+(\$[0-9]+)(?![0-9])", re.IGNORECASE
)


class _Row(NamedTuple):
    query: str | None
    calls: int
    milliseconds: float


def read(connection: Connection) -> list[WorkloadQuery]:
    """The statements of the connection's database, the most expensive first.

    Raises:
        AdvisorError: there is nothing to read; the message is one line that says what to run.
    """
    if connection.dialect.name != "postgresql":
        raise AdvisorError(f"pg_stat_statements is PostgreSQL's; this is {connection.dialect.name}")
    try:
        with quiet():
            schema, columns = _extension(connection)
            seconds = _observed(connection, schema, columns)
            rows = _rows(connection, schema, columns)
            if not rows and not _is_loaded(connection):
                raise AdvisorError(f"pg_stat_statements is not loaded: {_PRELOAD}")
    except SQLAlchemyError as error:
        raise AdvisorError(_mend(error)) from error
    _check_hidden(connection, rows)
    found = _queries(rows, per_hour(seconds))
    if not found:
        raise AdvisorError(
            "pg_stat_statements has counted no statement of this database yet: let the application run, then ask again"
        )
    return found


def _extension(connection: Connection) -> tuple[str, frozenset[str]]:
    """The schema that the extension is in, and the columns of its view."""
    found = _ask(
        connection,
        "SELECT n.nspname, a.attname FROM pg_catalog.pg_extension e "
        "JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace "
        "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = e.extname "
        "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE e.extname = 'pg_stat_statements'",
    ).all()
    if not found:
        mend = "CREATE EXTENSION pg_stat_statements"
        more = "" if _is_loaded(connection) else f"; PostgreSQL has not loaded it either: {_PRELOAD}"
        raise AdvisorError(f"pg_stat_statements is not installed in this database: run {mend}{more}")
    return quoted(found[0][0]), frozenset(column for _, column in found)


def _is_loaded(connection: Connection) -> bool:
    """By a setting of its own: who is no superuser may not see what is preloaded."""
    asked = "SELECT count(*) FROM pg_catalog.pg_settings WHERE name = 'pg_stat_statements.max'"
    return bool(_ask(connection, asked).scalar())


def _observed(connection: Connection, schema: str, columns: frozenset[str]) -> float:
    """Seconds since counting began; before PostgreSQL 14 the database's own statistics are the best guess."""
    since = (
        f"SELECT stats_reset FROM {schema}.pg_stat_statements_info"  # noqa: S608 - quoted
        if "toplevel" in columns  # came in the same version
        else "SELECT coalesce(stats_reset, pg_catalog.pg_postmaster_start_time()) FROM pg_catalog.pg_stat_database "
        "WHERE datname = current_database()"
    )
    asked = f"SELECT extract(epoch FROM clock_timestamp() - ({since}))::float8"  # noqa: S608 - from above
    return float(_ask(connection, asked).scalar() or 0.0)


def _rows(connection: Connection, schema: str, columns: frozenset[str]) -> list[_Row]:
    took = "total_exec_time" if "total_exec_time" in columns else "total_time"  # until PostgreSQL 12
    asked = (
        f"SELECT query, calls, {took} FROM {schema}.pg_stat_statements "  # noqa: S608 - quoted
        "WHERE calls > 0 AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) "
        f"ORDER BY {took} DESC, queryid"
    )
    return [_Row(*row) for row in _ask(connection, asked)]


def _ask(connection: Connection, sql: str) -> Any:
    """With our mark, by which it is known among what the extension counts."""
    return connection.execute(text(f"{sql} {OWN}"))


def _check_hidden(connection: Connection, rows: Iterable[_Row]) -> None:
    """Refuse a workload of which much is hidden; advice on the rest would mislead."""
    rows = list(rows)
    total = sum(row.milliseconds for row in rows)
    hidden = [row for row in rows if row.query == HIDDEN]
    lost = sum(row.milliseconds for row in hidden)
    if hidden and lost >= MOST_HIDDEN * total:
        with quiet():
            user = str(_ask(connection, "SELECT current_user").scalar())
        raise AdvisorError(
            f"the user {user} may not see {len(hidden)} of {len(rows)} statements "
            f"({lost / total if total else 1:.0%} of their time): run GRANT pg_read_all_stats TO {quoted(user)}"
        )


def _queries(rows: Iterable[_Row], rate: float) -> list[WorkloadQuery]:
    found = [
        WorkloadQuery(fingerprint(row.query), _castable(row.query), row.calls * rate, row.milliseconds / 1000 * rate)
        for row in rows
        if row.query and row.query != HIDDEN and is_workload(row.query)
    ]
    return costliest_first(merge(found))


def _castable(sql: str) -> str:
    """``interval '1 day'`` was counted as ``interval $1``, which PostgreSQL cannot read; ``$1::interval`` it can."""
    return _TYPED.sub(r"\2::\1", sql)


def _mend(error: SQLAlchemyError) -> str:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    if "shared_preload_libraries" in reason:
        return f"pg_stat_statements is not loaded: {_PRELOAD}"
    if "permission denied" in reason:
        return f"pg_stat_statements cannot be read ({reason}): GRANT pg_read_all_stats to this user, or use another"
    return f"pg_stat_statements cannot be read: {reason}"
