"""What a database's own planner says of an index that does not exist."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy.engine import URL

from dbvitals_processors.hints.model import AdvisorError


@contextmanager
def planner_for(url: URL) -> Iterator[Any]:
    """A planner of the database at a URL, on a connection of its own that only reads.

    Raises:
        AdvisorError: the database cannot be reached, or is of a kind that has no planner here.
    """
    system = url.get_backend_name()
    if system == "postgresql":
        from dbvitals_processors.hints.explain.postgres import PostgresPlanner, connect

        with connect(url) as connection:
            yield PostgresPlanner(connection)
    elif system == "sqlite":
        from dbvitals_processors.hints.explain import sqlite

        with sqlite.connect(url) as connection, closing(sqlite.SqlitePlanner(connection)) as planner:
            yield planner
    elif system in ("mysql", "mariadb"):
        from dbvitals_processors.hints.explain import mysql, mysql_connection

        with mysql_connection.connect(url) as connection:
            yield mysql.MysqlPlanner(connection)
    else:
        raise AdvisorError(f"{system}: the advisor knows PostgreSQL, MySQL, MariaDB and SQLite")
