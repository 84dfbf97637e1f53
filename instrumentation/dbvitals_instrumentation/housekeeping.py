"""Keeps drivers' instrumentations silent in what SQLAlchemy does of its own accord: pings, isolation levels, ends.

Queries are silenced below their span. The rest reaches a driver through methods of the dialect that no event
surrounds, so they are covered on the instance, and only those of which an instrumentation makes spans: the end of a
transaction is a statement for asyncpg alone. ``restore`` uncovers them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from opentelemetry import context as context_api

from dbvitals_instrumentation.telemetry import Silence

METHODS = ("do_ping", "get_isolation_level", "set_isolation_level")
"""Rarely called methods that execute statements on a cursor of their own."""

METHODS_OF_DRIVER = {"asyncpg": ("do_commit", "do_rollback")}
"""Those that are a method of the connection with most drivers, but a statement with this one."""

_silence = Silence()
_quiet: WeakSet[Any] = WeakSet()


class Cover:
    """A method of a dialect, called in a context in which instrumentations are silent."""

    __slots__ = ("_method",)

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = context_api.attach(_silence.below(context_api.get_current()))
        try:
            return self._method(*args, **kwargs)
        finally:
            context_api.detach(token)


def quieten(dialect: Any) -> None:
    """Let the housekeeping of one dialect instance, that is of one ``create_engine``, be silent."""
    own = vars(dialect)
    for name in _methods(dialect):
        if name not in own and hasattr(dialect, name):
            setattr(dialect, name, Cover(getattr(dialect, name)))
    _quiet.add(dialect)


def restore() -> None:
    """Leave every dialect as it was found."""
    for dialect in list(_quiet):
        for name in _methods(dialect):
            if isinstance(vars(dialect).get(name), Cover):
                delattr(dialect, name)
    _quiet.clear()


def _methods(dialect: Any) -> tuple[str, ...]:
    return METHODS + METHODS_OF_DRIVER.get(getattr(dialect, "driver", ""), ())
