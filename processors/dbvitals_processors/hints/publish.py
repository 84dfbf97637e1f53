"""The hints of the moment, as two gauges of the telemetry contract and by the queries that they serve."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from opentelemetry.metrics import Observation

from dbvitals_instrumentation import semconv
from dbvitals_processors.hints.lifecycle import Life

_VALUE = re.compile(r"'(?:[^']|'')*'|(?<![\w.\"])[+-]?\d+(?:\.\d+)?(?![\w\"])")
MOST_PUBLISHED = 100
"""Hints that have series: of more, the first."""
MOST_IDS = 10
"""Hints that are named on one span."""


class Board:
    """Where whoever advises puts the hints, and whoever exports looks for them. Every change is one assignment."""

    def __init__(self) -> None:
        self._lives: tuple[Life, ...] = ()
        self.ids: Mapping[str, tuple[str, ...]] = {}
        """Ids of open hints by the fingerprint of a query that they serve: for ``dbvitals.index_hint.ids``."""

    def publish(self, lives: Collection[Life]) -> None:
        """Show these, in place of what was there."""
        shown = tuple(life for life in lives if life.state != "withdrawn")[:MOST_PUBLISHED]
        found: dict[str, list[str]] = {}
        for life in shown:
            for effect in life.effects if life.state == "open" else ():
                ids = found.setdefault(effect.query, [])
                if life.id not in ids and len(ids) < MOST_IDS:
                    ids.append(life.id)
        self._lives, self.ids = shown, {query: tuple(ids) for query, ids in found.items()}

    def ids_of(self, fingerprint: str) -> tuple[str, ...]:
        """Open hints that serve a query."""
        return self.ids.get(fingerprint, ())

    def clear(self) -> None:
        """Show nothing: in a forked child, they are the parent's to tell of."""
        self._lives, self.ids = (), {}

    def saving(self) -> list[Observation]:
        """``dbvitals.index_hint.saving``, where something was predicted."""
        return [
            Observation(life.predicted.seconds, _described(life)) for life in self._lives if life.predicted is not None
        ]

    def first_seen(self) -> list[Observation]:
        """``dbvitals.index_hint.first_seen``."""
        return [Observation(life.first_seen, _named(life)) for life in self._lives]


def _named(life: Life) -> dict[str, Any]:
    return {
        semconv.INDEX_HINT_ID: life.id,
        semconv.DB_NAMESPACE: _namespace(life),
        semconv.DB_COLLECTION_NAME: life.candidate.table.name,
    }


def _without_values(ddl: str) -> str:
    """The predicate of a partial index may have a value that was only ever a parameter: it is not exported."""
    index, where, predicate = ddl.partition(" WHERE ")
    return index + where + _VALUE.sub("?", predicate)


def _namespace(life: Life) -> str:
    """As it is on the spans of queries: PostgreSQL's has the schema in it."""
    schema = life.candidate.table.schema
    return f"{life.namespace}|{schema}" if schema and schema != life.namespace else life.namespace


def _described(life: Life) -> dict[str, Any]:
    return {
        **_named(life),
        semconv.INDEX_HINT_COLUMNS: ", ".join(life.candidate.columns),
        semconv.INDEX_HINT_DDL: _without_values(life.ddl),
        semconv.INDEX_HINT_VERIFICATION: life.verification,
        semconv.INDEX_HINT_STATE: life.state,
    }
