"""A fault of ours, wherever it happens, never changes what the application gets, and is counted."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import dbvitals
import dbvitals_instrumentation
from dbvitals import testing
from dbvitals_instrumentation import caller, database, errors, fetching, guard, histogram, pool, queries, semconv, spans

SOURCES = Path(dbvitals_instrumentation.__file__).parent


class OurFault(Exception):
    """What is injected."""


def broken(*_args: Any, **_options: Any) -> Any:
    raise OurFault("geheim")


def use(engine: Any) -> list[Any]:
    """What an application does, and all that it gets."""
    got: list[Any] = []
    with engine.connect() as connection:
        got.append(
            connection.execute(sa.text("SELECT id FROM dbv_item WHERE id < :n ORDER BY id"), {"n": 4}).fetchall()
        )
        got.append(connection.execute(sa.text("SELECT 1")).scalar())
        try:
            connection.execute(sa.text("SELECT nonsense FROM nowhere"))
        except sa.exc.OperationalError as error:
            got.append(type(error.orig).__name__)
        connection.rollback()
        connection.invalidate()
    with engine.connect() as connection:
        got.append(connection.execute(sa.text("SELECT name FROM dbv_item WHERE id = 7")).first())
        connection.detach()
    with engine.connect():
        try:
            engine.connect()
        except sa.exc.TimeoutError:
            got.append("timeout")
    dbvitals.record_cache("c", "hit")
    engine.dispose()
    return got


SITES: dict[str, tuple[Any, str]] = {
    "queries.begin": (database.Database, "learn"),
    "queries.finish": (queries, "count_rows"),
    "queries.record": (errors, "root_of"),
    "pool.begin": (pool.PoolWatch, "_adopt"),
    "pool.checked_out": (pool.PoolWatch, "_write_span"),
    "pool.failed": (pool.PoolWatch, "_write_span"),
    "pool.connect": (pool.PoolWatch, "_pool_of"),
    "pool.checkin": (pool.PoolWatch, "_pool_of"),
    "pool.close": (pool.PoolWatch, "_pool_of"),
    "pool.invalidate": (pool.PoolWatch, "_pool_of"),
    "cache.count": (dbvitals.watch.Telemetry, "instruments"),
    "spans.sdk": (spans.SdkSpanWriter, "__init__"),
    "telemetry.flush": (histogram.BufferedHistograms, "flush"),
    "telemetry.source": (pool.Pool, "counts"),
}
ELSEWHERE = {"redis": "test_redis_client.py", "orm": "test_orm.py"}
"""Prefixes of sites whose faults are injected by another file's tests."""


@pytest.fixture
def engine(engine_of: Callable[..., Any]) -> Any:
    return engine_of("sqlite", pool_size=1, max_overflow=0, pool_timeout=0.01)


@pytest.mark.parametrize("site", SITES)
def test_a_fault_changes_nothing_for_the_application_and_is_counted(
    site: str, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = use(engine)
    guard.reset()
    target, name = SITES[site]
    with testing.observe() as seen:
        monkeypatch.setattr(target, name, broken)
        assert use(engine) == expected
        with engine.connect():  # so that there is a pool to ask for its counts
            seen.points(semconv.FAULTS)
        monkeypatch.undo()
    assert guard.faults().get(site, 0) > 0
    guard.reset()


@pytest.mark.parametrize(
    "target, name",
    [
        (caller, "_kind"),
        (fetching.orphans, "settle"),
        (dbvitals.watch.Telemetry, "spans"),
        (dbvitals.watch.Telemetry, "instruments"),
        (histogram.BufferedHistograms, "record"),
        (queries.QueryWatch, "_finish_span"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_of_ours_breaks_the_application_gets_the_same(
    target: Any, name: str, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = use(engine)
    guard.reset()
    with testing.observe():
        monkeypatch.setattr(target, name, broken, raising=False)
        assert use(engine) == expected
        monkeypatch.undo()
    guard.reset()


def test_every_place_that_keeps_a_fault_is_tried() -> None:
    written = {
        site
        for path in SOURCES.glob("*.py")
        for site in re.findall(r"guard\.fault\(\s*f?\"([a-z_.{}]+)\"", path.read_text())
    }
    tried = {*SITES, *(site for site in written if site.partition(".")[0] in ELSEWHERE)}
    assert written == tried


def test_the_first_fault_of_a_site_is_logged_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    guard.reset()
    with caplog.at_level(logging.ERROR, "dbvitals"):
        for _ in range(3):
            try:
                broken()
            except OurFault as error:
                guard.fault("somewhere", error)
    assert len(caplog.records) == 1
    line = caplog.text
    assert "somewhere" in line
    assert "OurFault at test_guard.py:" in line
    assert "geheim" not in line
    assert guard.faults() == {"somewhere": 3}
    guard.reset()


def test_faults_are_a_metric_by_site() -> None:
    guard.reset()
    with testing.observe() as seen:
        guard.fault("a.b", OurFault())
        (point,) = seen.points(semconv.FAULTS)
    assert (point.value, dict(point.attributes)) == (1, {semconv.SITE: "a.b"})
    guard.reset()
