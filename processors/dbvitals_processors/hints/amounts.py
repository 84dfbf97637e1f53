"""Sizes, shares and numbers of rows as people read them."""

from __future__ import annotations


def size(number: float) -> str:
    """Bytes as disks have them: ``8 kB``, ``36 MB``, ``1.2 GB``."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            return f"{value:.1f} {unit}" if unit != "B" and value < 9.95 else f"{value:.0f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def rows(number: float) -> str:
    """``1 row``, ``250,000 rows``."""
    return f"{number:,.0f} row{'' if round(number) == 1 else 's'}"


def percent(share: float) -> str:
    """``38%``; what is there but rounds to nothing is ``<1%``."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"
