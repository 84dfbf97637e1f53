"""The relationship that a query of SQLAlchemy's ORM loads lazily."""

from __future__ import annotations

from typing import Any

from dbvitals_instrumentation import guard


def relationship_of(context: Any) -> str | None:
    """``User.orders`` for the query that loads the orders of one user when they are first looked at, else ``None``.

    The public ways to know it are ``ORMExecuteState.lazy_loaded_from`` and ``.loader_strategy_path``, in a listener
    that would cost every query of the ORM ten times as much. This looks at what they look at: the execution's options
    (0.1 µs, a lazy load 0.4), the same from SQLAlchemy 1.4 to 2.1. Eager loads (``selectinload``) are no lazy ones.
    """
    options = context.execution_options.get("_sa_orm_load_options")
    if options is None:
        return None
    try:
        if not options._lazy_loaded_from:
            return None
        loaded = context.invoked_statement._compile_options._current_path.path[-1]
        return f"{loaded.parent.class_.__name__}.{loaded.key}"
    except Exception as error:  # a SQLAlchemy whose inside has changed: the query is still worth a span
        guard.fault("orm.relationship_of", error)
        return None
