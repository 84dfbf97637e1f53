"""Databases to judge in: made from a workload's folder, kept between runs if wanted, without anybody's indexes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from workload import HERE

sys.path.insert(0, str(HERE.parent.parent / "scripts"))

from services import Services, variable

VARIABLE = variable("postgresql")
LOCALES = ("en_US.UTF-8", "C.UTF-8", "C.utf8")  # any but C: there LIKE 'x%' cannot use an ordinary index
SETTINGS = {
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "client_min_messages": "warning",
    "timezone": "UTC",
    "maintenance_work_mem": "256MB",  # indexes are built again and again
    "synchronous_commit": "on",  # VACUUM takes no row for visible to all before its commit is in the log
}
ADDED = """
    SELECT indexes.relname FROM pg_index JOIN pg_class AS indexes ON indexes.oid = indexrelid
    JOIN pg_namespace ON pg_namespace.oid = indexes.relnamespace
    WHERE nspname = 'public'
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
"""


@contextlib.contextmanager
def server(keep: bool = False) -> Iterator[str]:
    """The URL of a server: the one that the environment names, else a private one for as long as this lasts."""
    if url := os.environ.get(VARIABLE):
        yield url
        return
    if keep:
        raise SystemExit(f'--keep is for a server that stays: eval "$(python scripts/services.py up)" sets {VARIABLE}')
    with Services(["postgresql"]) as services:
        yield services.urls["postgresql"]


def connect(url: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)
    for name, value in SETTINGS.items():
        connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    return connection


@contextlib.contextmanager
def database(
    url: str, name: str, sources: Sequence[str], fill: Callable[[psycopg.Connection[Any]], None], keep: bool
) -> Iterator[tuple[str, float | None]]:
    """A database's URL, and the seconds it took to load; None if it was there already, made from the same sources."""
    mark = hashlib.sha256("\0".join(sources).encode()).hexdigest()
    target = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    with connect(url) as control:
        query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        found = control.execute(query, [name]).fetchone()
        seconds = None
        if found != (mark,):
            started = time.perf_counter()
            _create(control, name)
            with connect(target) as connection:
                connection.execute("CREATE EXTENSION IF NOT EXISTS hypopg")
                fill(connection)
            comment = sql.SQL("COMMENT ON DATABASE {} IS {}")
            control.execute(comment.format(sql.Identifier(name), sql.Literal(mark)))
            seconds = time.perf_counter() - started
    with connect(target) as connection:
        drop_indexes(connection)
    try:
        yield target, seconds
    finally:
        if not keep:
            with connect(url) as control:
                control.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _create(control: psycopg.Connection[Any], name: str) -> None:
    control.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE {}")
    for locale in LOCALES:
        with contextlib.suppress(psycopg.errors.WrongObjectType, psycopg.errors.InvalidParameterValue):
            control.execute(create.format(sql.Identifier(name), sql.Literal(locale)))
            for setting in (
                "jit",
                "max_parallel_workers_per_gather",
            ):  # an advisor is to see the costs that the judge sees
                alter = sql.SQL("ALTER DATABASE {} SET {} = {}")
                names = sql.Identifier(name), sql.Identifier(setting), sql.Literal(SETTINGS[setting])
                control.execute(alter.format(*names))
            return
    raise SystemExit(f"the server knows none of the locales {', '.join(LOCALES)}")


def run_sources(sources: Sequence[str]) -> Callable[[psycopg.Connection[Any]], None]:
    def fill(connection: psycopg.Connection[Any]) -> None:
        for source in sources:
            connection.execute(source)
        connection.execute("VACUUM (ANALYZE)")  # as autovacuum leaves it: without, no index-only scan is worth a thing

    return fill


def cache() -> Path:
    """What may be lost, and saves time as long as it is there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dbvitals-bench"


def added(connection: psycopg.Connection[Any]) -> set[str]:
    """The names of the indexes that belong to no constraint."""
    return {name for (name,) in connection.execute(ADDED)}


def drop_indexes(connection: psycopg.Connection[Any]) -> None:
    for name in added(connection):
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
    connection.execute("SELECT hypopg_reset()")
