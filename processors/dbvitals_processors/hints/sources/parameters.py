"""Sample parameters of an application's own calls, kept in the process and nowhere else.

A planner guesses badly without values: how many rows ``status = ?`` finds hangs on which status is asked for. Values
are kept only where the application has said so (``DBVITALS_SAMPLE_PARAMETERS``); the names of their Python types, which
tell nothing of anybody, always.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from dbvitals_processors.hints.model import Parameters, WorkloadQuery

SETS = 5
MOST_FINGERPRINTS = 1_000
MOST_PARAMETERS = 100
"""Of a set; a larger one (an import) is passed over."""
MOST_CHARACTERS = 256
MOST_ITEMS = 100
MOST_TEXT = 20_000
"""Characters of a statement."""

_LARGEST = 2**128  # no column holds a larger whole number; a Decimal may


class _NotPlain(ValueError):
    """A value of a type that is not kept."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """What is known of one statement's parameters.

    Attributes:
        text: the statement with its binds, as first seen; empty where values are not kept.
        calls: how often it was seen.
        types: names of Python types by name or position; ``NoneType`` until a value has come.
        sets: samples of values, each as likely to be kept as any other.
    """

    text: str
    calls: int
    types: Mapping[str | int, str]
    sets: tuple[Parameters, ...]


class ParameterSamples:
    """Samples by fingerprint, bounded in every direction; safe to use from many threads.

    Args:
        values: keep values, too.
        sets: how many for each fingerprint.
        fingerprints: how many there may be; when one more comes, the rarest tenth is forgotten.
        chance: numbers from 0 to 1, as :func:`random.random` gives them.
    """

    def __init__(
        self,
        *,
        values: bool = False,
        sets: int = SETS,
        fingerprints: int = MOST_FINGERPRINTS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._values = values
        self._sets = sets
        self._limit = fingerprints
        self._chance = chance
        self._kept: dict[str, _Reservoir] = {}
        self.lock = threading.Lock()
        """Held while samples change; whoever forks renews it in the child, by :meth:`clear`."""

    def add(self, fingerprint: str, parameters: Any, text: str = "") -> None:
        """Count a call with its parameters, a mapping or a sequence as the driver got them.

        Args:
            fingerprint: of the statement.
            parameters: a single call's, never a batch's.
            text: the statement with its binds, by which the samples' names and positions are understood.
        """
        with self.lock:
            kept = self._kept.get(fingerprint)
            if kept is None:
                if len(self._kept) >= self._limit:
                    self._forget()
                kept = self._kept[fingerprint] = _Reservoir(text[:MOST_TEXT] if self._values else "")
            kept.calls += 1
            if not parameters or len(parameters) > MOST_PARAMETERS:
                return
            if kept.learns:
                kept.learn(parameters)
            if not self._values or text[:MOST_TEXT] != kept.text:
                return
            # Algorithm R: the n-th call takes a place with the chance places/n.
            kept.seen += 1
            place = len(kept.sets) if len(kept.sets) < self._sets else int(self._chance() * kept.seen)
            if place < self._sets:
                kept.put(place, parameters)

    def get(self, fingerprint: str) -> Sampled | None:
        """What is known of a statement's parameters, ``None`` where nothing is."""
        with self.lock:
            kept = self._kept.get(fingerprint)
            return None if kept is None else Sampled(kept.text, kept.calls, dict(kept.types), tuple(kept.sets))

    def complete(self, queries: Iterable[WorkloadQuery]) -> list[WorkloadQuery]:
        """The queries, those with samples under their own text: a normalised one has lost its binds' names."""
        return [self._completed(query) for query in queries]

    def clear(self) -> None:
        """Forget everything; the lock is made anew, since a fork may have copied it while it was held."""
        self.lock = threading.Lock()
        self._kept = {}

    def _completed(self, query: WorkloadQuery) -> WorkloadQuery:
        known = self.get(query.id)
        if known is None or not known.sets or not known.text or query.parameters:
            return query
        return replace(query, sql=known.text, parameters=known.sets)

    def _forget(self) -> None:
        rarest = sorted(self._kept, key=lambda fingerprint: self._kept[fingerprint].calls)
        for fingerprint in rarest[: max(1, self._limit // 10)]:
            del self._kept[fingerprint]


class _Reservoir:
    __slots__ = ("calls", "learns", "seen", "sets", "text", "types")

    def __init__(self, text: str) -> None:
        self.text = text
        self.calls = self.seen = 0
        self.types: dict[str | int, str] = {}
        self.sets: list[Parameters] = []
        self.learns = True

    def learn(self, parameters: Any) -> None:
        """Note types; once every parameter had a value, there is nothing more to learn."""
        items = parameters.items() if hasattr(parameters, "items") else enumerate(parameters)
        for key, value in items:
            if value is not None or key not in self.types:
                self.types[key if isinstance(key, int) else str(key)[:MOST_CHARACTERS]] = type(value).__name__
        self.learns = "NoneType" in self.types.values()

    def put(self, place: int, parameters: Any) -> None:
        """Keep a set, unless a value of it is not plain."""
        try:
            kept = plain(parameters)
        except _NotPlain:
            return
        if place == len(self.sets):
            self.sets.append(kept)
        else:
            self.sets[place] = kept


def plain(parameters: Any) -> Parameters:
    """A copy of a parameter set in plain values, long ones cut.

    Raises:
        ValueError: a value is of another type; without it, or with another in its place, it would be another call.
    """
    if hasattr(parameters, "items"):
        return {str(key)[:MOST_CHARACTERS]: _plain(value) for key, value in parameters.items()}
    return [_plain(value) for value in parameters]


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_scalar(item) for item in value[:MOST_ITEMS]]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    kind = type(value)
    copy = _COPIES.get(kind)
    if copy is None:  # a subclass, such as an Enum of strings: the value in it, none of its own code
        copy = next((copy for base, copy in _COPIES.items() if issubclass(kind, base)), None)
        if copy is None:
            raise _NotPlain(kind.__name__)
    return copy(value)


def _whole(value: int) -> int:
    number = int.__int__(value)
    if not -_LARGEST < number < _LARGEST:
        raise _NotPlain("int")
    return number


def _decimal(value: Decimal) -> Decimal:
    if len(value.as_tuple().digits) > MOST_CHARACTERS:
        raise _NotPlain("Decimal")
    return value


def _same(value: Any) -> Any:
    return value


_COPIES: Mapping[type, Callable[[Any], Any]] = {
    bool: _same,  # before int, which it is one of
    int: _whole,
    float: float.__float__,
    str: lambda value: str.__str__(value)[:MOST_CHARACTERS],
    Decimal: _decimal,
    datetime: _same,
    date: _same,
    time: _same,
    timedelta: _same,
    UUID: _same,
    type(None): _same,
}
