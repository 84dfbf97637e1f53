"""What a failed operation says of itself without saying what was in it: type and status code, never the message."""

from __future__ import annotations


def status_code(error: BaseException) -> str | None:
    """``db.response.status_code``: the most specific code of the driver's exception.

    The vendor's error number for MySQL and MariaDB (first argument of the exception), SQLSTATE for PostgreSQL
    (``sqlstate`` of psycopg and asyncpg, ``pgcode`` of psycopg2), the result code's name for SQLite.
    """
    number = error.args[0] if error.args else None
    if isinstance(number, int) and not isinstance(number, bool) and not isinstance(error, OSError) and number > 0:
        return str(number)
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(error, name, None)
        if isinstance(code, str) and code:
            return code
    return None


def root_of(error: BaseException) -> BaseException:
    """The driver's own exception inside those of SQLAlchemy and its async adapters."""
    for _ in range(4):
        inner = getattr(error, "orig", None) or getattr(error, "driver_exception", None)
        if not isinstance(inner, BaseException):
            cause = error.__cause__
            adapted = type(error).__module__.startswith("sqlalchemy.dialects")
            inner = cause if adapted and isinstance(cause, BaseException) else None
        if inner is None:
            break
        error = inner
    return error


def error_type(error: BaseException) -> str:
    """``error.type``: the status code where there is one, else the exception's canonical name."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return status_code(error) or name


def description(error: BaseException) -> str:
    """The status description of a span: the exception's class and code, since messages carry data of rows."""
    code = status_code(error)
    return f"{type(error).__name__} ({code})" if code else type(error).__name__
