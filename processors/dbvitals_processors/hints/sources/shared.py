"""Processes and replicas put their workloads where one of them, or the command line, reads all: a folder or Redis."""

from __future__ import annotations

import json
import os
import socket
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError

from dbvitals_processors.hints.model import AdvisorError, WorkloadQuery
from dbvitals_processors.hints.sources.quiet import quiet
from dbvitals_processors.hints.sources.recorded import from_totals
from dbvitals_processors.workload import Workload

FORMAT = 1
KEPT = 24 * 3600
"""Seconds that an instance's workload is kept after it was last written."""
MOST_INSTANCES = 256
MOST_BYTES = 1_000_000
"""Of one instance, packed; of a larger workload the cheaper half is left out until it fits."""
MOST_UNPACKED = 64_000_000
PATIENCE = 5.0
"""Seconds that Redis has for an answer."""

SERVICE = "default"


@dataclass(frozen=True, slots=True)
class Shared:
    """The workloads of several instances as one.

    Attributes:
        seconds: from the first instance's start to the last one's word.
        unreadable: instances whose workload is another version's, or broken.
    """

    workload: Workload
    seconds: float
    instances: int
    unreadable: int

    def queries(self, namespace: str | None = None) -> list[WorkloadQuery]:
        """As the advisor takes them."""
        return from_totals(self.workload.totals(), self.seconds, namespace)


class _Place(Protocol):
    def put(self, instance: str, packed: bytes, now: float) -> None:
        """Replace what an instance has put before."""

    def all(self) -> list[bytes]:
        """What all have put."""


def write(
    workload: Workload,
    where: str | Path,
    *,
    started: float,
    service: str = SERVICE,
    instance: str | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Put this instance's workload beside those of the others, in place of what it has put before.

    Args:
        workload: totals since ``started``.
        where: a folder, or the URL of a Redis.
        started: Unix time.
        service: whose instances belong together.
        instance: by default host and process.
        clock: Unix time in seconds.

    Raises:
        AdvisorError: it cannot be written; the message is one line.
    """
    now = clock()
    name = instance or f"{socket.gethostname()}-{os.getpid()}"
    _place(where, service).put(name, _packed(workload, started, now), now)


def read(where: str | Path, *, service: str = SERVICE, clock: Callable[[], float] = time.time) -> Shared:
    """What all instances have put there within the last day.

    Raises:
        AdvisorError: it cannot be read, or nothing is there; the message is one line.
    """
    oldest = clock() - KEPT
    found, unreadable = [], 0
    for packed in _place(where, service).all():
        one = _unpacked(packed)
        if one is None:
            unreadable += 1
        elif one.until >= oldest:
            found.append(one)
    if not found:
        reason = f"; {unreadable} of another version of dbvitals, or broken" if unreadable else ""
        raise AdvisorError(f"{_shown(where)}: no workload of service {service}{reason}")
    workload = Workload()
    for one in found:
        workload.merge(one.workload)
    seconds = max(one.until for one in found) - min(one.started for one in found)
    return Shared(workload, seconds, len(found), unreadable)


# --- what lies there -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    workload: Workload
    started: float
    until: float


def _packed(workload: Workload, started: float, until: float) -> bytes:
    queries = workload.to_json()  # the most expensive first
    while True:
        part = {"format": FORMAT, "started": started, "until": until, "queries": queries}
        packed = zlib.compress(json.dumps(part, separators=(",", ":")).encode(), 1)
        if len(packed) <= MOST_BYTES or not queries:
            return packed
        queries = queries[: len(queries) // 2]


def _unpacked(packed: bytes) -> _Part | None:
    try:
        unpacker = zlib.decompressobj()
        data: Any = json.loads(unpacker.decompress(packed, MOST_UNPACKED))
        if data["format"] != FORMAT:
            return None
        return _Part(Workload.from_json(data["queries"]), float(data["started"]), float(data["until"]))
    except (zlib.error, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError):
        return None


# --- where it lies ---------------------------------------------------------------------------------------------------


class _Folder:
    """A file for each instance in a folder for each service."""

    def __init__(self, path: Path, service: str) -> None:
        self._path = path / _file_name(service)

    def put(self, instance: str, packed: bytes, now: float) -> None:
        file = self._path / f"{_file_name(instance)}.workload"
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(packed)
            os.utime(temporary, (now, now))
            temporary.replace(file)
            self._forget(now)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise AdvisorError(f"{self._path}: cannot be written: {error.strerror}") from error

    def all(self) -> list[bytes]:
        found = []
        try:
            for _, file in self._files()[:MOST_INSTANCES]:
                with suppress(FileNotFoundError):  # another instance has just removed it
                    found.append(file.read_bytes())
        except OSError as error:
            raise AdvisorError(f"{self._path}: cannot be read: {error.strerror}") from error
        return found

    def _files(self) -> list[tuple[float, Path]]:
        """The newest first, with their times."""
        found = []
        for file in self._path.glob("*.workload"):
            with suppress(FileNotFoundError):
                found.append((file.stat().st_mtime, file))
        return sorted(found, reverse=True)

    def _forget(self, now: float) -> None:
        for number, (at, file) in enumerate(self._files()):
            if number >= MOST_INSTANCES or at < now - KEPT:
                file.unlink(missing_ok=True)


class _Redis:
    """A hash for each service, a field for each instance; a second one says when each was written."""

    def __init__(self, url: str, service: str) -> None:
        self._url = url
        self._key = f"dbvitals:workload:{service}"
        self._times = f"{self._key}:written"

    def put(self, instance: str, packed: bytes, now: float) -> None:
        def puts(client: Redis) -> None:
            times = {field: float(at) for field, at in client.hgetall(self._times).items()}
            times[instance.encode()] = now
            newest = sorted(times, key=lambda field: (times[field], field), reverse=True)
            stale = [*newest[MOST_INSTANCES:], *(field for field in newest if times[field] < now - KEPT)]
            with client.pipeline(transaction=True) as pipeline:
                pipeline.hset(self._key, instance, packed)
                pipeline.hset(self._times, instance, repr(now))
                if stale:
                    pipeline.hdel(self._key, *stale)
                    pipeline.hdel(self._times, *stale)
                pipeline.expire(self._key, KEPT)
                pipeline.expire(self._times, KEPT)
                pipeline.execute()

        self._do(puts)

    def all(self) -> list[bytes]:
        found: list[bytes] = self._do(lambda client: client.hvals(self._key))
        return found

    def _do(self, what: Callable[[Redis], Any]) -> Any:
        try:
            client = Redis.from_url(self._url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
            with quiet(), client:
                return what(client)
        except (RedisError, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise AdvisorError(f"{_shown(self._url)}: {reason}") from error


def _place(where: str | Path, service: str) -> _Place:
    if isinstance(where, str) and where.startswith(("redis://", "rediss://", "unix://")):
        return _Redis(where, service)
    if isinstance(where, str) and "://" in where:
        raise AdvisorError(f"{_shown(where)}: a folder, or redis://host:port/0 is expected")
    return _Folder(Path(where), service)


def _file_name(name: str) -> str:
    """The name as one of a file: no slash, no leading dot."""
    return quote(name, safe=" ").replace(".", "%2E")[:200]


def _shown(where: str | Path) -> str:
    """Without a password."""
    scheme, found, rest = str(where).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else scheme
