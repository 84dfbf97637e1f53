"""The database and the Redis of the shop: connected before anything else, or one line that says why not."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, QueuePool, create_engine, event, inspect, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from dbvitals.shop.load import MAX_OVERFLOW, POOL_SIZE, POOL_TIMEOUT
from dbvitals.shop.models import Base

PATIENCE = 5
"""Seconds in which a server must answer."""

_DRIVERS = {  # for URLs that name none: what to import, and what to ask SQLAlchemy for
    "postgresql": (("psycopg", "postgresql+psycopg"), ("psycopg2", "postgresql+psycopg2")),
    "mysql": (("pymysql", "mysql+pymysql"), ("MySQLdb", "mysql+mysqldb")),
    "mariadb": (("pymysql", "mariadb+pymysql"), ("MySQLdb", "mariadb+mysqldb")),
}
_CONNECT = {
    "postgresql": {"connect_timeout": PATIENCE},
    "mysql": {"connect_timeout": PATIENCE},
    "mariadb": {"connect_timeout": PATIENCE},
    "sqlite": {"timeout": 30},
}


class Unusable(Exception):
    """A database or Redis that the demo cannot work with; the message is one line, without a password."""


def connect_database(given: str | None, folder: Path) -> Engine:
    """An engine whose pool is too small for the shop; on a SQLite file in ``folder`` if no URL is given.

    Raises:
        Unusable: it cannot be reached, or holds tables of the shop's names.
    """
    url = _url(given) if given else URL.create("sqlite", database=str(folder / "shop.db"))
    try:
        engine = create_engine(
            url,
            poolclass=QueuePool,
            pool_size=POOL_SIZE,
            max_overflow=MAX_OVERFLOW,
            pool_timeout=POOL_TIMEOUT,
            pool_logging_name="shop",
            connect_args=_CONNECT.get(url.get_backend_name(), {}),
        )
    except ModuleNotFoundError as error:
        raise Unusable(f"the driver of --database {url.drivername} is missing: pip install {error.name}") from None
    except (SQLAlchemyError, TypeError, ValueError) as error:
        raise Unusable(f"--database {url.drivername} cannot be used: {_safely(error, url)}") from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _quicken_sqlite)
    try:
        with engine.connect():
            taken = sorted(set(inspect(engine).get_table_names()) & set(Base.metadata.tables))
    except Exception as error:  # drivers raise what they like
        engine.dispose()
        raise Unusable(f"cannot reach the database {_place(url)}: {_safely(error, url)}") from None
    if taken:
        engine.dispose()
        raise Unusable(
            f"the database {_place(url)} already has {', '.join(taken)}, which the demo would make and drop: "
            "give it another database, or drop them"
        )
    return engine


def take_down(engine: Engine) -> None:
    """Drop the shop's tables and close all connections."""
    try:
        Base.metadata.drop_all(engine)
    finally:
        engine.dispose()


def connect_redis(url: str | None) -> Any:
    """A client; of an in-process Redis if no URL is given.

    Raises:
        Unusable: it cannot be reached.
    """
    if url is None:
        import fakeredis

        return fakeredis.FakeRedis(host="in-process")
    import redis

    try:
        client = redis.Redis.from_url(url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE)
    except ValueError:
        raise Unusable("--redis cannot be read; it looks like redis://localhost:6379/0") from None
    try:
        client.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        options = client.connection_pool.connection_kwargs
        place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        raise Unusable(f"cannot reach the Redis {place}: {_line(error, options.get('password'))}") from None
    return client


def _url(given: str) -> URL:
    try:
        url = make_url(given)
        drivers = _DRIVERS.get(url.drivername, ())
        for module, name in drivers:
            if importlib.util.find_spec(module) is not None:
                return url.set(drivername=name)
        dialect = url.get_dialect()
    except NoSuchModuleError:
        raise Unusable(f"--database {given.partition(':')[0]}: SQLAlchemy knows no such database") from None
    except (ArgumentError, ValueError):  # whose message may hold the password
        raise Unusable("--database cannot be read; it looks like postgresql://user:password@localhost/name") from None
    if dialect.is_async:
        raise Unusable(f"--database {url.drivername}: the demo needs a driver that is not asynchronous")
    return url


def _place(url: URL) -> str:
    """Where a URL points to, with nothing that could be secret."""
    port = f":{url.port}" if url.port else ""
    return f"{url.host}{port}/{url.database or ''}" if url.host else url.database or url.drivername


def _safely(error: BaseException, url: URL) -> str:
    return _line(getattr(error, "orig", None) or error, url.password, *map(str, url.query.values()))


def _line(error: BaseException, *secrets: str | None) -> str:
    """An exception as one line without secrets."""
    text = " ".join(str(error).split()) or type(error).__name__
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text[:300]


def _quicken_sqlite(connection: Any, _record: Any) -> None:
    """Readers beside a writer, and no waiting for a disk that nobody needs."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=OFF")
    cursor.close()
