"""What is known of one Redis beforehand, so that each command costs a look-up: its commands and their attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbvitals_instrumentation import redis_command, semconv
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.histogram import Series
from dbvitals_instrumentation.redis_command import MOST_ARGUMENTS, READS, Read

MOST_COMMANDS = 1000
"""Shapes of commands that each server remembers; later ones are worked out each time."""
MOST_OPERATIONS = 200
"""Operations that have series of their own; later ones share ``other``."""
MOST_SHOWN = 64
"""Commands of a pipeline that its text shows."""


class Command:
    """One shape of command: what its spans have in common."""

    __slots__ = ("attributes", "name", "procedure", "read", "series", "text")

    def __init__(self, name: str, text: str, attributes: dict[str, Any], series: Series) -> None:
        self.name = name
        self.text = text
        self.attributes = attributes
        self.series = series
        self.read: Read | None = READS.get(name.upper())
        self.procedure = name.upper() in redis_command.PROCEDURES


class Server:
    """The commands that go through one connection pool, or to one cluster."""

    def __init__(self, attributes: dict[str, Any], cache_name: str, config: Config) -> None:
        self.cache_name = cache_name
        self.of_cache = {semconv.CACHE_NAME: cache_name, semconv.CACHE_TIER: semconv.REDIS}
        self._attributes = attributes
        self._text_length = config.query_text_length if config.query_text else 0
        self._plain: dict[tuple[Any, int], Command] = {}
        self._worded: dict[str, Command] = {}
        self._series: dict[str, Series] = {}

    def command(self, args: Sequence[Any]) -> Command:
        """What is known of a command like this one."""
        known = self._plain.get((args[0], len(args)))
        return known if known is not None else self._learn(args)

    def batch(self, kind: str, commands: Sequence[Command]) -> tuple[str, dict[str, Any], Series]:
        """Name, attributes and series of a pipeline (``PIPELINE``) or transaction (``MULTI``).

        A pipeline of one command is that command, as the conventions have it.
        """
        if len(commands) == 1:
            one = commands[0]
            return one.name, one.attributes, one.series
        names = {command.name for command in commands}
        name = f"{kind} {names.pop()}" if len(names) == 1 else kind
        attributes = {
            **self._attributes,
            semconv.DB_OPERATION_NAME: name,
            semconv.DB_OPERATION_BATCH_SIZE: len(commands),
        }
        if self._text_length and commands:
            texts = [command.text for command in commands[:MOST_SHOWN]]
            if len(commands) > MOST_SHOWN:
                texts.append("...")
            text = texts[0] if len(set(texts)) == 1 else "\n".join(texts)
            attributes[semconv.DB_QUERY_TEXT] = text[: self._text_length]
        return name, attributes, self._series_of(name)

    def _learn(self, args: Sequence[Any]) -> Command:
        name = redis_command.name_of(args[0])
        if redis_command.has_words(name, len(args)):
            text = redis_command.text_of(name, args)
            return self._worded.get(text) or self._keep(self._worded, text, name, text)
        key = (args[0], len(args))
        text = redis_command.text_of(name, args)
        if len(args) > MOST_ARGUMENTS + 1:  # all the long ones look the same
            key = (args[0], MOST_ARGUMENTS + 2)
            known = self._plain.get(key)
            if known is not None:
                return known
        return self._keep(self._plain, key, name, text)

    def _keep(self, kept: dict[Any, Command], key: Any, name: str, text: str) -> Command:
        attributes = {**self._attributes, semconv.DB_OPERATION_NAME: name}
        if self._text_length:
            attributes[semconv.DB_QUERY_TEXT] = text[: self._text_length]
        command = Command(name, text, attributes, self._series_of(name))
        if len(kept) < MOST_COMMANDS:
            kept[key] = command
        return command

    def _series_of(self, name: str) -> Series:
        if name not in self._series and len(self._series) >= MOST_OPERATIONS:
            name = semconv.OTHER
        series = self._series.get(name)
        if series is None:
            attributes = {semconv.CACHE_NAME: self.cache_name, semconv.CACHE_OPERATION: name}
            series = self._series.setdefault(name, Series(attributes))
        return series


def pool_of(client: Any) -> Any:
    """What a client and its pipelines share: the connection pool, in a cluster its nodes; ``None`` for no client."""
    pool = getattr(client, "connection_pool", None)
    if pool is not None:
        return pool
    client = getattr(client, "cluster_client", None) or getattr(client, "_client", None) or client
    nodes = getattr(client, "nodes_manager", None)
    return client if nodes is not None and not hasattr(nodes, "__weakref__") else nodes  # as in redis.asyncio


def server_of(client: Any, pool: Any, config: Config) -> Server:
    """Make the :class:`Server` of a client.

    ``db.namespace`` is the database index that the connections are opened with. A cluster is known by the node that
    its client was given, and by its first node in order where that is not kept; behind Sentinel, by the service's name.
    """
    cluster = getattr(pool, "nodes_manager", pool)
    if hasattr(cluster, "startup_nodes"):
        given = getattr(client, "startup_nodes", None)
        nodes = given if isinstance(given, list) and given else None
        node = nodes[0] if nodes else min(cluster.startup_nodes.values(), key=lambda node: (str(node.host), node.port))
        return _server(node.host, node.port, 0, config)
    settings = getattr(pool, "connection_kwargs", {})
    database = settings.get("db") or 0
    path = settings.get("path")
    if path:
        return _server(path, None, database, config)
    service = getattr(pool, "service_name", None)
    if service:
        return _server(service, None, database, config)
    return _server(settings.get("host", "localhost"), settings.get("port", 6379), database, config)


def _server(address: object, port: object, database: object, config: Config) -> Server:
    attributes: dict[str, Any] = {
        semconv.DB_SYSTEM_NAME: semconv.REDIS,
        semconv.DB_NAMESPACE: str(database),
        semconv.SERVER_ADDRESS: str(address),
    }
    number = int(str(port)) if port else None
    if number is not None and number != semconv.DEFAULT_PORTS[semconv.REDIS]:
        attributes[semconv.SERVER_PORT] = number
    where = f"{address}:{number}" if number is not None else str(address)
    return Server(attributes, f"{where}/{database}", config)
