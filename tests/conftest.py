"""Real servers for the tests: those that the environment names, else private ones that live as long as the session.

A test that needs a server never skips: without one it errors, with the line that says what to install.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import services


def _url(kind: str) -> Iterator[str]:
    given = os.environ.get(services.variable(kind))
    if given:
        yield given
        return
    servers = services.Services([kind])
    try:
        servers.start()
    except services.Unavailable as reason:
        pytest.fail(str(reason), pytrace=False)
    try:
        yield servers.urls[kind]
    finally:
        servers.stop()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A superuser's URL (`postgresql://…`) of a database `dbvitals`, with pg_stat_statements loaded."""
    yield from _url("postgresql")


@pytest.fixture(scope="session")
def mariadb_url() -> Iterator[str]:
    """The URL (`mysql://…`) of a database `dbvitals`, for a user who may do anything."""
    yield from _url("mariadb")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of an empty Redis."""
    yield from _url("redis")


@pytest.fixture(scope="session")
def redis_cluster_url() -> Iterator[str]:
    """The URL of one of the three nodes of a Redis cluster."""
    yield from _url("redis-cluster")
