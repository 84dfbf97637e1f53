"""The wiring: which plugs are in, for which engines and clients."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dbvitals_instrumentation.cache import CacheCounter, Result
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.redis_server import pool_of
from dbvitals_instrumentation.scope import Scope
from dbvitals_instrumentation.telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_lock = threading.RLock()
_watch: Watch | None = None


class Watch:
    """Everything that is plugged into this process."""

    def __init__(self, telemetry: Telemetry, config: Config) -> None:
        self.telemetry = telemetry
        self.config = config
        self.engines = Scope()
        self.clients = Scope()
        self.plugs: list[Any] = []
        self.cache = CacheCounter(telemetry)

    def plug_in(self) -> None:
        """Install a plug for each library that is there."""
        for plug in self._plugs():
            plug.install()
            self.plugs.append(plug)

    def _plugs(self) -> list[Any]:
        plugs: list[Any] = []
        try:
            import sqlalchemy  # noqa: F401
        except ImportError:
            pass
        else:
            from dbvitals_instrumentation.pool import PoolWatch
            from dbvitals_instrumentation.queries import QueryWatch

            plugs.append(QueryWatch(self.telemetry, self.config, self.engines))
            if self.config.pool:
                plugs.append(PoolWatch(self.telemetry, self.config, self.engines))
        if self.config.redis:
            try:
                import redis.asyncio.cluster  # noqa: F401
            except ImportError:
                pass
            else:
                from dbvitals_instrumentation.redis_client import RedisWatch

                plugs.append(RedisWatch(self.telemetry, self.config, self.clients, self.cache))
        return plugs

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
    """Watch SQLAlchemy engines and Redis clients.

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
    with _lock:
        if _watch is None:
            _watch = Watch(Telemetry(tracer_provider, meter_provider), config)
            _watch.plug_in()
        everything = engine is None and redis is None
        if everything or dialect is not None:
            _watch.engines.add(dialect)
        if everything or pool is not None:
            _watch.clients.add(pool)
        for plug in _watch.plugs:
            plug.forget_unwatched()


def uninstrument() -> None:
    """Take back everything that :func:`instrument` did; does nothing where it was not called."""
    global _watch
    with _lock:
        if _watch is not None:
            _watch.unplug()
            _watch = None


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
