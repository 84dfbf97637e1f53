"""Numbers as people read them, at most seven characters wide."""

from __future__ import annotations


def seconds(value: float) -> str:
    """A duration: ``870 µs``, ``4.31 ms``, ``12.6 s``, ``7.5 min``, ``3.1 h``."""
    for unit, factor in (("µs", 1e6), ("ms", 1e3), ("s", 1.0)):
        scaled = value * factor
        if scaled < (59.95 if unit == "s" else 999.5):
            digits = 0 if unit == "µs" or scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{digits}f} {unit}"
    return f"{value / 60:.1f} min" if value < 3600 else f"{value / 3600:.1f} h"


def count(value: int) -> str:
    """A number of things: ``99,999``, ``120k``, ``3.4M``, ``1.2G``."""
    if value < 100_000:
        return f"{value:,}"
    for suffix, factor in (("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000)):
        scaled = value / factor
        if scaled < 999.5 or suffix == "G":
            return f"{scaled:.1f}{suffix}" if scaled < 99.95 else f"{scaled:.0f}{suffix}"
    raise AssertionError("unreachable")


def percent(share: float) -> str:
    """A share of one: ``38%``; ``<1%`` for what is there but rounds to nothing."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def things(number: int, one: str, many: str = "") -> str:
    """``1 query``, ``2 queries``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
