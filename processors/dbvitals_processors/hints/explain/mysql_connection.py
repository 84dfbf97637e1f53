"""A read-only connection to MySQL or MariaDB, by whichever driver is installed; or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from dbvitals_processors.hints.model import AdvisorError

_DRIVERS = (("MySQLdb", "mysqldb"), ("pymysql", "pymysql"), ("mysql.connector", "mysqlconnector"))
_SESSION = (
    "SET SESSION TRANSACTION READ ONLY",
    "SET SESSION lock_wait_timeout = 1",
    "SET SESSION max_statement_time = 5",  # MariaDB, seconds
    "SET SESSION max_execution_time = 5000",  # MySQL, milliseconds
    "SET SESSION information_schema_stats_expiry = 0",
    "SET SESSION explain_json_format_version = 1",
)  # each server knows some of these; the first one every server must
_MENDS = {
    1044: "grant the user SELECT on this database",
    1045: "check user and password",
    1049: "check the database's name",
    1142: "grant the user SELECT on this database",
    2002: "is the server running there?",
    2003: "is the server running there?",
    2005: "check the host's name",
}


@contextmanager
def connect(url: str | URL) -> Iterator[Connection]:
    """A read-only connection with time-outs; what is set is set for this connection alone.

    Raises:
        AdvisorError: the server cannot be reached, refuses us, or no driver is installed.
    """
    asked = make_url(url)
    if not asked.database:
        raise AdvisorError("name a database: mysql://user:password@host:3306/shop")
    engine = create_engine(_with_driver(asked), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with _connected(engine) as connection:
            connection.exec_driver_sql(_SESSION[0])
            for setting in _SESSION[1:]:
                with suppress(DBAPIError):
                    connection.exec_driver_sql(setting)
            yield connection
    except SQLAlchemyError as error:
        raise AdvisorError(f"{asked.render_as_string()}: {reason_of(error)}") from None
    except _DriverError as error:
        raise AdvisorError(f"{asked.render_as_string()}: the driver says: {error}") from None


class _DriverError(Exception):
    """What a driver raises beside its own errors: an option that it does not know, a library that is missing."""


def _connected(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except (TypeError, RuntimeError, ImportError) as error:
        raise _DriverError(str(error).partition("\n")[0]) from None


def _with_driver(url: URL) -> URL:
    """The URL with a driver that is installed and blocks."""
    named = url.drivername.partition("+")[2]
    if named in [name for _, name in _DRIVERS]:
        return url.set(drivername=f"mysql+{named}")
    for module, name in _DRIVERS:
        with suppress(ImportError):
            import_module(module)
            return url.set(drivername=f"mysql+{name}")
    raise AdvisorError("no MySQL driver is installed: pip install pymysql")


def reason_of(error: SQLAlchemyError) -> str:
    """The database's own words and what to do, without SQL or values."""
    original = getattr(error, "orig", None) or error
    arguments = original.args if len(original.args) > 1 else (0, str(original))
    line = str(arguments[1]).strip().partition("\n")[0]
    mend = _MENDS.get(arguments[0]) if isinstance(arguments[0], int) else None
    return f"{line}; {mend}" if mend else line
