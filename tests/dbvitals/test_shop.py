"""The demo's shop as a service of its own."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import create_engine, inspect

from dbvitals.shop import __main__ as service
from dbvitals.shop.cache import PREFIX
from dbvitals.shop.load import requests
from dbvitals.shop.seed import Size


def references(day: int) -> set[str]:
    return {str(one.arguments[1]) for one in requests(Size.scaled(0.3), 0.3, day) if one.page == "place_order"}


def test_no_two_days_place_the_same_orders_besides_the_double_clicks() -> None:
    for one, other in itertools.combinations(range(4), 2):
        assert references(one) & references(other) == {"N-double-click"}


def test_a_day_is_the_same_each_time() -> None:
    assert requests(Size.scaled(0.3), 0.3, 2) == requests(Size.scaled(0.3), 0.3, 2)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The service's own answer to SIGTERM ends with the test."""
    former = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.fixture
def keys(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_it_serves_whole_days_and_leaves_nothing_behind(tmp_path: Path, redis_url: str, keys: redis.Redis) -> None:
    database = f"sqlite:///{tmp_path / 'shop.db'}"
    keys.delete(f"{PREFIX}products:1")
    before = keys.info("stats")["keyspace_misses"]
    assert service.main(["--database", database, "--redis", redis_url, "--seconds", "0.01", "--scale", "0.05"]) == 0
    assert keys.info("stats")["keyspace_misses"] > before
    assert list(keys.scan_iter(f"{PREFIX}*")) == []
    assert inspect(create_engine(database)).get_table_names() == []


@pytest.mark.parametrize(
    "options",
    [["--database", "postgresql://127.0.0.1:1/nobody"], ["--database", "no url"], ["--redis", "redis://127.0.0.1:1"]],
    ids=["no server", "no address", "no Redis"],
)
def test_what_cannot_be_used_is_one_line(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert service.main(options) == 2
    said = capsys.readouterr().err
    assert said.startswith("dbvitals: ")
    assert said.count("\n") == 1
