"""The life of a hint: open, then applied once its index is there, or withdrawn; and what it has saved since.

An index counts as the hint's where it has the hint's name, or begins with its keys under the same predicate. From then
on the mean time of each query that it serves is compared with the mean time before: the saving that was measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dbvitals_processors.hints.built import index_of
from dbvitals_processors.hints.checks import checked_by
from dbvitals_processors.hints.impact import UNIT_OF_WRITES
from dbvitals_processors.hints.model import (
    Advice,
    Applied,
    Candidate,
    Catalogue,
    Hint,
    Index,
    Saving,
    Served,
    Table,
    Verification,
    WorkloadQuery,
)

State = Literal["open", "applied", "withdrawn"]

MOST_KEPT = 500
GRACE = 24 * 3600.0
"""Seconds for which a hint stays open that is not advised again: its queries may run by night only."""
FORGOTTEN_AFTER = 90 * 24 * 3600.0
"""Seconds after which a withdrawn hint is forgotten."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One query that a hint serves.

    Attributes:
        query: its id.
        calls: an hour, when it was last seen without the index.
        before: mean seconds of a call then, ``None`` where nobody measured.
        after: the same with the index, ``None`` until it was measured.
        share: of what the query saves, the part that is this hint's; the rest is that of others which serve it, too.
    """

    query: str
    calls: float
    before: float | None = None
    after: float | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Life:
    """One hint from its first sight on; times are Unix times in seconds.

    Attributes:
        namespace: the database.
        since: when its state began.
        seen: when it was last advised.
        predicted: what it was to save in an hour, when it was last open.
        upkeep: seconds that writes were to pay for it in an hour.
    """

    namespace: str
    candidate: Candidate
    ddl: str
    verification: Verification
    state: State
    first_seen: float
    since: float
    seen: float
    predicted: Saving | None = None
    upkeep: float = 0.0
    effects: tuple[Effect, ...] = ()

    @property
    def id(self) -> str:
        """The hint's."""
        return self.candidate.id

    @property
    def measured(self) -> float | None:
        """Seconds saved in an hour, at as many calls as were predicted for; ``None`` while nothing was measured.

        As in what was predicted, what writes pay is taken off.
        """
        return sum(self.known) - self.upkeep if self.state == "applied" and self.known else None

    @property
    def known(self) -> list[float]:
        """The part of each query that was measured before and after, in seconds an hour."""
        return [
            one.share * (one.before - one.after) * one.calls
            for one in self.effects
            if one.before is not None and one.after is not None
        ]


def advance(
    lives: Collection[Life],
    namespace: str,
    advice: Advice,
    catalogue: Catalogue,
    queries: Iterable[WorkloadQuery],
    now: float,
    *,
    recent: Iterable[WorkloadQuery] | None = None,
) -> tuple[Life, ...]:
    """The lives after one more look at a database: what is advised now, what has been built, what was measured.

    Args:
        lives: as they were; those of other databases stay as they are.
        queries: the workload that the advice is for, with its measured seconds.
        recent: the part of it since the last look, if it goes farther back.
    """
    known = {life.id: life for life in lives if life.namespace == namespace}
    before = _means(queries)
    shares = _shares(advice.hints)
    after = [_opened(hint, known.get(hint.id), namespace, shares[hint.id], before, now) for hint in advice.hints]
    open_now = {life.id for life in after}
    after += [_turned(life, catalogue, advice.hints, now) for life in known.values() if life.id not in open_now]
    fresh = {life.id for life in after if life.state == "applied" and known[life.id].state != "applied"}
    measured = _measured(_divided(after, fresh), before if recent is None else _means(recent))
    return tuple(_bounded([*(life for life in lives if life.namespace != namespace), *measured], now))


def applied(lives: Iterable[Life], namespace: str) -> tuple[Applied, ...]:
    """The indexes of a database that were advised and have been built, the last one first."""
    found = [life for life in lives if life.namespace == namespace and life.state == "applied"]
    return tuple(
        Applied(life.id, life.ddl, life.since, life.predicted, life.measured, len(life.known))
        for life in sorted(found, key=lambda life: (-life.since, life.id))
    )


def _means(queries: Iterable[WorkloadQuery]) -> dict[str, float]:
    """Seconds of a call, by query, as far as they were measured."""
    return {one.id: one.seconds / one.calls for one in queries if one.seconds and one.calls}


def _turned(life: Life, catalogue: Catalogue, advised: Iterable[Hint], now: float) -> Life:
    """One that is not advised now: since its index is there, since another does its work, or for another reason."""
    table = catalogue.tables.get(life.candidate.table)
    state: State = "withdrawn"
    if table is not None and index_of(life.candidate, table) is not None:
        state = "applied"
    elif life.state == "open" and table is not None and now - life.seen < GRACE and not _covered(life, table, advised):
        state = "open"
    return life if state == life.state else replace(life, state=state, since=now)


def _covered(life: Life, table: Table, advised: Iterable[Hint]) -> bool:
    """Whether an index that is advised would be this one's, too: with more keys, or with other columns included."""
    here = [hint.candidate for hint in advised if hint.candidate.table == table.name]
    indexes = tuple(Index(one.name, one.keys, where=one.where, method=one.method) for one in here)
    return index_of(life.candidate, replace(table, indexes=indexes)) is not None


def _opened(
    hint: Hint,
    known: Life | None,
    namespace: str,
    shares: Mapping[str, float],
    means: Mapping[str, float],
    now: float,
) -> Life:
    """A hint that is advised; one that comes again after it was applied begins a new life."""
    former = known if known is not None and known.state != "applied" else None
    measured = {one.query: one.before for one in former.effects} if former is not None else {}
    calls = {_measured_as(one): one.query.calls for one in hint.served}
    effects = tuple(
        Effect(name, calls[name], means.get(name, measured.get(name)), None, share) for name, share in shares.items()
    )
    return Life(
        namespace,
        hint.candidate,
        hint.ddl,
        hint.verification,
        "open",
        former.first_seen if former is not None else now,
        former.since if former is not None and former.state == "open" else now,
        now,
        hint.saving,
        hint.upkeep * UNIT_OF_WRITES,
        effects,
    )


def _measured_as(one: Served) -> str:
    """The id of the query whose time tells of it: searches that a DELETE makes take part of the DELETE's."""
    return checked_by(one.query.id) or one.query.id


def _shares(hints: Sequence[Hint]) -> dict[str, dict[str, float]]:
    """By hint and query: its part of what all hints together save of the query's time."""
    parts: dict[str, dict[str, float]] = {}
    totals: dict[str, float] = {}
    for hint in hints:
        own = parts[hint.id] = {}
        for one in hint.served:
            name, part = _measured_as(one), one.share * max(0.0, one.before - one.after)
            own[name] = own.get(name, 0.0) + part
            totals[name] = totals.get(name, 0.0) + part
    return {
        hint: {name: part / totals[name] if totals[name] else 1.0 for name, part in own.items()}
        for hint, own in parts.items()
    }


def _divided(lives: Iterable[Life], fresh: Collection[str]) -> list[Life]:
    """Of those applied just now, each query's saving divided among them alone: others are not there to take part."""
    lives = list(lives)
    totals: dict[str, float] = {}
    for life in lives:
        for one in life.effects if life.id in fresh else ():
            totals[one.query] = totals.get(one.query, 0.0) + one.share
    return [
        replace(life, effects=tuple(replace(one, share=one.share / (totals[one.query] or 1.0)) for one in life.effects))
        if life.id in fresh
        else life
        for life in lives
    ]


def _measured(lives: Sequence[Life], means: Mapping[str, float]) -> list[Life]:
    """With each query's mean time now, for the hints that were applied last: from then on, it is their doing."""
    last: dict[str, float] = {}
    for life in lives:
        for one in life.effects if life.state == "applied" else ():
            last[one.query] = max(last.get(one.query, 0.0), life.since)
    return [
        replace(
            life,
            effects=tuple(
                replace(one, after=means[one.query]) if one.query in means and last[one.query] == life.since else one
                for one in life.effects
            ),
        )
        if life.state == "applied"
        else life
        for life in lives
    ]


def _bounded(lives: Iterable[Life], now: float) -> list[Life]:
    kept = [life for life in lives if life.state != "withdrawn" or now - life.since < FORGOTTEN_AFTER]
    kept.sort(key=lambda life: (life.state == "withdrawn", -life.since, life.namespace, life.id))
    return kept[:MOST_KEPT]
