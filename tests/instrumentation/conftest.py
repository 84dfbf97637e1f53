"""An instrumented process for each test, whose spans and metrics stay in memory; engines on real databases."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dbvitals import testing
from dbvitals_instrumentation import guard

FORKS = "ignore:This process:DeprecationWarning"
"""Python 3.12 and later warn of a fork beside threads, which is what such scripts are about."""

LEGACY = sa.__version__.startswith("1.4.")
"""SQLAlchemy 1.4 runs in its 2.0 style here, has no dialect for psycopg 3, and keeps no pool for SQLite's files."""

DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg2" if LEGACY else "postgresql+psycopg",  # whichever is there
    "psycopg": "postgresql+psycopg",
    "psycopg2": "postgresql+psycopg2",
    "pymysql": "mysql+pymysql",
    "aiosqlite": "sqlite+aiosqlite",
    "asyncpg": "postgresql+asyncpg",
    "aiomysql": "mysql+aiomysql",
}
_POOLING = {"pool_size", "max_overflow", "pool_timeout", "pool_pre_ping"}
_SERVERS = {"postgresql": "postgresql_url", "mysql": "mariadb_url"}


@pytest.fixture
def seen() -> Iterator[testing.Seen]:
    """Everything instrumented with the default configuration; no fault of ours may happen meanwhile."""
    guard.reset()
    with testing.observe() as observed:
        yield observed
    assert guard.faults() == {}


@pytest.fixture
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], sa.engine.URL]:
    """The URL of a real, private database by the name of its driver (:data:`DRIVERS`)."""

    def url(driver: str) -> sa.engine.URL:
        drivername = DRIVERS[driver]
        if LEGACY and driver == "psycopg":
            pytest.skip("SQLAlchemy 1.4 has no dialect for psycopg 3")
        server = _SERVERS.get(drivername.partition("+")[0])
        if server is None:
            return sa.engine.URL.create(drivername, database=str(tmp_path / "test.db"))
        return sa.engine.make_url(request.getfixturevalue(server)).set(drivername=drivername)

    return url


@pytest.fixture
def engine_of(url_of: Callable[[str], sa.engine.URL]) -> Iterator[Callable[..., Any]]:
    """Makes engines (async ones for async drivers) with a table ``dbv_item`` of ten rows, and disposes of them."""
    made: list[Any] = []

    def engine(driver: str, *, table: bool = True, **options: Any) -> Any:
        if driver in ("aiosqlite", "asyncpg", "aiomysql"):
            from sqlalchemy.ext.asyncio import create_async_engine

            return create_async_engine(url_of(driver), **options)
        if LEGACY:
            options.setdefault("future", True)
            if driver == "sqlite" and not _POOLING.isdisjoint(options):  # the pool that SQLite's files have since 2.0
                options.setdefault("poolclass", sa.pool.QueuePool)
                options.setdefault("connect_args", {"check_same_thread": False})
        one = sa.create_engine(url_of(driver), **options)
        made.append(one)
        if table:
            fill(one)
        return one

    yield engine
    for one in made:
        one.dispose()


METADATA = sa.MetaData()
ITEM = sa.Table(
    "dbv_item",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50), unique=True),
    sa.Column("price", sa.Integer),
)


def fill(engine: Any) -> None:
    """Make ``dbv_item`` anew, with ten rows."""
    with engine.begin() as connection:
        METADATA.drop_all(connection)
        METADATA.create_all(connection)
        connection.execute(ITEM.insert(), [{"id": n, "name": f"name {n}", "price": n * 10} for n in range(1, 11)])


@pytest.fixture
def item() -> sa.Table:
    """The table ``dbv_item``."""
    return ITEM


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., str]:
    """Runs a script in a process of its own, which must succeed with nothing on standard error; what it prints."""

    def run(source: str, *arguments: str, **environment: str) -> str:
        script = tmp_path / "script.py"
        script.write_text(textwrap.dedent(source))
        ran = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-W", FORKS, str(script), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={**os.environ, **environment},
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout

    return run
