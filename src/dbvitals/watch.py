"""The wiring: which plugs are in, for which engines and clients.

A library's plugs go in when it is imported: importing one for a process that never needs it would cost that process
more than all the rest of us. Whatever imports is done without our lock: a thread that imports a library waits for that
lock in our hook, and holds the library's import lock meanwhile.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace

from dbvitals import identity
from dbvitals.verdicts import Verdicts
from dbvitals_instrumentation import guard
from dbvitals_instrumentation.cache import CacheCounter, Result
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.redis_server import pool_of
from dbvitals_instrumentation.scope import Scope
from dbvitals_instrumentation.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from dbvitals_processors.hints.sources.parameters import ParameterSamples

_log = logging.getLogger("dbvitals")
_lock = threading.RLock()
_watch: Watch | None = None
_awaited: set[str] = set()  # libraries that have a hook, which stays for the life of the process


class Watch:
    """Everything that is plugged into this process."""

    def __init__(
        self, telemetry: Telemetry, config: Config, verdicts: Verdicts | None, samples: ParameterSamples | None = None
    ) -> None:
        self.telemetry = telemetry
        self.verdicts = verdicts
        self.config = config
        self.engines = Scope()
        self.clients = Scope()
        self.plugs: list[Any] = []
        self.libraries: set[str] = set()  # whose plugs are in
        self.cache = CacheCounter(telemetry)
        self.samples = samples

    def plug_in(self, library: str, plugs: list[Any]) -> None:
        """Install the plugs of a library, once."""
        if library in self.libraries:
            return
        self.libraries.add(library)
        for plug in plugs:
            plug.install()
            self.plugs.append(plug)

    def unplug(self) -> None:
        """Take all plugs out, the last one first."""
        for plug in reversed(self.plugs):
            plug.uninstall()
        self.plugs.clear()
        self.telemetry.close()


def instrument(
    engine: Any = None,
    *,
    redis: Any = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    config: Config | None = None,
) -> None:
    """Watch SQLAlchemy engines and Redis clients, also where SQLAlchemy or redis-py is imported later.

    Call it again to watch more engines or clients; providers and configuration are those of the first call until
    :func:`uninstrument`.

    Args:
        engine: an ``Engine`` or ``AsyncEngine``; without one and without ``redis``, every engine and client of this
            process is watched, made before or after this call.
        redis: a redis-py client, sync or async, or a cluster client; others on the same connection pool, as its
            pipelines are, are watched with it.
        tracer_provider: where spans go; the global provider, whenever it is set, if not given.
        meter_provider: where metrics go; likewise.
        config: settings; :meth:`Config.from_environment` if not given.

    Raises:
        ConfigError: a ``DBVITALS_…`` variable cannot be read.
        TypeError: ``engine`` is no engine, or ``redis`` no client.
    """
    global _watch
    config = config or (_watch.config if _watch is not None else Config.from_environment())
    if not config.enabled:
        return
    dialect = _dialect_of(engine)
    pool = _pool_of(redis)
    verdicts = Verdicts(config, tracer_provider, meter_provider) if config.slow and _watch is None else None
    samples = _samples(config) if _watch is None else None
    with _lock:
        if _watch is None:
            telemetry = Telemetry(tracer_provider, meter_provider, met=identity.adopt)
            _watch = Watch(telemetry, config, verdicts, samples)
            verdicts = None
        everything = engine is None and redis is None
        if everything or dialect is not None:
            _watch.engines.add(dialect)
        if everything or pool is not None:
            _watch.clients.add(pool)
        for plug in _watch.plugs:
            plug.forget_unwatched()
    if verdicts is not None:  # another thread was first
        verdicts.close()
    # Those that are there, also if nothing is observed before this process forks.
    identity.adopt(tracer_provider or trace.get_tracer_provider(), meter_provider or metrics.get_meter_provider())
    for library in _PLUGS:
        _when_imported(library)


def uninstrument() -> None:
    """Take back everything that :func:`instrument` did; does nothing where it was not called."""
    global _watch
    with _lock:
        watch, _watch = _watch, None
        if watch is not None:
            watch.unplug()
    if watch is not None and watch.verdicts is not None:
        watch.verdicts.close()  # without our lock: the worker may be importing


def _samples(config: Config) -> ParameterSamples | None:
    """Where samples of parameters are kept, ``None`` where they are not to be: then no query pays for it."""
    if not config.sample_parameters:
        return None
    from dbvitals_processors.hints.sources.parameters import ParameterSamples

    return ParameterSamples(values=True)


def record_cache(name: str, result: Result, *, tier: str = "local", number: int = 1) -> None:
    """Count reads of a cache of your own (dogpile.cache, cachetools, a dictionary) as ``dbvitals.cache.requests``.

    Args:
        name: the cache; few and fixed, as each has series of its own.
        result: ``hit``, ``miss``, ``bypass`` or ``error``.
        tier: where it was looked up, for instance ``local`` or ``redis``.
        number: how many reads.
    """
    watch = _watch
    if watch is not None:
        watch.cache.count(name, result, tier, number)


def _sqlalchemy(watch: Watch) -> list[Any]:
    from dbvitals_instrumentation.pool import PoolWatch
    from dbvitals_instrumentation.queries import QueryWatch

    judge = watch.verdicts.judge() if watch.verdicts is not None else None
    sample = watch.samples.add if watch.samples is not None else None
    urls: set[Any] = set()
    met = (lambda engine: urls.add(engine.url)) if watch.config.advise else None
    queries = QueryWatch(watch.telemetry, watch.config, watch.engines, judge, sample, met)
    plugs: list[Any] = [queries]
    if watch.config.advise:
        from dbvitals.advisor import Advisor

        advisor = Advisor(watch.config, watch.telemetry, queries.counted, lambda: urls, watch.samples)
        plugs.append(advisor)
        if watch.verdicts is not None:
            watch.verdicts.detector.hints_of = advisor.board.ids_of
    if watch.config.pool:
        plugs.append(PoolWatch(watch.telemetry, watch.config, watch.engines))
    return plugs


def _redis(watch: Watch) -> list[Any]:
    if not watch.config.redis:
        return []
    from dbvitals_instrumentation.redis_client import RedisWatch

    return [RedisWatch(watch.telemetry, watch.config, watch.clients, watch.cache)]


_PLUGS: dict[str, Callable[[Watch], list[Any]]] = {"sqlalchemy": _sqlalchemy, "redis": _redis}
"""What makes the plugs of a library. Either package imports all that they touch (``redis``: its async and cluster
clients) before its own import ends."""


def _when_imported(library: str) -> None:
    """Plug in for a library: now if it is there, else when it is imported."""
    if sys.modules.get(library) is not None:
        _plug_in(library)
        return
    with _lock:
        if library in _awaited:
            return
        _awaited.add(library)
    from wrapt import register_post_import_hook  # it takes a while, too

    register_post_import_hook(_on_import, library)
    # Another thread may have begun to import it before there was our hook, and not have put it where we look: wait.
    wait = getattr(vars(importlib).get("_bootstrap"), "_lock_unlock_module", None)
    if wait is not None:
        wait(library)
    if sys.modules.get(library) is not None:
        _plug_in(library)


def _on_import(module: Any) -> None:
    """The hook, which cannot be taken back: does nothing while nothing is instrumented."""
    _plug_in(module.__name__)


def _plug_in(library: str) -> None:
    """Make and install the plugs of a library that is imported, or is being imported by another thread."""
    watch = _watch
    if watch is None or library in watch.libraries:
        return
    try:
        importlib.import_module(library)  # waits for that thread, before our own modules try and see half a library
        plugs = _PLUGS[library](watch)
        with _lock:
            if watch is _watch:
                watch.plug_in(library, plugs)
    except ImportError as error:  # another package of that name, or a version that is too old
        _log.warning("dbvitals: this %s cannot be watched: %s", library, error)
    except Exception as error:
        guard.fault("watch.plug_in", error)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread, which the child does not have, may have held it
    if _watch is not None and _watch.samples is not None:
        _watch.samples.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _dialect_of(engine: Any) -> Any:
    if engine is None:
        return None
    sync = getattr(engine, "sync_engine", engine)
    dialect = getattr(sync, "dialect", None)
    if dialect is None or not hasattr(sync, "raw_connection"):
        raise TypeError(f"instrument(engine=…) takes a SQLAlchemy Engine or AsyncEngine, not {type(engine).__name__}")
    return dialect


def _pool_of(redis: Any) -> Any:
    if redis is None:
        return None
    pool = pool_of(redis)
    if pool is None:
        raise TypeError(f"instrument(redis=…) takes a client of redis-py, not {type(redis).__name__}")
    return pool
