"""redis-py's own OpenTelemetry metrics (7.2 and later), switched on for the provider that dbvitals measures with.

Only the groups that cost a command nothing and are never recorded by a finaliser are on: errors, maintenance,
client-side caching. Connection counts and command durations would add 78 and 37 µs to a command of 93 µs. Closed
connections are counted by ``Connection.__del__``, which may run while its thread holds a lock of the SDK, and then for
ever; for the same reason redis-py's collector is made at once and not by the first finaliser. A service that wants
more calls ``redis.observability`` itself, and dbvitals then leaves everything to it.
"""

from __future__ import annotations

import importlib
from typing import Any

from dbvitals_instrumentation import guard

_GROUPS = ("RESILIENCY", "CSC")
_RECORDERS = {  # and where each keeps its collector
    "redis.observability.recorder": "_metrics_collector",
    "redis.asyncio.observability.recorder": "_async_metrics_collector",
}


class RedisMetrics:
    """The switch. redis-py asks the global provider only, so it is handed a manager that answers with ours."""

    def __init__(self) -> None:
        self._provider: object = None
        self._manager: Any = None
        self._instance: Any = None

    def follow(self, provider: object) -> None:
        """See that redis-py measures with ``provider``; one comparison where nothing has changed."""
        if provider is not self._provider:
            self._provider = provider
            try:
                self._switch_on(provider)
            except ImportError:  # a redis-py without metrics, or an OpenTelemetry without SDK
                pass
            except Exception as error:
                guard.fault("redis.metrics", error)
        elif self._manager is not None and self._instance._provider_manager is not self._manager:
            self._manager = None  # the application has switched them on its own way
            _forget_collectors()

    def switch_off(self) -> None:
        """Leave redis-py's metrics as they were found."""
        if self._manager is not None and self._instance._provider_manager is self._manager:
            self._instance._provider_manager = None
            _forget_collectors()
        self._manager = self._provider = None

    def _switch_on(self, provider: object) -> None:
        config: Any = importlib.import_module("redis.observability.config")
        providers: Any = importlib.import_module("redis.observability.providers")
        groups = [group for group in config.MetricGroup if group.name in _GROUPS]
        instance = providers.get_observability_instance()
        if instance._provider_manager is not None and instance._provider_manager is not self._manager:
            return  # the application's own

        class Manager(providers.OTelProviderManager):  # type: ignore[misc]
            """Answers with the provider of dbvitals, and never flushes it: that is the application's business."""

            def get_meter_provider(self) -> object:
                return provider

            def force_flush(self, timeout_millis: int = 30000) -> bool:
                return True

        manager = Manager(config.OTelConfig(metric_groups=groups))
        self._instance, self._manager = instance, None
        instance._provider_manager = None  # until the collectors are made: a finaliser would make one meanwhile
        _forget_collectors()
        _make_collectors(provider, manager.config)
        instance._provider_manager = self._manager = manager


def _forget_collectors() -> None:
    for name in _RECORDERS:
        try:
            importlib.import_module(name).reset_collector()
        except (ImportError, AttributeError):
            continue


def _make_collectors(provider: Any, config: object) -> None:
    collector: Any = importlib.import_module("redis.observability.metrics").RedisMetricsCollector
    made = collector(provider.get_meter(collector.METER_NAME, collector.METER_VERSION), config)
    for name, variable in _RECORDERS.items():
        setattr(importlib.import_module(name), variable, made)
