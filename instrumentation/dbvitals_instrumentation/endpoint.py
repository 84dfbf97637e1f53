"""Which database an engine talks to, in the words of the conventions: system, namespace, server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dbvitals_instrumentation import semconv


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A database as its clients see it; a part that is not known is ``None``.

    Attributes:
        system: ``db.system.name``.
        database: the database's name, or the file of SQLite.
        address, port: the server; ``address`` may be the folder of a Unix socket. ``port`` is ``None`` for the
            system's own default, which the conventions leave out.
    """

    system: str
    database: str | None
    address: str | None
    port: int | None

    def namespace(self, schema: str | None) -> str | None:
        """``db.namespace``: ``database|schema`` for PostgreSQL, the database elsewhere."""
        if self.system in _SCHEMAS_WITHIN and schema:
            return f"{self.database}|{schema}" if self.database else schema
        return self.database

    def attributes(self, schema: str | None) -> dict[str, str | int]:
        """The attributes that each span and series of this database has."""
        found = {
            semconv.DB_SYSTEM_NAME: self.system,
            semconv.DB_NAMESPACE: self.namespace(schema),
            semconv.SERVER_ADDRESS: self.address,
            semconv.SERVER_PORT: self.port,
        }
        return {name: value for name, value in found.items() if value is not None}

    def pool_name(self) -> str:
        """``server.address:server.port/db.namespace``, as the conventions propose for a pool without a name."""
        port = self.port or semconv.DEFAULT_PORTS.get(self.system)
        server = "" if self.address is None else self.address if port is None else f"{self.address}:{port}"
        return f"{server}/{self.database or ''}" if server else f"{self.system}:{self.database or ''}"


_SCHEMAS_WITHIN = frozenset({"postgresql", "cockroachdb", "aws.redshift", "microsoft.sql_server"})


def endpoint_of(engine: Any, dbapi_connection: Any = None) -> Endpoint:
    """The endpoint of a SQLAlchemy engine, from its URL, else from a connection that it made (``creator=``)."""
    dialect, url = engine.dialect, engine.url
    name = "mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name
    system = semconv.SYSTEMS.get(name, name if name in semconv.SYSTEMS.values() else semconv.OTHER_SQL)
    address, port, database = url.host, url.port, url.database
    if address is None and system != "sqlite":
        address, port, database = _from_query(url, port, database)
    if address is None and system != "sqlite" and dbapi_connection is not None:
        address, port, database = _from_connection(dbapi_connection, port, database)
    if system == "sqlite":
        database = _sqlite_name(database)
        address = port = None
    if port == semconv.DEFAULT_PORTS.get(system):
        port = None
    return Endpoint(system, database, address, port)


def _from_query(url: Any, port: int | None, database: str | None) -> tuple[str | None, int | None, str | None]:
    """``?host=a:5432&host=b`` or ``?unix_socket=…``: the first of several servers stands for the engine."""
    query = url.query
    host = query.get("host") or query.get("unix_socket")
    if isinstance(host, tuple):
        host = host[0]
    if host and not host.startswith("/"):
        host, _, tail = host.split(",")[0].partition(":")
        port = int(tail) if tail.isdigit() else port
    return host or None, port, database


def _from_connection(
    connection: Any, port: int | None, database: str | None
) -> tuple[str | None, int | None, str | None]:
    """What the driver's connection says of its server, without asking the server."""
    connection = getattr(connection, "_connection", connection)  # SQLAlchemy's adapters around async drivers
    info = getattr(connection, "info", None)
    if info is not None and hasattr(info, "dbname"):  # psycopg, psycopg2
        return info.host or None, info.port or port, database or info.dbname
    asyncpg = getattr(connection, "_addr", None)
    if isinstance(asyncpg, tuple) and len(asyncpg) == 2:
        parameters = getattr(connection, "_params", None)
        return asyncpg[0], asyncpg[1], database or getattr(parameters, "database", None)
    host = getattr(connection, "host", None)  # PyMySQL, aiomysql
    if isinstance(host, str):
        name = getattr(connection, "db", None)
        name = name.decode() if isinstance(name, bytes) else name
        number = getattr(connection, "port", None)
        return host, number if isinstance(number, int) else port, database or (name if isinstance(name, str) else None)
    return None, port, database


def _sqlite_name(database: str | None) -> str:
    if not database or database == ":memory:" or "mode=memory" in database:
        return ":memory:"
    return database.removeprefix("file:").partition("?")[0]
