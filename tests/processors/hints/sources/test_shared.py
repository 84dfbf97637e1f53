"""Replicas put their workloads in one place, and anybody reads all of them as one."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from dbvitals_processors.hints.model import AdvisorError, WorkloadQuery
from dbvitals_processors.hints.sources import shared
from dbvitals_processors.hints.sources.shared import KEPT, read, write
from dbvitals_processors.hints.sources.sql import fingerprint
from dbvitals_processors.sketch import Sketch
from dbvitals_processors.workload import QueryTotals, Workload

ORDERS, USERS = "SELECT a FROM orders WHERE b = ?", "SELECT a FROM users"


@pytest.fixture(params=["folder", pytest.param("redis", marks=pytest.mark.redis)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "not" / "yet there")
        return
    url = request.getfixturevalue("redis_url")
    with Redis.from_url(url) as client:
        yield url
        for key in client.scan_iter("dbvitals:workload:*"):
            client.delete(key)


def workload(*texts: str, calls: int = 10) -> Workload:
    counted = Workload()
    for text in texts:
        counted.take(
            QueryTotals("shop", fingerprint(text), "postgresql", "s", text, calls, calls * 10**9, 0, {}, {}, Sketch())
        )
    return counted


def test_what_replicas_write_is_read_as_one(where: str) -> None:
    write(workload(ORDERS), where, started=1000, instance="a", clock=lambda: 2800)
    write(workload(ORDERS, USERS), where, started=1000, instance="b/../c", clock=lambda: 4600)
    found = read(where, clock=lambda: 5000)
    assert (found.instances, found.seconds, found.unreadable) == (2, 3600, 0)
    assert found.queries() == [
        WorkloadQuery(fingerprint(ORDERS), ORDERS, 20.0, 20.0),
        WorkloadQuery(fingerprint(USERS), USERS, 10.0, 10.0),
    ]
    assert found.queries("blog") == []


def test_who_writes_again_replaces_what_was_there(where: str) -> None:
    for calls in (1, 2, 3):
        write(workload(ORDERS, calls=calls), where, started=0, clock=lambda: 3600)
    assert read(where, clock=lambda: 3600).queries()[0].calls == 3


def test_services_are_kept_apart(where: str) -> None:
    write(workload(ORDERS), where, started=0, service="shop", clock=lambda: 3600)
    with pytest.raises(AdvisorError, match=r"no workload of service blog$"):
        read(where, service="blog", clock=lambda: 3600)


def test_who_has_not_written_for_a_day_counts_no_more(where: str) -> None:
    write(workload(ORDERS), where, started=0, instance="old", clock=lambda: 100)
    write(workload(USERS), where, started=0, instance="new", clock=lambda: 100.0 + KEPT)
    assert [query.sql for query in read(where, clock=lambda: 101.0 + KEPT).queries()] == [USERS]


def test_instances_are_bounded_the_newest_stay(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_INSTANCES", 3)
    for number in range(10):
        write(workload(ORDERS), where, started=0, instance=str(number), clock=lambda now=number: 1000.0 + now)
    monkeypatch.undo()
    assert read(where, clock=lambda: 2000).instances == 3


def test_a_large_workload_is_cut_to_its_most_expensive(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_BYTES", 1_000)
    counted = workload(*(f"SELECT a{os.urandom(50).hex()} FROM t" for _ in range(100)))
    counted.merge(workload(ORDERS, calls=99))
    write(counted, where, started=0, clock=lambda: 3600)
    queries = read(where, clock=lambda: 3600).queries()
    assert 0 < len(queries) < 20
    assert queries[0].sql == ORDERS


def test_another_versions_workload_is_passed_over_and_counted(tmp_path: Path) -> None:
    write(workload(ORDERS), tmp_path, started=0, clock=lambda: 3600)
    (tmp_path / "default" / "x.workload").write_bytes(zlib.compress(b'{"format": 99}'))
    (tmp_path / "default" / "y.workload").write_bytes(b"broken")
    found = read(tmp_path, clock=lambda: 3600)
    assert (found.instances, found.unreadable) == (1, 2)
    with pytest.raises(
        AdvisorError, match="no workload of service default; 2 of another version of dbvitals, or broken"
    ):
        read(tmp_path, clock=lambda: 3600.0 + 2 * KEPT)


@given(st.binary())
def test_any_bytes_are_read_or_passed_over(content: bytes) -> None:
    assert shared._unpacked(content) is None
    assert shared._unpacked(zlib.compress(content)) is None


def test_nothing_is_left_beside_the_files(tmp_path: Path) -> None:
    write(workload(ORDERS), tmp_path, started=0, instance="../a", clock=lambda: 3600)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [
        "default",
        "default/%2E%2E%2Fa.workload",
    ]


@pytest.mark.redis
def test_redis_forgets_by_itself(redis_url: str) -> None:
    write(workload(ORDERS), redis_url, started=0, service="forgetful", clock=lambda: 3600)
    with Redis.from_url(redis_url) as client:
        for key in client.scan_iter("dbvitals:workload:forgetful*"):
            assert 0 < client.ttl(key) <= KEPT
            client.delete(key)


@pytest.mark.parametrize(
    "where, reason",
    [
        ("redis://user:secret@127.0.0.1:1/0", r"^redis://127\.0\.0\.1:1/0: .*refused"),
        ("http://user:secret@host", r"^http://host: a folder, or redis://host:port/0 is expected$"),
        ("redis://127.0.0.1:port/0", r"^redis://127\.0\.0\.1:port/0: "),
        ("/proc/none", r"^/proc/none/default: cannot be written: "),
    ],
)
def test_trouble_is_one_line_without_a_password(where: str, reason: str) -> None:
    with pytest.raises(AdvisorError, match=reason) as error:
        write(workload(ORDERS), where, started=0)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
