"""Baselines outlive a restart, in a file or in Redis; whatever is wrong with the place is one line in the log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from dbvitals import testing
from dbvitals_processors.baselines import REDIS_KEY, VERSION, Baselines, FileStore, RedisStore, store_at
from dbvitals_processors.changes import Baseline
from dbvitals_processors.regressions import MOST_QUERIES, Kept, Key

ONE: Key = ("shop|public", "SELECT", "abc")
TWO: Key = ("", "BATCH INSERT", "def")
KEPT: dict[Key, Kept] = {ONE: (Baseline(15.5, 0.1, 100.0), None), TWO: (Baseline(12.25, 0.2, 200.0), 150.0)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "baselines.json"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        connected.flushdb()
        yield connected


def test_a_file_gives_back_what_was_kept(file: Path) -> None:
    assert FileStore(file).load() == {}
    FileStore(file).save(KEPT)
    assert FileStore(file).load() == KEPT
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_processes_that_share_a_file_keep_of_each_query_what_was_seen_last(file: Path) -> None:
    older, newer = (Baseline(1.0, 0.1, 100.0), None), (Baseline(2.0, 0.1, 300.0), None)
    FileStore(file).save({ONE: newer, TWO: older})
    FileStore(file).save({ONE: older, TWO: newer})
    assert FileStore(file).load() == {ONE: newer, TWO: newer}


def test_a_file_stays_small(file: Path) -> None:
    many: dict[Key, Kept] = {("", "", str(n)): (Baseline(1.0, 0.1, float(n)), None) for n in range(MOST_QUERIES + 7)}
    FileStore(file).save(many)
    assert len(FileStore(file).load()) == MOST_QUERIES
    assert ("", "", "0") not in FileStore(file).load()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '{"version": 1}',
        '{"version": 99, "baselines": []}',
        '{"version": 1, "baselines": [[1, 2]]}',
        '{"version": 1, "baselines": [["a", "b", "c", 1e9, 0.1, 1, null]]}',
        '{"version": 1, "baselines": [["a", "b", "c", NaN, 0.1, 1, null]]}',
        '{"version": 1, "baselines": [["a", "b", "c", 1, 0, 1, null]]}',
        "\0" * 1000,
    ],
)
def test_a_corrupt_file_is_one_line_and_a_fresh_start(text: str, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text(text)
    baselines = Baselines(FileStore(file))
    with caplog.at_level(logging.WARNING, "dbvitals"):
        assert baselines.load() == {}
        assert baselines.load() == {}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "DBVITALS_BASELINE_FILE could not be read" in caplog.text
    assert baselines.save(KEPT)
    assert Baselines(FileStore(file)).load() == KEPT


def test_a_place_that_cannot_be_written_is_one_line_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "missing"
    baselines = Baselines(FileStore(folder / "baselines.json"))
    with caplog.at_level(logging.WARNING, "dbvitals"):
        assert not baselines.save(KEPT)
        assert not baselines.save(KEPT)
    assert len(caplog.records) == 1
    folder.mkdir()
    assert baselines.save(KEPT)


@pytest.mark.parametrize("place", ["redis://h/0", "rediss://h", "unix:///run/redis.sock"])
def test_a_url_of_redis_is_no_file(place: str) -> None:
    assert isinstance(store_at(place, "shop"), RedisStore)
    assert isinstance(store_at("redis.json", "shop"), FileStore)


@pytest.mark.redis
def test_redis_gives_back_what_was_kept(redis_url: str, client: redis.Redis) -> None:
    store = RedisStore(redis_url, "shop")
    assert store.load() == {}
    store.save({})
    store.save({ONE: KEPT[ONE]})
    store.save({TWO: KEPT[TWO]})
    assert RedisStore(redis_url, "shop").load() == KEPT
    assert RedisStore(redis_url, "crm").load() == {}
    assert client.ttl(REDIS_KEY.format(version=VERSION, service="shop")) > 0


@pytest.mark.redis
def test_a_hash_in_redis_that_has_grown_too_large_begins_anew(redis_url: str, client: redis.Redis) -> None:
    name = REDIS_KEY.format(version=VERSION, service="shop")
    client.hset(name, mapping={str(number): "x" for number in range(2 * MOST_QUERIES + 1)})
    store = RedisStore(redis_url, "shop")
    store.save(KEPT)
    assert store.load() == KEPT


@pytest.mark.redis
def test_what_redis_holds_may_be_anything(
    redis_url: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client.set(REDIS_KEY.format(version=VERSION, service="shop"), "no hash")
    with caplog.at_level(logging.WARNING, "dbvitals"):
        assert Baselines(RedisStore(redis_url, "shop")).load() == {}
    assert len(caplog.records) == 1


@pytest.mark.redis
def test_our_own_commands_are_not_observed(redis_url: str, client: redis.Redis) -> None:
    with testing.observe() as seen:
        RedisStore(redis_url, "shop").save(KEPT)
        assert seen.spans() == []


def test_a_redis_that_is_away_costs_a_line_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    baselines = Baselines(RedisStore("redis://user:secret@127.0.0.1:1/0", "shop"))
    with caplog.at_level(logging.WARNING, "dbvitals"):
        assert baselines.load() == {}
        assert not baselines.save(KEPT)
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text


numbers = st.floats(0, 32).map(lambda value: round(value, 4))
kept = st.tuples(
    st.builds(Baseline, numbers, st.floats(0.01, 3).map(lambda value: round(value, 4)), numbers), st.none() | numbers
)


@given(st.dictionaries(st.tuples(st.text(), st.text(), st.text()), kept, max_size=5))
def test_any_query_survives(tmp_path_factory: Any, baselines: dict[Key, Kept]) -> None:
    file = tmp_path_factory.mktemp("kept") / "baselines.json"
    try:
        json.dumps([*baselines], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    FileStore(file).save(baselines)
    loaded = FileStore(file).load()
    assert {key: (one.level, one.spread, since) for key, (one, since) in loaded.items()} == {
        key: (one.level, one.spread, since) for key, (one, since) in baselines.items()
    }
