"""What SQLAlchemy promises and its own suite asks for, though few need it; ``scripts/sqlalchemy_suite.py`` found it."""

from __future__ import annotations

import gc
import sqlite3
import weakref
from collections.abc import Callable
from typing import Any

import psycopg2.extensions
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.engine.default import DefaultDialect

from dbvitals import testing
from dbvitals_instrumentation import guard, pool, semconv


def test_a_statement_without_an_execution_context_is_executed(
    seen: testing.Seen, engine_of: Callable[..., Any]
) -> None:
    with engine_of("sqlite").connect() as connection:
        cursor = connection.connection.cursor()
        connection._cursor_execute(cursor, "SELECT count(*) FROM dbv_item", ())
        assert cursor.fetchone() == (10,)


def test_an_error_while_connecting_does_not_name_a_fault_of_ours_as_its_context(
    seen: testing.Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: Any) -> Any:
        raise ValueError("ours")

    def refuse() -> Any:
        raise LookupError("the application's")

    monkeypatch.setattr(pool.PoolWatch, "_adopt", fail)
    engine = sa.create_engine("sqlite://", creator=refuse)
    with pytest.raises(LookupError) as raised:
        engine.connect()
    assert raised.value.__context__ is None
    assert guard.faults() == {"pool.begin": 1}
    guard.reset()


def test_a_dialect_whose_driver_has_no_name_is_watched(seen: testing.Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nameless(DefaultDialect):
        name = "nameless"
        supports_statement_cache = True

        def create_connect_args(self, url: sa.engine.URL) -> Any:
            return (":memory:",), {}

    assert not hasattr(Nameless, "driver")
    monkeypatch.setitem(registry.impls, "nameless", lambda: Nameless)
    engine = sa.create_engine("nameless://", module=sqlite3)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").fetchall() == [(1,)]
    engine.dispose()
    assert [span.name for span in seen.spans()] == ["SELECT"]


def test_an_engine_that_nobody_holds_is_collected(seen: testing.Seen) -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")
    engine.dispose()
    dialect = weakref.ref(engine.dialect)
    del engine, connection
    gc.collect()
    assert dialect() is None


def test_a_cursor_whose_rowcount_is_no_number_makes_no_fault(
    seen: testing.Seen, engine_of: Callable[..., Any], postgresql_url: str
) -> None:
    class Cursor(psycopg2.extensions.cursor):
        rowcount = "many"

    engine = engine_of("psycopg2", connect_args={"cursor_factory": Cursor})
    seen.clear()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT id FROM dbv_item WHERE id < 3").fetchall() == [(1,), (2,)]
    (span,) = seen.spans()
    assert span.attributes is not None
    assert semconv.DB_RESPONSE_RETURNED_ROWS not in span.attributes
