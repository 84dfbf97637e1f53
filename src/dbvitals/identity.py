"""A ``service.instance.id`` for each process: where two share one, their series overwrite each other in a collector.

A forked worker has its parent's resource, and all processes of a pod have what ``OTEL_RESOURCE_ATTRIBUTES`` gives them.
So an id that somebody gave gets the process's number in a child, and where nobody gave one, each process has its own.
"""

from __future__ import annotations

import os
import sys
import uuid
import weakref
from typing import Any

from dbvitals_instrumentation import guard, semconv

_SPAWNED = ("--multiprocessing-fork", "--billiard-fork")
"""What multiprocessing and celery's billiard have on the command line of a process that they spawn."""

_forked = False
_own: tuple[int, str] = (0, "")  # a process, and the id that was made for it
_names: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
"""The id that each provider has from us."""
_givens: dict[str, str | None] = {}
"""What each of these was made of: an id that was given, or ``None``. Resources may be shared between providers."""


def instance_id(given: str | None, own: str, is_child: bool, pid: int) -> str:
    """The id of a process.

    Args:
        given: by whoever runs the service; ``None`` if nobody did.
        own: what was made for this process alone.
        is_child: whether it is one of several with what was given: forked or spawned to work for another.
    """
    if given is None:
        return own
    return f"{given}/{pid}" if is_child else given


def adopt(*providers: Any) -> None:
    """Have providers of the SDK name this process, and each process that it forks; others are left alone.

    The SDK's global logger provider is taken along. Never raises; a provider that is known already is left alone.
    """
    for provider in (*providers, _logger_provider()):
        try:
            if _is_sdks(provider) and provider not in _names:
                _adopt(provider)
        except Exception as error:
            guard.fault("identity.adopt", error)


def _adopt(provider: Any) -> None:
    present = _present(provider)
    made = _made_by_sdk()
    given = None
    if present is not None and present != made:
        given = _givens.get(present, present)
    _name(provider, given, made or _made())
    if hasattr(os, "register_at_fork"):
        # Of its own, and now: so it comes after the provider's, which forgets what was given.
        reference = weakref.ref(provider)
        os.register_at_fork(after_in_child=lambda: _after_fork_of(reference()))


def _after_fork_of(provider: Any) -> None:
    if provider is None:
        return
    try:
        before, present = _names[provider], _present(provider)
        own = _made() if present is None or present == before else present  # else the SDK has made one
        _name(provider, _givens[before], own)
    except Exception as error:
        guard.fault("identity.fork", error)


def _name(provider: Any, given: str | None, own: str) -> None:
    name = instance_id(given, own, _is_child(), os.getpid())
    if _present(provider) != name:
        _put(provider, name)
    _names[provider], _givens[name] = name, given


def _put(provider: Any, name: str) -> None:
    """Into the provider's resource, and those of the tracers and loggers that have come from it."""
    from opentelemetry.sdk.resources import Resource

    resource = _resource(provider)
    change = Resource({semconv.SERVICE_INSTANCE_ID: name})
    update = getattr(provider, "_update_resource", None)
    if update is not None:
        update(change)
    elif resource is not Resource.get_empty():  # which is everybody's
        # An SDK that keeps no list of its tracers: all of them hold this very resource.
        resource._attributes = resource.merge(change)._attributes


def _resource(provider: Any) -> Any:
    config = getattr(provider, "_sdk_config", None)  # a meter provider's
    return provider._resource if config is None else config.resource


def _present(provider: Any) -> str | None:
    present = _resource(provider).attributes.get(semconv.SERVICE_INSTANCE_ID)
    return None if present is None else str(present)


def _is_sdks(provider: object) -> bool:
    return any(kind.__module__.startswith("opentelemetry.sdk.") for kind in type(provider).__mro__)


def _logger_provider() -> object:
    if "opentelemetry.sdk._logs" not in sys.modules:  # looking for one imports the API's half
        return None
    from opentelemetry._logs import get_logger_provider

    return get_logger_provider()


def _is_child() -> bool:
    processes = sys.modules.get("multiprocessing.process")
    return (
        _forked
        or any(argument in _SPAWNED for argument in sys.orig_argv)
        or (processes is not None and processes.parent_process() is not None)
    )


def _made_by_sdk() -> str | None:
    """What the SDK made for this process, if it does that."""
    try:
        from opentelemetry.sdk import resources
    except ImportError:
        return None
    detector: Any = getattr(resources, "ServiceInstanceIdResourceDetector", None)
    return None if detector is None else str(detector().detect().attributes[semconv.SERVICE_INSTANCE_ID])


def _made() -> str:
    """What we make for this process."""
    global _own
    if _own[0] != os.getpid():
        _own = os.getpid(), str(uuid.uuid4())
    return _own[1]


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
