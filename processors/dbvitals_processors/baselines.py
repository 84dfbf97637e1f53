"""What queries usually take, kept across restarts: in a small file, or in Redis.

Several processes of a service may share one place: of each query, the baseline that was seen last stands. Whatever is
wrong with the place costs one line in the log and the memory of the last release, nothing else.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from math import isfinite, log
from pathlib import Path
from typing import Any, Protocol

from opentelemetry import context as context_api

from dbvitals_instrumentation.telemetry import SUPPRESS
from dbvitals_processors.changes import Baseline
from dbvitals_processors.regressions import MOST_QUERIES, Kept, Key
from dbvitals_processors.sketch import MOST_NANOSECONDS

VERSION = 1
REDIS_KEY = "dbvitals:baselines:{version}:{service}"
REDIS_SECONDS = 0.5
"""How long a Redis may take to connect or to answer."""
REDIS_EXPIRY = 30 * 24 * 3600
"""Seconds after the last change at which Redis forgets."""

_MOST_LEVEL = log(MOST_NANOSECONDS)
_SCHEMES = ("redis://", "rediss://", "unix://")
_log = logging.getLogger("dbvitals")


class Store(Protocol):
    """A place for baselines; both methods may raise whatever they like."""

    def load(self) -> dict[Key, Kept]:
        """What is kept; empty where nothing was kept yet."""

    def save(self, baselines: Mapping[Key, Kept]) -> None:
        """Keep these; others that are there stay, up to :data:`MOST_QUERIES`."""


class FileStore:
    """A JSON file, replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[Key, Kept]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        data = json.loads(text)
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']!r}")
        return dict(_read(item) for item in data["baselines"])

    def save(self, baselines: Mapping[Key, Kept]) -> None:
        try:
            known = self.load()
        except (ValueError, TypeError, KeyError, AttributeError):  # it was said when it was loaded
            known = {}
        kept = _newest(known, baselines)
        rows = ",\n".join(json.dumps(_written(key, one), ensure_ascii=False) for key, one in sorted(kept.items()))
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        temporary.write_text(f'{{"version": {VERSION}, "baselines": [\n{rows}\n]}}\n', encoding="utf-8")
        temporary.replace(self._path)


class RedisStore:
    """A hash in Redis, with a field for each query."""

    def __init__(self, url: str, service: str) -> None:
        self._url = url
        self._key = REDIS_KEY.format(version=VERSION, service=service)
        self._client: Any = None

    def load(self) -> dict[Key, Kept]:
        found = self._ask(lambda client: client.hgetall(self._key))
        return dict(_read(json.loads(value)) for value in found.values())

    def save(self, baselines: Mapping[Key, Kept]) -> None:
        fields = {"\0".join(key): json.dumps(_written(key, kept)) for key, kept in baselines.items()}
        if not fields:
            return

        def write(client: Any) -> None:
            pipeline = client.pipeline(transaction=False)
            if client.hlen(self._key) > 2 * MOST_QUERIES:  # of releases long gone
                pipeline.delete(self._key)
            pipeline.hset(self._key, mapping=fields)
            pipeline.expire(self._key, REDIS_EXPIRY)
            pipeline.execute()

        self._ask(write)

    def _ask(self, command: Callable[[Any], Any]) -> Any:
        """Speak to Redis unseen by instrumentations, ours among them."""
        token = context_api.attach(context_api.set_value(SUPPRESS, True))
        try:
            if self._client is None:
                from redis import Redis  # in our thread, and only where it is asked for

                self._client = Redis.from_url(
                    self._url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
                )
            return command(self._client)
        finally:
            context_api.detach(token)


def store_at(place: str, service: str) -> Store:
    """The store that ``DBVITALS_BASELINE_FILE`` names; ``service`` keeps services apart that share a Redis."""
    return RedisStore(place, service) if place.startswith(_SCHEMES) else FileStore(Path(place))


class Baselines:
    """A store whose faults stay here. A place that fails is tried again; its first failure is a line in the log."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._said: set[str] = set()

    def load(self) -> dict[Key, Kept]:
        """What is kept; empty where that cannot be read."""
        try:
            return self._store.load()
        except Exception as error:
            self._say("read: they begin anew", error)
            return {}

    def save(self, baselines: Mapping[Key, Kept]) -> bool:
        """Keep these; whether that was done."""
        try:
            self._store.save(baselines)
            return True
        except Exception as error:
            self._say("written: they end with this process", error)
            return False

    def _say(self, what: str, error: Exception) -> None:
        """The message is left out: it may hold the password of a Redis."""
        if what not in self._said:
            self._said.add(what)
            _log.warning(
                "dbvitals: the baselines at DBVITALS_BASELINE_FILE could not be %s. (%s)",
                what,
                type(error).__name__,
            )


def _newest(known: Mapping[Key, Kept], baselines: Mapping[Key, Kept]) -> dict[Key, Kept]:
    """Of each query the baseline that was seen last, and of all queries the last ones."""
    joined = dict(known)
    for key, kept in baselines.items():
        if key not in joined or joined[key][0].at <= kept[0].at:
            joined[key] = kept
    last = sorted(joined, key=lambda key: joined[key][0].at, reverse=True)[:MOST_QUERIES]
    return {key: joined[key] for key in last}


def _written(key: Key, kept: Kept) -> list[Any]:
    baseline, since = kept
    return [*key, round(baseline.level, 4), round(baseline.spread, 4), round(baseline.at, 3), since]


def _read(item: Any) -> tuple[Key, Kept]:
    namespace, operation, fingerprint, level, spread, at, since = item
    numbers = [float(level), float(spread), float(at), 0.0 if since is None else float(since)]
    if not all(map(isfinite, numbers)) or not 0 <= numbers[0] <= _MOST_LEVEL or not 0 < numbers[1] <= _MOST_LEVEL:
        raise ValueError("a baseline that is none")
    baseline = Baseline(*numbers[:3])
    return (str(namespace), str(operation), str(fingerprint)), (baseline, None if since is None else numbers[3])
