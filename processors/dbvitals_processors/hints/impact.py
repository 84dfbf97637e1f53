"""From planner's units to time: what a workload's own measurements say of them, and how sure that is.

A call takes ``overhead + scale * cost ** exponent`` seconds, give or take. The overhead (the way to the server and
back, and planning, which is in no cost) is what cheap queries take. The rest is fitted to the measured queries in
logarithms by medians, as Theil and Sen did, since some points always lie far off: a LIMIT that the planner thinks will
end a scan soon, rows so long that sending them takes longest, pages that were not in memory. Where few were measured,
what ``bench/advice/calibration.py`` found stands in, with a wide interval.

The standard library does for that. numpy or scipy would be 20 to 60 MB in every service, for two medians an hour; and
``statistics.linear_regression`` is least squares, which a few such points bend.

A query that was measured is anchored: what a call takes now is known, and only what it will take is guessed, from its
cost with the indexes and from how far it is from the curve today. A quarter of that distance stays: sending rows is as
slow as before, but what was wrong with the old plan's cost says nothing of the new one's.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import exp, hypot, log, sqrt
from statistics import median
from typing import TypeVar

from dbvitals_processors.hints.checks import checked_by
from dbvitals_processors.hints.model import Saving, Served, WorkloadQuery

UNIT = 4e-6
"""Seconds for a unit of PostgreSQL's, where nothing was measured: version 15, all pages in memory."""
UNIT_OF_WRITES = 2.7e-6
"""Seconds for a unit of upkeep, which was measured as time and is only written in units."""
OVERHEAD = 200e-6
"""Seconds that each call takes beside, where nothing was measured."""
SPREAD = 0.9
"""Standard deviation of the logarithm of a call's time about the curve, where nothing was measured."""
LEAST_SPREAD = 0.7
"""No workload is so regular that the next query would be nearer."""
AFTER = 0.8
"""The same of the time with an index, of which only a cost is known, that of an index which does not exist."""
KEPT = 0.25
"""How much of a query's distance from the curve stays when an index changes its plan."""
DRIFT = 0.35
"""Standard deviation of the logarithm of a query's mean time from one hour to another, on a machine that is shared."""
WITHIN = 1.645
"""Standard deviations to either side within which nine of ten lie."""
FEW = 8
"""Measured queries from which on the exponent is learnt; fewer only say how fast the server is."""
CHEAP = 25.0
"""Units below which the overhead is most of what a call takes."""
EXPONENTS = (0.8, 1.2)
MOST_POINTS = 300

_K = TypeVar("_K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Point:
    """A query's cost as planned, and its mean time as measured, in seconds."""

    cost: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Time as a function of cost.

    Attributes:
        spread: standard deviation of the logarithm of a call's time about the curve.
        measured: queries that it was learnt from.
    """

    overhead: float = OVERHEAD
    scale: float = UNIT
    exponent: float = 1.0
    spread: float = SPREAD
    measured: int = 0

    def seconds(self, cost: float) -> float:
        """One call that costs so many units."""
        return self.overhead + self.scale * float(max(cost, 0.0) ** self.exponent)


def calibrate(points: Sequence[Point]) -> Curve:
    """Learn from what was measured; what it is too little for stays as it is without any."""
    points = [point for point in points if point.cost > 0 and point.seconds > 0]
    cheap = [point.seconds for point in points if point.cost < CHEAP]
    overhead = median(cheap) if len(cheap) >= 3 else min([OVERHEAD, *(point.seconds for point in points)])
    # What is not clearly above the overhead says nothing of the cost.
    dear = [
        Point(one.cost, one.seconds - overhead) for one in points if one.cost >= CHEAP and one.seconds > 1.5 * overhead
    ]
    if not dear:
        return Curve(overhead, measured=len(points))
    exponent = _exponent(dear) if len(dear) >= FEW else 1.0
    offsets = [log(one.seconds) - exponent * log(one.cost) for one in dear]
    middle = median(offsets)
    around = 1.4826 * median(abs(offset - middle) for offset in offsets)
    spread = sqrt((FEW * SPREAD**2 + len(dear) * around**2) / (FEW + len(dear)))
    return Curve(overhead, exp(middle), exponent, max(LEAST_SPREAD, spread), len(points))


def _exponent(points: Sequence[Point]) -> float:
    """The median of the slopes between any two points that are far enough apart to have one."""
    few = points if len(points) <= MOST_POINTS else points[:: -(-len(points) // MOST_POINTS)]
    logs = [(log(one.cost), log(one.seconds)) for one in few]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(logs, 2) if abs(b[0] - a[0]) > 0.5]
    if len(slopes) < FEW:
        return 1.0
    least, most = EXPONENTS
    return min(most, max(least, median(slopes)))


@dataclass(frozen=True, slots=True)
class Model:
    """What hints save.

    Attributes:
        curve: ``None`` where nothing is known of a unit: no query was measured, and it is none of PostgreSQL's.
        anchors: mean seconds of a call, by query, as far as they were measured.
    """

    curve: Curve | None = field(default_factory=Curve)
    anchors: Mapping[str, float] = field(default_factory=dict)

    def priced(
        self, served: Mapping[_K, Sequence[Served]], upkeep: Mapping[_K, float]
    ) -> dict[_K, tuple[tuple[Served, ...], Saving | None]]:
        """Of each hint, the queries with their times, and what it saves in an hour.

        What a query saves is divided among the hints that serve it, in the proportion of what it would cost more
        without each. So the savings of all hints add up to what they save together. What writes pay, ``upkeep`` in
        units, is taken off.
        """
        parts = _parts(served)
        found = {}
        for hint, queries in served.items():
            timed = tuple(self._timed(one, parts[hint, one.query.id]) for one in queries)
            savings = [(one.saving, one.share) for one in timed if one.saving is not None]
            found[hint] = timed, total(savings, upkeep.get(hint, 0.0) * UNIT_OF_WRITES) if savings else None
        return found

    def _timed(self, one: Served, share: float) -> Served:
        if self.curve is None:
            return replace(one, share=share)
        guess = self.curve.seconds(one.before)
        anchor = self.anchors.get(one.query.id)
        before, spread = (guess, self.curve.spread) if anchor is None else (anchor, DRIFT)
        after = min(before, self.curve.seconds(one.after) * (before / guess) ** KEPT)
        saved = before - after
        # How far either may be off. Slower than before it will hardly be: it would not be chosen.
        faster, slower = before * (1 - exp(-WITHIN * spread)), before * (exp(WITHIN * spread) - 1)
        less = after * (1 - exp(-WITHIN * AFTER))
        more = min(before, after * exp(WITHIN * AFTER)) - after
        if anchor is None:  # both are off in the same direction
            low, high = saved * exp(-WITHIN * spread), saved * exp(WITHIN * spread)
            low, high = saved - hypot(saved - low, more), saved + hypot(high - saved, less)
        else:
            low, high = saved - hypot(faster, more), saved + hypot(slower, less)
        calls = one.query.calls
        return replace(
            one,
            share=share,
            seconds_before=before,
            seconds_after=after,
            saving=Saving(calls * saved, calls * max(0.0, low), calls * high),
        )


def learn(queries: Iterable[tuple[WorkloadQuery, float]], system: str = "postgresql") -> Model:
    """Learn from a workload: queries with their cost.

    What a DELETE took includes the look-ups of its foreign keys, which are queries of their own here: it is divided
    among them by cost.
    """
    queries = list(queries)
    groups: dict[str, list[tuple[WorkloadQuery, float]]] = {}
    for query, cost in queries:
        groups.setdefault(checked_by(query.id) or query.id, []).append((query, cost))
    points, anchors = [], {}
    for group in groups.values():
        seconds = sum(query.seconds / query.calls for query, _ in group if query.seconds and query.calls)
        cost = sum(cost for _, cost in group)
        if seconds > 0 and cost > 0:
            points.append(Point(cost, seconds))
            anchors.update({query.id: seconds * own / cost for query, own in group if own > 0})
    known = points or system == "postgresql"
    return Model(calibrate(points) if known else None, anchors)


def _parts(served: Mapping[_K, Sequence[Served]]) -> dict[tuple[_K, str], float]:
    """By hint and query: its part of what all hints together save of the query."""
    parts = {(hint, one.query.id): max(0.0, one.without - one.after) for hint, found in served.items() for one in found}
    totals: dict[str, float] = {}
    for (_, query), part in parts.items():
        totals[query] = totals.get(query, 0.0) + part
    return {key: part / totals[key[1]] if totals[key[1]] else 1.0 for key, part in parts.items()}


def total(savings: Sequence[tuple[Saving, float]], paid: float = 0.0) -> Saving:
    """The sum of savings, of each the share that is given, less what writes pay.

    Half of the variance is taken for common to all of them: the hour, the server, the curve.
    """
    seconds = sum(share * saving.seconds for saving, share in savings) - paid
    low, high = (
        sqrt(0.5 * sum(one**2 for one in side) + 0.5 * sum(side) ** 2)
        for side in (
            [share * (saving.seconds - saving.low) for saving, share in savings],
            [share * (saving.high - saving.seconds) for saving, share in savings],
        )
    )
    return Saving(seconds, seconds - low, seconds + high)
