"""A library is watched from when the application imports it, and is never imported for being watched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from dbvitals import testing, watch
from dbvitals_instrumentation import guard
from dbvitals_instrumentation.config import Config

PRELUDE = """
    import sys
    from dbvitals_instrumentation import guard, semconv
    from dbvitals import testing

    def imported():
        return [name for name in ("sqlalchemy", "redis", "redis.asyncio", "redis.cluster") if name in sys.modules]

    def query(engine):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT 42").scalar() == 42

    def names(seen):
        found = [span.name for span in seen.spans()]
        seen.clear()
        return found
"""


def test_instrumenting_imports_no_library(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import dbvitals, dbvitals.auto
    dbvitals.auto.pre_instrument()
    dbvitals.instrument()
    dbvitals.auto.post_instrument()
    print(imported())
    dbvitals.uninstrument()
    print(imported(), guard.faults())
    """,
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
    assert output.splitlines() == ["[]", "[] {}"]


def test_the_official_instrumentation_is_taken_out_where_it_is_loaded(run_script: Callable[..., str]) -> None:
    output = run_script(
        """
    import warnings
    warnings.simplefilter("ignore")
    from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
    import dbvitals.auto

    official = SQLAlchemyInstrumentor()
    official._instrument = lambda **options: None
    official._is_instrumented_by_opentelemetry = True
    official._uninstrument = lambda **options: print("taken out")
    dbvitals.auto.post_instrument()
    """
    )
    assert output == "taken out\n"


@pytest.mark.parametrize("first", ["import sqlalchemy as sa", "from sqlalchemy import create_engine", "pass"])
@pytest.mark.parametrize(
    "then",
    [
        "import sqlalchemy; engine = sqlalchemy.create_engine('sqlite://')",
        "from sqlalchemy import create_engine; engine = create_engine('sqlite://')",
        "from sqlalchemy.engine import create_engine; engine = create_engine('sqlite://')",
        "import sqlalchemy.orm, sqlalchemy as sa; engine = sa.create_engine('sqlite://')",
    ],
)
def test_engines_are_watched_whenever_sqlalchemy_is_imported(
    run_script: Callable[..., str], first: str, then: str
) -> None:
    output = run_script(
        PRELUDE
        + f"""
    {first}
    with testing.observe() as seen:
        {then}
        query(engine)
        query(engine)
        print(names(seen), len(seen.spans(semconv.CHECKOUT_SPAN)), seen.points(semconv.CONNECTION_COUNT)[0].value)
    query(engine)
    print(names(seen), guard.faults())
    """
    )
    assert output.splitlines() == ["['SELECT', 'SELECT'] 0 1", "[] {}"]


def test_redis_clients_of_every_kind_are_watched_after_a_late_import(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import asyncio

    with testing.observe() as seen:
        import redis.asyncio.cluster
        import redis.cluster

        methods = [
            redis.Redis.execute_command,
            redis.client.Pipeline.execute,
            redis.cluster.RedisCluster.execute_command,
            redis.cluster.ClusterPipeline.execute,
            redis.asyncio.Redis.execute_command,
            redis.asyncio.client.Pipeline.execute,
            redis.asyncio.cluster.RedisCluster.execute_command,
            redis.asyncio.cluster.ClusterPipeline.execute,
        ]
        print({hasattr(method, "__wrapped__") for method in methods})
        import fakeredis

        client = fakeredis.FakeRedis()
        client.get("a")
        client.pipeline().get("a").get("b").execute()

        async def work():
            async with fakeredis.FakeAsyncRedis() as awaited:
                await awaited.get("a")

        asyncio.run(work())
        print(names(seen))
    print(hasattr(redis.Redis.execute_command, "__wrapped__"), guard.faults())
    """
    )
    assert output.splitlines() == ["{True}", "['GET', 'MULTI GET', 'GET']", "False {}"]


@pytest.mark.parametrize("library, plugs", [("sqlalchemy", "pool, queries"), ("redis", "redis_client")])
def test_a_package_imports_all_that_is_watched_of_it_by_itself(library: str, plugs: str) -> None:
    """What lets one hook for each library do."""
    source = f"""
import sys
import {library}
before = set(sys.modules)
from dbvitals_instrumentation import {plugs}
print([name for name in set(sys.modules) - before if name.startswith({library!r})])
"""
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_after_uninstrument_a_library_that_is_imported_is_left_alone(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    with testing.observe() as seen:
        pass
    import redis
    import sqlalchemy as sa
    from sqlalchemy.engine.default import DefaultDialect

    dispatch = DefaultDialect().dispatch
    print([name for name in dispatch._event_names if len(getattr(dispatch, name))])
    print(hasattr(sa.engine.Engine.raw_connection, "__wrapped__"), hasattr(redis.Redis.execute_command, "__wrapped__"))
    print({"dbvitals_instrumentation.pool", "dbvitals_instrumentation.queries"} & set(sys.modules))
    engine = sa.create_engine("sqlite://")
    query(engine)
    print(names(seen))
    with testing.observe() as seen:
        query(engine)
        print(names(seen))
    """
    )
    assert output.splitlines() == ["[]", "False False", "set()", "[]", "['SELECT']"]


def test_a_second_start_waits_for_the_library_as_the_first_did(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import dbvitals, wrapt.importer
    for _ in range(3):
        with testing.observe():
            dbvitals.instrument()
            print({name: len(hooks) for name, hooks in wrapt.importer._post_import_hooks.items()}, imported())
    with testing.observe() as seen:
        import sqlalchemy as sa
        query(sa.create_engine("sqlite://"))
        print(names(seen), guard.faults())
    """
    )
    assert output.splitlines() == [*["{'sqlalchemy': 1, 'redis': 1} []"] * 3, "['SELECT'] {}"]


def test_what_was_asked_for_before_the_import_holds_after_it(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import fakeredis
    client = fakeredis.FakeRedis()
    with testing.observe(redis=client) as seen:
        import sqlalchemy as sa
        query(sa.create_engine("sqlite://"))
        client.get("a")
        fakeredis.FakeRedis(port=6380).get("a")
        print(names(seen))
    """
    )
    assert output == "['GET']\n"


def test_threads_that_import_and_instrument_at_once_get_along(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import importlib, threading
    import dbvitals

    seen = testing.Seen()
    together = threading.Barrier(6)

    def start(library):
        together.wait()
        if library is None:
            dbvitals.instrument(tracer_provider=seen.tracer_provider, meter_provider=seen.meter_provider)
        else:
            importlib.import_module(library)

    threads = [
        threading.Thread(target=start, args=[library], daemon=True)
        for library in (None, "sqlalchemy", "redis", None, "sqlalchemy.orm", "redis.asyncio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    import fakeredis, sqlalchemy as sa
    query(sa.create_engine("sqlite://"))
    fakeredis.FakeRedis().get("a")
    print(names(seen), guard.faults())
    dbvitals.uninstrument()
    """
    )
    assert output == "['SELECT', 'GET'] {}\n"


def test_a_forked_child_imports_a_library_though_a_thread_was_at_work_in_us(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import os, signal, threading, warnings
    from dbvitals import watch

    warnings.simplefilter("ignore", DeprecationWarning)
    with testing.observe() as seen:
        held, done = threading.Event(), threading.Event()

        def hold():
            with watch._lock:
                held.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # ends a child that waits for ever
            import sqlalchemy as sa
            query(sa.create_engine("sqlite://"))
            print(names(seen), flush=True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        done.set()
        thread.join()
    print(status)
    """
    )
    assert output.splitlines() == ["['SELECT']", "0"]


def test_a_fault_in_a_hook_does_not_break_the_import(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import logging
    from dbvitals import watch

    logging.disable()

    def broken(*args):
        raise RuntimeError("ours")

    watch._PLUGS.update(sqlalchemy=broken, redis=broken)
    with testing.observe() as seen:
        import fakeredis, redis, sqlalchemy as sa
        query(sa.create_engine("sqlite://"))
        assert fakeredis.FakeRedis().get("a") is None
        print(names(seen), guard.faults())
    """
    )
    assert output == "[] {'watch.plug_in': 2}\n"


def test_a_fault_with_a_library_that_is_there_does_not_reach_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_watch: Any) -> Any:
        raise RuntimeError("ours")

    guard.reset()
    monkeypatch.setitem(watch._PLUGS, "sqlalchemy", broken)
    with testing.observe(config=Config()):
        pass
    assert guard.faults() == {"watch.plug_in": 1}
    guard.reset()


def test_another_package_of_that_name_is_only_named(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    import logging, pathlib

    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    pathlib.Path("redis.py").write_text("here = 42")
    with testing.observe():
        import redis
        print(redis.here)
    print(guard.faults())
    """
    )
    warning, *rest = output.splitlines()
    assert warning.startswith("dbvitals: this redis cannot be watched: ")
    assert rest == ["42", "{}"]


def test_a_library_that_is_to_be_left_out_is_not_touched(run_script: Callable[..., str]) -> None:
    output = run_script(
        PRELUDE
        + """
    from dbvitals import Config
    with testing.observe(config=Config(redis=False)):
        import redis
        print("dbvitals_instrumentation.redis_client" in sys.modules)
    """
    )
    assert output == "False\n"
