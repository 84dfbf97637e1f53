"""From planner's units to time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbvitals_processors.hints.model import Saving, Served


@dataclass(frozen=True, slots=True)
class Point:
    """A query's cost as planned, and its mean time as measured, in seconds."""

    cost: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Model:
    """Time as a function of cost."""

    def saving(self, served: Sequence[Served]) -> Saving | None:
        """Time saved in an hour; ``None`` where nothing was measured."""
        return None


def calibrate(points: Sequence[Point]) -> Model:
    """Learn from what was measured."""
    return Model()
