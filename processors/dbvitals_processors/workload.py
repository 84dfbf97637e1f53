"""What a service asks of its databases, as bounded totals for each query.

A query is a fingerprint within a namespace. Totals are whole numbers (nanoseconds, rows, calls), so that merging those
of several processes is exact, in any order.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from dbvitals_instrumentation import guard, semconv
from dbvitals_processors.query_span import Caller, QuerySpan, normalised, read
from dbvitals_processors.sketch import Sketch

MOST_QUERIES = 1000
MOST_CALLERS = 16
"""Callers that a query remembers; a rarer one gives way."""
MOST_ERROR_TYPES = 32

Key = tuple[str, str]
_OTHER: Key = ("", semconv.OTHER)


@dataclass(frozen=True, slots=True)
class QueryTotals:
    """The totals of one query.

    Attributes:
        namespace, fingerprint: which query; ``("", "other")`` for all those that have no totals of their own.
        text: normalised, without literals, at most :data:`semconv.MAX_INFO_TEXT` characters.
        calls: executions, a batch being one.
        nanoseconds: their time, all in all.
        rows: rows returned, where they were counted.
        errors: failed calls by ``error.type``.
        callers: calls by where they come from. Callers are sampled: one that was seen stands for the calls since the
            last one that was seen.
        durations: of the calls, in nanoseconds.
    """

    namespace: str
    fingerprint: str
    system: str
    summary: str
    text: str
    calls: int
    nanoseconds: int
    rows: int
    errors: Mapping[str, int]
    callers: Mapping[Caller, int]
    durations: Sketch

    @property
    def caller(self) -> Caller | None:
        """The caller with most calls."""
        return max(sorted(self.callers), key=self.callers.__getitem__) if self.callers else None

    def to_json(self) -> dict[str, Any]:
        """The totals as JSON's types."""
        return {
            "namespace": self.namespace,
            "fingerprint": self.fingerprint,
            "system": self.system,
            "summary": self.summary,
            "text": self.text,
            "calls": self.calls,
            "nanoseconds": self.nanoseconds,
            "rows": self.rows,
            "errors": dict(sorted(self.errors.items())),
            "callers": [[*caller, calls] for caller, calls in sorted(self.callers.items())],
            "durations": self.durations.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> QueryTotals:
        """What :meth:`to_json` wrote."""
        callers = {Caller(function, file, line): calls for function, file, line, calls in data["callers"]}
        return cls(**{**data, "callers": callers, "durations": Sketch.from_json(data["durations"])})


class _Entry:
    """Totals that grow."""

    __slots__ = (
        "attributed", "callers", "calls", "durations", "errors", "nanoseconds", "rows", "summary", "system", "text",
    )  # fmt: skip

    def __init__(self, system: str, summary: str, text: str) -> None:
        self.system, self.summary, self.text = system, summary, text
        self.calls = self.nanoseconds = self.rows = self.attributed = 0
        self.errors: dict[str, int] = {}
        self.callers: dict[Caller, int] = {}
        self.durations = Sketch()

    def came_from(self, caller: Caller, calls: int) -> None:
        self.attributed += calls
        self.callers[caller] = self.callers.get(caller, 0) + calls
        if len(self.callers) > MOST_CALLERS:
            others = (known for known in self.callers if known != caller)
            del self.callers[min(others, key=self.callers.__getitem__)]

    def failed(self, error_type: str, calls: int) -> None:
        known = error_type in self.errors or len(self.errors) < MOST_ERROR_TYPES
        error_type = error_type if known else semconv.OTHER
        self.errors[error_type] = self.errors.get(error_type, 0) + calls

    def add(self, totals: QueryTotals, *, with_callers: bool = True) -> None:
        self.calls += totals.calls
        self.nanoseconds += totals.nanoseconds
        self.rows += totals.rows
        self.durations.merge(totals.durations)
        for error_type, calls in totals.errors.items():
            self.failed(error_type, calls)
        for caller, calls in totals.callers.items() if with_callers else ():
            self.came_from(caller, calls)

    def totals(self, key: Key) -> QueryTotals:
        return QueryTotals(
            *key, self.system, self.summary, self.text, self.calls, self.nanoseconds, self.rows,
            dict(self.errors), dict(self.callers), self.durations.copy(),
        )  # fmt: skip


class Workload:
    """Totals of at most ``limit`` queries; safe to use from many threads.

    When one more comes, the cheapest tenth is folded into the entry ``other``: all totals stay right, and looking for
    the cheapest stays rare.
    """

    def __init__(self, limit: int = MOST_QUERIES) -> None:
        self._limit = limit
        self._entries: dict[Key, _Entry] = {}
        self.lock = threading.Lock()
        """Held while totals change; whoever forks holds it, too."""

    def add(self, query: QuerySpan) -> None:
        """Count one query."""
        key = (query.namespace, query.fingerprint)
        took = query.end - query.start
        with self.lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._open(key, query.system, query.summary, normalised(query.text, query.system))
            entry.calls += 1
            entry.durations.add(took)
            if took > 0:
                entry.nanoseconds += took
            if query.rows:
                entry.rows += query.rows
            if query.error_type is not None:
                entry.failed(query.error_type, 1)
            if query.caller is not None:
                entry.came_from(query.caller, entry.calls - entry.attributed)

    def take(self, totals: QueryTotals) -> None:
        """Count what has been counted elsewhere."""
        key = (totals.namespace, totals.fingerprint)
        with self.lock:
            entry = self._entries.get(key) or self._open(key, totals.system, totals.summary, totals.text)
            entry.add(totals)

    def merge(self, other: Workload) -> None:
        """Count what another workload has counted."""
        for totals in other.totals():
            self.take(totals)

    def totals(self) -> list[QueryTotals]:
        """Each query's totals now, the most expensive first."""
        found = []
        for key in list(self._entries):
            with self.lock:  # for each, so that nobody waits long
                entry = self._entries.get(key)
                if entry is not None:
                    found.append(entry.totals(key))
        return sorted(found, key=lambda totals: (-totals.nanoseconds, totals.namespace, totals.fingerprint))

    def clear(self) -> None:
        """Forget everything; the lock is made anew, since a fork may have copied it while it was held."""
        self.lock = threading.Lock()
        self._entries = {}

    def to_json(self) -> list[dict[str, Any]]:
        """Everything, as JSON's types."""
        return [totals.to_json() for totals in self.totals()]

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]], limit: int = MOST_QUERIES) -> Workload:
        """What :meth:`to_json` wrote."""
        workload = cls(limit)
        for one in data:
            workload.take(QueryTotals.from_json(one))
        return workload

    def _open(self, key: Key, system: str, summary: str, text: str) -> _Entry:
        if len(self._entries) >= self._limit and key != _OTHER:
            self._fold()
        entry = self._entries[key] = _Entry(system, summary, text[: semconv.MAX_INFO_TEXT])
        return entry

    def _fold(self) -> None:
        """Fold the cheapest tenth into ``other``, one at least."""
        other = self._entries.pop(_OTHER, None) or _Entry("", semconv.OTHER, "")
        cheapest = sorted(self._entries, key=lambda key: self._entries[key].nanoseconds)
        room = len(cheapest) + 2 - self._limit  # for `other` and the one that comes
        for key in cheapest[: max(room, self._limit // 10)]:
            other.add(self._entries.pop(key).totals(key), with_callers=False)
        self._entries[_OTHER] = other


class WorkloadProcessor(SpanProcessor):
    """Counts each query span that ends.

    It has no ``on_start``: where all span processors look at the end only, spans are written in one go.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    def on_end(self, span: ReadableSpan) -> None:
        """Count the span if it is a query."""
        try:
            query = read(span)
            if query is not None:
                self._workload.add(query)
        except Exception as error:
            guard.fault("workload.on_end", error)
