"""What a user of redis-py sees of their commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import cachetools
import fakeredis
import pytest
import redis
import redis.asyncio
import redis.asyncio.client
import redis.asyncio.cluster
import redis.client
import redis.cluster
from dogpile.cache import make_region
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import SpanKind, StatusCode
from redis.backoff import NoBackoff
from redis.retry import Retry

import dbvitals
from dbvitals import testing
from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.redis_client import RedisWatch
from dbvitals_instrumentation.redis_metrics import RedisMetrics

SECRET = "ada@example.com"
VALUE = "4111-1111"

METHODS = [
    (redis.client.Redis, "execute_command"),
    (redis.client.Pipeline, "execute"),
    (redis.client.Pipeline, "immediate_execute_command"),
    (redis.cluster.RedisCluster, "execute_command"),
    (redis.cluster.ClusterPipeline, "execute"),
    (redis.asyncio.client.Redis, "execute_command"),
    (redis.asyncio.client.Pipeline, "execute"),
    (redis.asyncio.client.Pipeline, "immediate_execute_command"),
    (redis.asyncio.cluster.RedisCluster, "execute_command"),
    (redis.asyncio.cluster.ClusterPipeline, "execute"),
]


async def close(client: Any) -> None:
    """Close an awaited client, which redis-py 5.0.0 calls ``close``, and ``aclose`` since 5.0.1."""
    await (client.aclose() if hasattr(client, "aclose") else client.close())


@pytest.fixture
def client(seen: testing.Seen) -> Iterator[redis.Redis]:
    with fakeredis.FakeRedis(host="cache", port=6379, db=2) as made:
        yield made


@pytest.fixture
def real(redis_url: str, seen: testing.Seen) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as made:
        made.flushall()
        seen.clear()
        yield made


@pytest.fixture
async def awaited(redis_url: str, seen: testing.Seen) -> AsyncIterator[redis.asyncio.Redis]:
    made = redis.asyncio.Redis.from_url(redis_url)
    await made.flushall()
    seen.clear()
    yield made
    await close(made)


@pytest.fixture
def official() -> Iterator[RedisInstrumentor]:
    instrumentor = RedisInstrumentor()
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def names(seen: testing.Seen) -> list[str]:
    return [span.name for span in seen.spans()]


def only(seen: testing.Seen) -> dict[str, Any]:
    (span,) = seen.spans()
    return dict(span.attributes or {})


def reads(seen: testing.Seen, name: str = "cache:6379/2") -> dict[str, int]:
    points = seen.points(semconv.CACHE_REQUESTS, dbvitals_cache_name=name)
    return {point.attributes[semconv.CACHE_RESULT]: point.value for point in points}


def test_a_command_is_a_client_span_by_the_conventions_of_redis(client: redis.Redis, seen: testing.Seen) -> None:
    client.set("user", VALUE)
    (span,) = seen.spans()
    assert span.name == "SET"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert dict(span.attributes or {}) == {
        semconv.DB_SYSTEM_NAME: "redis",
        semconv.DB_NAMESPACE: "2",
        semconv.DB_OPERATION_NAME: "SET",
        semconv.DB_QUERY_TEXT: "SET ? ?",
        semconv.SERVER_ADDRESS: "cache",
        semconv.EXEMPLAR: True,  # the first of its series
    }


def test_a_port_is_named_only_if_it_is_not_the_usual_one(seen: testing.Seen) -> None:
    fakeredis.FakeRedis(host="cache", port=6380).ping()
    assert only(seen)[semconv.SERVER_PORT] == 6380


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # redis-py 5 leaves the socket open
def test_a_unix_socket_is_named_by_its_path(seen: testing.Seen) -> None:
    client = redis.Redis(unix_socket_path="/nowhere/redis.sock", retry=Retry(NoBackoff(), 0))
    with pytest.raises(redis.ConnectionError):
        client.get("key")
    attributes = only(seen)
    assert attributes[semconv.SERVER_ADDRESS] == "/nowhere/redis.sock"
    assert semconv.SERVER_PORT not in attributes
    assert attributes[semconv.CACHE_NAME] == "/nowhere/redis.sock/0"


@pytest.mark.parametrize(
    "command, text",
    [
        (("SET", "k", "v", "EX", 5, "NX"), "SET ? ? EX ? NX"),
        (("SET", "NX", "EX"), "SET ? ?"),
        (("XADD", "k", b"MAXLEN", b"~", 5, "*", "field", "value"), "XADD ? MAXLEN ~ ? * ? ?"),
        (("CONFIG GET", "maxmemory"), "CONFIG GET ?"),
        (("GET secret",), "GET"),
        (("CLIENT SETNAME secret",), "CLIENT SETNAME"),
        ((f"{SECRET} x",), "UNKNOWN"),
        (("MGET", *range(40)), "MGET" + " ?" * 32 + " ..."),
    ],
)
def test_the_text_keeps_option_words_and_no_argument(
    monkeypatch: pytest.MonkeyPatch, command: tuple[Any, ...], text: str
) -> None:
    monkeypatch.setattr(redis.client.Redis, "execute_command", lambda *args, **options: None)
    with testing.observe() as seen:
        redis.Redis().execute_command(*command)
        assert only(seen)[semconv.DB_QUERY_TEXT] == text


def test_the_text_can_be_left_out() -> None:
    with testing.observe(config=Config(query_text=False)) as seen:
        fakeredis.FakeRedis().get("key")
        assert semconv.DB_QUERY_TEXT not in only(seen)


def test_spans_can_be_switched_off_and_durations_and_hits_stay() -> None:
    with testing.observe(config=Config(redis_spans=False)) as seen:
        fakeredis.FakeRedis(host="cache", db=2).get("key")
        assert seen.spans() == []
        assert reads(seen) == {"miss": 1}
        (point,) = seen.points(semconv.CACHE_OPERATION_DURATION)
        assert dict(point.attributes) == {semconv.CACHE_NAME: "cache:6379/2", semconv.CACHE_OPERATION: "GET"}


def test_redis_can_be_left_out_altogether() -> None:
    with testing.observe(config=Config(redis=False)) as seen:
        fakeredis.FakeRedis().get("key")
        assert seen.spans() == []


def test_a_duration_is_measured_for_each_operation(client: redis.Redis, seen: testing.Seen) -> None:
    client.set("key", VALUE)
    client.get("key")
    client.get("key")
    points = seen.points(semconv.CACHE_OPERATION_DURATION)
    assert {p.attributes[semconv.CACHE_OPERATION]: p.count for p in points} == {"SET": 1, "GET": 2}


# --- hits and misses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command, hit, result",
    [
        (("GET", "text"), True, {"hit": 1}),
        (("GET", "none"), False, {"miss": 1}),
        (("get", "text"), True, {"hit": 1}),
        (("GETEX", "text", "EX", 5), True, {"hit": 1}),
        (("GETEX", "none"), False, {"miss": 1}),
        (("GETDEL", "text"), True, {"hit": 1}),
        (("GETDEL", "none"), False, {"miss": 1}),
        (("MGET", "text", "none", "other"), False, {"hit": 2, "miss": 1}),
        (("MGET", "text", "other"), True, {"hit": 2}),
        (("HGET", "hash", "a"), True, {"hit": 1}),
        (("HGET", "hash", "none"), False, {"miss": 1}),
        (("HMGET", "hash", "a", "none"), False, {"hit": 1, "miss": 1}),
        (("HGETALL", "hash"), True, {"hit": 1}),
        (("HGETALL", "none"), False, {"miss": 1}),
        (("EXISTS", "text", "none"), False, {"hit": 1, "miss": 1}),
        (("EXISTS", "text"), True, {"hit": 1}),
        (("HEXISTS", "hash", "a"), True, {"hit": 1}),
        (("HEXISTS", "hash", "none"), False, {"miss": 1}),
    ],
)
def test_a_read_tells_whether_it_found(
    client: redis.Redis, seen: testing.Seen, command: tuple[str, ...], hit: bool, result: dict[str, int]
) -> None:
    client.mset({"text": VALUE, "other": ""})
    client.hset("hash", "a", VALUE)
    seen.clear()
    client.execute_command(*command)
    attributes = only(seen)
    assert attributes[semconv.CACHE_HIT] is hit
    assert attributes[semconv.CACHE_NAME] == "cache:6379/2"
    assert attributes[semconv.CACHE_TIER] == "redis"
    assert reads(seen) == result


@pytest.mark.parametrize("response, hit", [([["{}"], None], False), (["{}", "{}"], True)])
def test_a_read_of_documents_tells_it_too(monkeypatch: pytest.MonkeyPatch, response: list[Any], hit: bool) -> None:
    monkeypatch.setattr(redis.client.Redis, "execute_command", lambda *args, **options: response)
    with testing.observe() as seen:
        redis.Redis().execute_command("JSON.MGET", "a", "b", "$")
        assert only(seen)[semconv.CACHE_HIT] is hit


@pytest.mark.parametrize("command", [("SISMEMBER", "set", "x"), ("SMISMEMBER", "set", "x"), ("INCR", "number")])
def test_commands_that_cannot_miss_say_nothing_of_a_cache(
    client: redis.Redis, seen: testing.Seen, command: tuple[str, ...]
) -> None:
    client.execute_command(*command)
    assert semconv.CACHE_NAME not in only(seen)
    assert reads(seen) == {}


def test_reads_in_a_pipeline_are_counted_one_by_one(client: redis.Redis, seen: testing.Seen) -> None:
    client.set("text", VALUE)
    seen.clear()
    client.pipeline().get("text").mget("text", "none").set("new", VALUE).execute()
    assert only(seen)[semconv.CACHE_HIT] is False
    assert reads(seen) == {"hit": 2, "miss": 1}


def test_a_read_that_fails_is_an_error(real: redis.Redis, seen: testing.Seen) -> None:
    real.lpush("list", VALUE)
    with pytest.raises(redis.ResponseError):
        real.get("list")
    (name,) = {point.attributes[semconv.CACHE_NAME] for point in seen.points(semconv.CACHE_REQUESTS)}
    assert reads(seen, name) == {"error": 1}
    assert semconv.CACHE_HIT not in dict(seen.spans()[-1].attributes or {})


def test_what_other_caches_find_is_counted_beside(seen: testing.Seen) -> None:
    memory: cachetools.LRUCache[str, int] = cachetools.LRUCache(maxsize=2)

    def look_up(key: str) -> int:
        dbvitals.record_cache("answers", "hit" if key in memory else "miss")
        return memory.setdefault(key, 42)

    look_up("a"), look_up("a")
    assert reads(seen, "answers") == {"hit": 1, "miss": 1}

    region = make_region().configure("dogpile.cache.memory")

    def get(key: str) -> Any:
        value = region.get(key)
        dbvitals.record_cache("region", "hit" if value else "miss", tier="local")
        return value

    get("a"), region.set("a", 1), get("a")
    assert reads(seen, "region") == {"hit": 1, "miss": 1}


# --- pipelines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transaction, kind", [(True, "MULTI"), (False, "PIPELINE")])
class TestAPipeline:
    def test_of_one_command_many_times_is_named_by_it(
        self, real: redis.Redis, seen: testing.Seen, transaction: bool, kind: str
    ) -> None:
        real.pipeline(transaction=transaction).get("a").get("b").execute()
        attributes = only(seen)
        assert names(seen) == [f"{kind} GET"]
        assert attributes[semconv.DB_OPERATION_NAME] == f"{kind} GET"
        assert attributes[semconv.DB_OPERATION_BATCH_SIZE] == 2
        assert attributes[semconv.DB_QUERY_TEXT] == "GET ?"

    def test_of_several_commands_is_named_by_its_kind(
        self, real: redis.Redis, seen: testing.Seen, transaction: bool, kind: str
    ) -> None:
        real.pipeline(transaction=transaction).set("a", VALUE, ex=5).get("a").execute()
        assert names(seen) == [kind]
        assert only(seen)[semconv.DB_QUERY_TEXT] == "SET ? ? EX ?\nGET ?"

    def test_of_one_command_is_that_command(
        self, real: redis.Redis, seen: testing.Seen, transaction: bool, kind: str
    ) -> None:
        real.pipeline(transaction=transaction).get("a").execute()
        assert names(seen) == ["GET"]
        assert semconv.DB_OPERATION_BATCH_SIZE not in only(seen)

    def test_of_nothing_has_the_size_zero(
        self, real: redis.Redis, seen: testing.Seen, transaction: bool, kind: str
    ) -> None:
        assert real.pipeline(transaction=transaction).execute() == []
        assert names(seen) == [kind]
        assert only(seen)[semconv.DB_OPERATION_BATCH_SIZE] == 0

    async def test_that_is_awaited_is_seen_alike(
        self, awaited: redis.asyncio.Redis, seen: testing.Seen, transaction: bool, kind: str
    ) -> None:
        await awaited.pipeline(transaction=transaction).get("a").get("b").execute()
        assert names(seen) == [f"{kind} GET"]

    def test_that_fails_says_so_whether_or_not_it_raises(
        self, real: redis.Redis, seen: testing.Seen, transaction: bool, kind: str
    ) -> None:
        real.set("text", VALUE)
        seen.clear()
        pipeline = real.pipeline(transaction=transaction)
        with pytest.raises(redis.ResponseError):
            pipeline.get("text").lpush("text", VALUE).execute()
        answers = pipeline.get("text").lpush("text", VALUE).execute(raise_on_error=False)
        assert answers[0] == VALUE.encode()
        for span in seen.spans():
            assert dict(span.attributes or {})[semconv.ERROR_TYPE] == "WRONGTYPE"
            assert span.status.status_code is StatusCode.ERROR


def test_what_a_pipeline_does_at_once_has_spans_of_its_own(real: redis.Redis, seen: testing.Seen) -> None:
    with real.pipeline() as pipeline:
        pipeline.watch("a")
        pipeline.get("a")
        pipeline.multi()
        pipeline.set("a", 1).set("b", 2).execute()
    assert names(seen) == ["WATCH", "GET", "MULTI SET"]


async def test_what_an_awaited_pipeline_does_at_once_too(awaited: redis.asyncio.Redis, seen: testing.Seen) -> None:
    async with awaited.pipeline() as pipeline:
        await pipeline.watch("a")
        await pipeline.get("a")
        pipeline.multi()
        await pipeline.set("a", 1).set("b", 2).execute()
    assert names(seen) == ["WATCH", "GET", "MULTI SET"]


def test_a_lost_race_is_no_error_but_is_told(real: redis.Redis, seen: testing.Seen) -> None:
    with real.pipeline() as pipeline:
        pipeline.watch("a")
        real.set("a", 1)
        pipeline.multi()
        pipeline.set("a", 2).set("b", 2)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
    span = seen.spans("MULTI SET")[0]
    assert dict(span.attributes or {})[semconv.ERROR_TYPE] == "redis.exceptions.WatchError"
    assert span.status.status_code is StatusCode.UNSET


def test_a_script_names_its_digest_and_loading_it_is_part_of_a_pipeline(real: redis.Redis, seen: testing.Seen) -> None:
    script = real.register_script("return 1")
    pipeline = real.pipeline()
    script(client=pipeline)
    pipeline.get("a").execute()
    assert names(seen) == ["MULTI"]
    seen.clear()
    script()
    attributes = only(seen)
    assert attributes[semconv.DB_STORED_PROCEDURE_NAME] == script.sha
    assert attributes[semconv.DB_QUERY_TEXT] == "EVALSHA ? ?"


# --- clusters ---------------------------------------------------------------------------------------------------


def test_a_cluster_has_one_span_a_command_and_one_a_pipeline(redis_cluster_url: str, seen: testing.Seen) -> None:
    with redis.RedisCluster.from_url(redis_cluster_url) as cluster:
        seen.clear()
        cluster.set("a", VALUE)
        assert cluster.get("a") == VALUE.encode()
        assert cluster.pipeline().get("a").get("b").execute()[0] == VALUE.encode()
        cluster.keys()
        assert names(seen) == ["SET", "GET", "PIPELINE GET", "KEYS"]
        assert len({dict(span.attributes or {})[semconv.SERVER_PORT] for span in seen.spans()}) == 1
        assert all(span.parent is None for span in seen.spans())


@pytest.mark.skipif(int(redis.__version__.split(".")[0]) < 6, reason="cluster transactions came with redis-py 6")
def test_a_transaction_in_a_cluster_is_called_so(redis_cluster_url: str, seen: testing.Seen) -> None:
    with redis.RedisCluster.from_url(redis_cluster_url) as cluster:
        seen.clear()
        cluster.pipeline(transaction=True).set("{a}1", 1).set("{a}2", 2).execute()
        assert names(seen) == ["MULTI SET"]


async def test_an_awaited_cluster_is_seen_alike(redis_cluster_url: str, seen: testing.Seen) -> None:
    cluster = redis.asyncio.RedisCluster.from_url(redis_cluster_url)
    await cluster.set("a", VALUE)
    await cluster.pipeline().get("a").get("b").execute()
    await close(cluster)
    assert names(seen) == ["SET", "PIPELINE GET"]


def test_a_named_cluster_alone_is_watched(redis_cluster_url: str) -> None:
    with (
        redis.RedisCluster.from_url(redis_cluster_url) as named,
        redis.RedisCluster.from_url(redis_cluster_url) as other,
        testing.observe(redis=named) as seen,
    ):
        other.set("a", 1)
        named.pipeline().get("a").get("b").execute()
        assert names(seen) == ["PIPELINE GET"]


async def test_a_named_awaited_cluster_alone_is_watched(redis_cluster_url: str) -> None:
    named = redis.asyncio.RedisCluster.from_url(redis_cluster_url)
    other = redis.asyncio.RedisCluster.from_url(redis_cluster_url)
    with testing.observe(redis=named) as seen:
        await other.set("a", 1)
        await named.set("a", 1)
        await named.pipeline().get("a").get("b").execute()
        assert names(seen) == ["SET", "PIPELINE GET"]
    await close(named)
    await close(other)


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command, code",
    [
        (("LPUSH", "text", VALUE), "WRONGTYPE"),
        (("INCR", "text"), "ERR"),
        (("NOSUCHCOMMAND", SECRET), "ERR"),
        (("EVALSHA", "0" * 40, 0), "NOSCRIPT"),
        (("XGROUP CREATE", "stream", "group", "$"), "BUSYGROUP"),
        (("EVAL", f"return redis.error_reply('{SECRET.upper()} {VALUE}')", 0), None),
    ],
)
def test_an_error_is_named_by_its_prefix_and_nothing_else(
    real: redis.Redis, seen: testing.Seen, command: tuple[Any, ...], code: str | None
) -> None:
    real.set("text", "no number")
    real.xgroup_create("stream", "group", mkstream=True)
    seen.clear()
    with pytest.raises(redis.ResponseError):
        real.execute_command(*command)
    (span,) = seen.spans()
    attributes = only(seen)
    assert attributes.get(semconv.DB_RESPONSE_STATUS_CODE) == code
    assert attributes[semconv.ERROR_TYPE] == (code or "redis.exceptions.ResponseError")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == (f"{_class_of(code)} ({code})" if code else "ResponseError")
    assert list(span.events) == []


def _class_of(code: str | None) -> str:
    return "NoScriptError" if code == "NOSCRIPT" else "ResponseError"


def test_a_server_that_is_not_there_is_an_error_of_the_client(seen: testing.Seen) -> None:
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=1, retry=Retry(NoBackoff(), 0)).get("key")
    attributes = only(seen)
    assert attributes[semconv.ERROR_TYPE] == "redis.exceptions.ConnectionError"
    assert semconv.DB_RESPONSE_STATUS_CODE not in attributes


async def test_a_cancelled_command_is_recorded_and_stays_cancelled(
    awaited: redis.asyncio.Redis, seen: testing.Seen
) -> None:
    task = asyncio.create_task(awaited.blpop(["none"], timeout=30))
    while not await awaited.client_list(_type="normal") or "blpop" not in str(await awaited.client_list()):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (span,) = seen.spans("BLPOP")
    assert dict(span.attributes or {})[semconv.ERROR_TYPE] == "asyncio.exceptions.CancelledError"


async def test_commands_at_the_same_time_keep_their_parents_apart(
    awaited: redis.asyncio.Redis, seen: testing.Seen
) -> None:
    tracer = seen.tracer_provider.get_tracer("test")

    async def work(name: str) -> None:
        with tracer.start_as_current_span(name):
            await asyncio.gather(awaited.get(name), awaited.get(name))
            await awaited.get(name)

    await asyncio.gather(work("a"), work("b"))
    parents = {span.context.span_id: span.name for span in seen.spans() if span.name in "ab"}
    assert sorted(parents[s.parent.span_id] for s in seen.spans("GET") if s.parent) == ["a"] * 3 + ["b"] * 3


# --- privacy ----------------------------------------------------------------------------------------------------


def test_no_key_and_no_value_is_anywhere_in_the_telemetry(real: redis.Redis, seen: testing.Seen) -> None:
    real.set(SECRET, VALUE, ex=50)
    real.get(SECRET)
    real.hset(SECRET + "h", SECRET, VALUE)
    real.hgetall(SECRET + "h")
    real.mget(SECRET, SECRET)
    real.zadd(SECRET + "z", {VALUE: 1}, nx=True)
    real.eval("return KEYS[1]", 1, SECRET)
    real.execute_command(f"GET {SECRET}")
    real.pipeline().get(SECRET).set(SECRET, VALUE).execute()
    for failing in (
        lambda: real.lpush(SECRET, VALUE),
        lambda: real.pipeline().lpush(SECRET, VALUE).get(SECRET).execute(),
        lambda: real.eval(f"error('{SECRET}')", 0),
    ):
        with pytest.raises(redis.ResponseError):
            failing()
    exported = "".join(span.to_json() for span in seen.spans())
    exported += str(seen._reader.get_metrics_data())
    assert "GET" in exported
    assert SECRET not in exported
    assert VALUE not in exported


# --- which clients, and what is left behind ----------------------------------------------------------------------


def test_a_named_client_alone_is_watched_with_its_pipelines() -> None:
    named, other = fakeredis.FakeRedis(), fakeredis.FakeRedis()
    with testing.observe(redis=named) as seen:
        other.get("a")
        named.get("a")
        named.pipeline().get("a").get("b").execute()
        assert names(seen) == ["GET", "MULTI GET"]
        dbvitals.instrument(redis=other)
        other.get("a")
        assert names(seen) == ["GET", "MULTI GET", "GET"]


def test_an_engine_named_alone_leaves_redis_unwatched() -> None:
    from sqlalchemy import create_engine

    with testing.observe(create_engine("sqlite://")) as seen:
        fakeredis.FakeRedis().get("a")
        assert seen.spans() == []


def test_something_that_is_no_client_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a client of redis-py, not str"):
        dbvitals.instrument(redis="redis://localhost")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # old fakeredis leaves connections open
def test_clients_made_before_and_after_are_watched_and_awaited_ones_too() -> None:
    before = fakeredis.FakeAsyncRedis()
    with testing.observe() as seen:

        async def work() -> None:
            async with fakeredis.FakeAsyncRedis() as after:
                await before.get("a")
                await after.get("a")
                await close(before)

        asyncio.run(work())
        assert names(seen) == ["GET", "GET"]


def test_uninstrument_leaves_no_trace() -> None:
    before = [vars(owner)[name] for owner, name in METHODS]
    client = fakeredis.FakeRedis()
    with testing.observe() as seen:
        assert all(vars(owner)[name] is not old for (owner, name), old in zip(METHODS, before, strict=True))
        client.get("a")
    assert all(vars(owner)[name] is old for (owner, name), old in zip(METHODS, before, strict=True))
    client.get("a")
    assert names(seen) == ["GET"]


def test_a_wrapper_that_came_later_is_left_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    with testing.observe() as seen:
        ours = redis.client.Redis.execute_command

        def theirs(self: Any, *args: Any, **options: Any) -> Any:
            return ours(self, *args, **options)

        monkeypatch.setattr(redis.client.Redis, "execute_command", theirs)
    assert redis.client.Redis.execute_command is theirs
    assert fakeredis.FakeRedis().get("a") is None
    assert seen.spans() == []
    monkeypatch.undo()
    redis.client.Redis.execute_command = ours.__wrapped__  # type: ignore[method-assign, attr-defined]


def test_a_fault_of_ours_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("ours")

    for method in ("_adopt", "_record"):
        guard.reset()
        with testing.observe(), monkeypatch.context() as patch:
            patch.setattr(RedisWatch, method, broken)
            client = fakeredis.FakeRedis()
            client.set("a", VALUE)
            assert client.get("a") == VALUE.encode()
            assert client.pipeline().get("a").get("b").execute() == [VALUE.encode(), None]
            with pytest.raises(redis.ResponseError):
                client.lpush("a", 1)
        assert sum(guard.faults().values()) == 4
    guard.reset()


def test_a_response_of_an_unknown_kind_is_no_hit_and_no_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis.client.Redis, "execute_command", lambda *args, **options: object())
    guard.reset()
    with testing.observe() as seen:
        redis.Redis().execute_command("MGET", "a")
        assert semconv.CACHE_HIT not in only(seen)
    assert guard.faults() == {}


def test_nothing_is_done_where_instrumentation_is_suppressed(client: redis.Redis, seen: testing.Seen) -> None:
    with suppress_instrumentation():
        client.get("a")
        client.pipeline().get("a").get("b").execute()
    assert seen.spans() == []
    assert reads(seen) == {}


def test_nested_spans_are_children_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = testing.Seen()
    tracer = seen.tracer_provider.get_tracer("driver")

    def send(client: Any, *args: Any, **options: Any) -> None:
        with tracer.start_as_current_span("socket"):
            if args[0] == "GET":
                client.execute_command("CLUSTER SLOTS")

    monkeypatch.setattr(redis.client.Redis, "execute_command", send)
    dbvitals.instrument(tracer_provider=seen.tracer_provider, config=Config(suppress_nested=False))
    try:
        redis.Redis().execute_command("GET", "a")
    finally:
        dbvitals.uninstrument()
    assert sorted(names(seen)) == ["GET", "socket", "socket"]
    (outer,) = seen.spans("GET")
    assert outer.parent is None
    assert {span.context.trace_id for span in seen.spans()} == {outer.context.trace_id}
    assert dict(outer.attributes or {})[semconv.CACHE_HIT] is False


# --- beside OpenTelemetry's own instrumentation -----------------------------------------------------------------


THEIRS_FIRST = pytest.param(
    True,
    marks=pytest.mark.skipif(
        version("opentelemetry-instrumentation-redis").startswith("0.51b"),
        reason="opentelemetry-instrumentation-redis 0.51b0 makes spans where it is asked to be silent",
    ),
)


@pytest.mark.parametrize("theirs_first", [THEIRS_FIRST, False])
def test_the_official_instrumentation_and_ours_give_one_span(
    redis_url: str, official: RedisInstrumentor, theirs_first: bool
) -> None:
    seen = testing.Seen()
    if theirs_first:
        official.instrument(tracer_provider=seen.tracer_provider)
    dbvitals.instrument(tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider, config=Config())
    if not theirs_first:
        official.instrument(tracer_provider=seen.tracer_provider)

    async def work() -> None:
        client = redis.asyncio.Redis.from_url(redis_url)
        await client.get("none")
        await client.pipeline().get("none").get("none").execute()
        await close(client)

    try:
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
            seen.clear()
            client.get("none")
            client.pipeline().get("none").get("none").execute()
        asyncio.run(work())
        spans = seen.spans()
        assert len(spans) == 4
        for span in spans:
            attributes = dict(span.attributes or {})
            assert attributes[semconv.CACHE_HIT] is False
            assert attributes[semconv.DB_QUERY_TEXT] == "GET ?"
            scope = span.instrumentation_scope
            assert scope is not None
            assert (scope.name == semconv.SCOPE) is theirs_first
    finally:
        if theirs_first:
            dbvitals.uninstrument()
            official.uninstrument()
        else:
            official.uninstrument()
            dbvitals.uninstrument()
        seen.shutdown()


# --- redis-py's own metrics -------------------------------------------------------------------------------------

own_metrics = pytest.mark.skipif(find_spec("redis.observability") is None, reason="a redis-py without metrics")


@own_metrics
def test_metrics_of_redis_py_go_to_the_same_provider(seen: testing.Seen) -> None:
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=1, retry=Retry(NoBackoff(), 0)).get("key")
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=1, retry=Retry(NoBackoff(), 0)).get("key")
    assert seen.points("redis.client.errors")
    assert not seen.points(semconv.OPERATION_DURATION)


@own_metrics
def test_metrics_of_redis_py_are_switched_off_again() -> None:
    from redis.observability.providers import get_observability_instance

    with testing.observe():
        assert get_observability_instance().is_enabled()
    assert not get_observability_instance().is_enabled()
    with testing.observe(config=Config(redis_metrics=False)):
        assert not get_observability_instance().is_enabled()


@own_metrics
def test_a_pool_that_is_finalised_while_they_are_switched_on_asks_for_no_meter() -> None:
    from redis.observability import recorder
    from redis.observability.attributes import ConnectionState
    from redis.observability.metrics import RedisMetricsCollector

    asked: list[str] = []

    class Collecting(MeterProvider):
        """Where the garbage collector finds a pool just then; the SDK holds a lock, and would wait for it for ever."""

        def get_meter(self, name: str, *args: Any, **options: Any) -> Any:
            asked.append(name)
            if asked.count(name) == 1:
                recorder.record_connection_count("cache", ConnectionState.IDLE, -1)
            return super().get_meter(name, *args, **options)

    dbvitals.instrument(meter_provider=Collecting(shutdown_on_exit=False), config=Config())
    dbvitals.uninstrument()
    assert asked.count(RedisMetricsCollector.METER_NAME) == 1


@own_metrics
def test_metrics_of_redis_py_stay_the_application_s_if_it_has_them_on() -> None:
    from redis.observability.config import OTelConfig
    from redis.observability.providers import get_observability_instance

    instance = get_observability_instance()
    instance.init(OTelConfig())
    manager = instance.get_provider_manager()
    try:
        with testing.observe():
            assert instance.get_provider_manager() is manager
        assert instance.get_provider_manager() is manager
    finally:
        instance.shutdown()


@own_metrics
def test_metrics_of_redis_py_become_the_application_s_when_it_switches_them_on_later() -> None:
    from redis.observability import recorder
    from redis.observability.config import MetricGroup, OTelConfig
    from redis.observability.providers import get_observability_instance

    instance = get_observability_instance()
    with testing.observe():
        fakeredis.FakeRedis().get("a")
        instance.init(OTelConfig(metric_groups=[MetricGroup.COMMAND]))
        fakeredis.FakeRedis().get("a")
        assert (
            recorder._metrics_collector is None
            or recorder._metrics_collector.config.metric_groups == MetricGroup.COMMAND
        )
    assert instance.is_enabled()
    instance.shutdown()
    recorder.reset_collector()


def test_a_fault_in_switching_them_on_is_kept_from_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("ours")

    guard.reset()
    monkeypatch.setattr(RedisMetrics, "_switch_on", broken)
    with testing.observe():
        assert fakeredis.FakeRedis().get("a") is None
    assert guard.faults() == {"redis.metrics": 1}
    guard.reset()


def test_without_a_provider_nothing_is_switched_on_and_commands_go_through() -> None:
    dbvitals.instrument(config=Config())
    try:
        assert fakeredis.FakeRedis().get("a") is None
    finally:
        dbvitals.uninstrument()


def test_a_meter_provider_alone_is_enough() -> None:
    seen = testing.Seen()
    dbvitals.instrument(meter_provider=seen.meter_provider, config=Config())
    try:
        fakeredis.FakeRedis(host="cache", db=2).get("a")
        assert reads(seen) == {"miss": 1}
        assert isinstance(seen.meter_provider, MeterProvider)
    finally:
        dbvitals.uninstrument()
        seen.shutdown()
