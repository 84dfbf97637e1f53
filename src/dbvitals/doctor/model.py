"""The words in which the doctor speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from dbvitals.doctor.places import Places
from dbvitals.doctor.probe import Probe


class Status(str, Enum):
    """How a step went."""

    WELL = "well"
    WARNING = "warning"
    BROKEN = "broken"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What a step has seen.

    Attributes:
        seen: the facts, in one line.
        advice: what to do, where something is to be done.
    """

    status: Status
    seen: str
    advice: str = ""


@dataclass(frozen=True)
class Result:
    """A finding with the name of its step, and how long it took."""

    name: str
    status: Status
    seen: str
    advice: str
    seconds: float


@dataclass(frozen=True)
class Case:
    """What is examined.

    Attributes:
        environ: the service's environment.
        timeout: seconds that each step waits for what it looks for.
    """

    places: Places
    probe: Probe
    environ: Mapping[str, str]
    timeout: float


@dataclass(frozen=True)
class Check:
    """A step.

    Attributes:
        needs: the steps without which it cannot see anything.
    """

    name: str
    run: Callable[[Case], Finding]
    needs: tuple[str, ...] = ()


def well(seen: str) -> Finding:
    """As it should be."""
    return Finding(Status.WELL, seen)


def warning(seen: str, advice: str) -> Finding:
    """It works, and could surprise."""
    return Finding(Status.WARNING, seen, advice)


def broken(seen: str, advice: str) -> Finding:
    """Here it stops."""
    return Finding(Status.BROKEN, seen, advice)


def skipped(seen: str) -> Finding:
    """Nobody looked."""
    return Finding(Status.SKIPPED, seen)
