"""`uninstrument()` leaves no trace: every listener and every wrapped function is as it was."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.engine.default import DefaultDialect

import dbvitals
from dbvitals import testing
from dbvitals_instrumentation import guard, semconv

WATCHED = (Engine, Connection, Dialect, DefaultDialect, sa.pool.Pool, sa.pool.QueuePool)


def listeners(target: Any) -> dict[str, list[Any]]:
    """Every listener that a target hears by its event, its class's included."""
    dispatch = target.dispatch
    return {name: list(getattr(dispatch, name)) for name in dispatch._event_names}


def everything(engine: Any) -> list[Any]:
    """All that instrumenting could touch."""
    classes = [{name: value for name, value in vars(kind).items() if name != "__doc__"} for kind in WATCHED]
    return [
        classes,
        [listeners(target) for target in (engine, engine.dialect, engine.pool)],
        [listeners(new) for new in (sa.create_engine("sqlite://"), DefaultDialect(), sa.pool.NullPool(print))],
        sorted(vars(engine.dialect)),
        sorted(vars(engine)),
        sorted(vars(engine.pool)),
        list(gc.callbacks),
    ]


def test_nothing_remains_of_us(engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite")
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1")).all()
    assert Dialect._has_events is False
    before = everything(engine)
    for _ in range(2):
        with testing.observe(), engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
        assert everything(engine) == before


def test_listeners_of_the_application_stay(engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite")
    heard: list[str] = []

    def listener(*_args: Any) -> None:
        heard.append("do_execute")

    with testing.observe():
        event.listen(Engine, "do_execute", listener)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
        assert heard == ["do_execute"]
    finally:
        event.remove(Engine, "do_execute", listener)
        Dialect._has_events = False


def test_after_uninstrument_nothing_is_observed_and_a_second_start_observes_again(
    engine_of: Callable[..., Any],
) -> None:
    guard.reset()
    engine = engine_of("sqlite")
    seen = testing.Seen()
    for times in (1, 2):
        dbvitals.instrument(tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider)
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
        assert seen.points(semconv.CONNECTION_COUNT)
        dbvitals.uninstrument()
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT 1")).all()
        assert len(seen.spans()) == times
        assert seen.points(semconv.OPERATION_DURATION)[0].count == times
        assert [point for point in seen.points(semconv.CONNECTION_COUNT) if point.value] == []
    dbvitals.uninstrument()
    assert guard.faults() == {}


def test_a_connection_open_across_the_end_is_closed_in_peace(engine_of: Callable[..., Any]) -> None:
    engine = engine_of("sqlite")
    with testing.observe() as seen:
        connection = engine.connect()
        result = connection.execute(sa.text("SELECT id FROM dbv_item"))
        result.fetchone()
    assert len(result.fetchall()) == 9
    connection.close()
    assert len(seen.spans()) <= 1
