"""Columns' statistics from a sample of rows, for databases that keep none of their own.

Distinct values are estimated after Haas and Stokes, "Estimating the number of classes in a finite population" (JASA
93(444), 1998), their Duj1, as PostgreSQL does. The values stay in memory.
"""

from __future__ import annotations

import datetime
import decimal
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from dbvitals_processors.hints.model import Column

BLOCKS = 60
BLOCK_ROWS = 80
"""Rows are taken in blocks spread evenly over the table's key."""
LONGEST = 1_000
"""Characters of a value that are read."""
_MOST_COMMON = 60
_BOUNDS = 101


def distinct_of(values: Sequence[Hashable], total: float) -> float:
    """Distinct values of ``total`` rows of which these are a sample; at least 1."""
    size = len(values)
    if not size:
        return 1.0
    counts = Counter(values)
    found, once = len(counts), sum(1 for count in counts.values() if count == 1)
    if size >= total or not once:
        return float(found)
    if once == size:
        return max(1.0, total)
    return max(1.0, min(total, found * size / (size - once + once * size / total)))


def column_of(name: str, kind: str, not_null: bool, values: Sequence[Any], total: float, alignment: int = 1) -> Column:
    """A column as its sampled values show it; ``bounds`` are those of all values, common ones as well."""
    present = [one for one in values if one is not None]
    if not values:
        return Column(name, kind, not_null, alignment=alignment)
    texts = list(map(as_text, present))
    nulls = 1 - len(present) / len(values)
    distinct = distinct_of(texts, total * (1 - nulls))
    counts = Counter(texts).most_common(_MOST_COMMON)
    often = 1.25 * len(texts) / distinct if distinct > _MOST_COMMON else 0
    common = tuple((text, count / len(values)) for text, count in counts if count > 1 and count > often)
    width = sum(map(_width, present)) / len(present) if present else 1.0
    return Column(
        name, kind, not_null, max(1.0, width), distinct, nulls, 0.0, common, _bounds(present), alignment=alignment
    )  # fmt: skip


def _bounds(values: Iterable[Any]) -> tuple[str, ...]:
    ordered = sorted(values, key=ordering)
    if len(ordered) < 2:
        return ()
    last = len(ordered) - 1
    return tuple(as_text(ordered[last * number // (_BOUNDS - 1)]) for number in range(_BOUNDS))


def as_text(value: Any) -> str:
    """A value as text, the same for what compares as equal."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float | decimal.Decimal):
        return str(int(value)) if value == value.__class__(int(value)) else str(float(value))
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    return str(value)


def ordering(value: Any) -> tuple[int, float, str]:
    """A key to sort by: numbers before text, as the databases have it."""
    if isinstance(value, bool | int | float | decimal.Decimal):
        return (0, float(value), "")
    text = as_text(value)
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text.replace("T", " ") if text[:1].isdigit() else text)


def _width(value: Any) -> float:
    if isinstance(value, str | bytes):
        return float(len(value))
    if isinstance(value, int):
        return max(1.0, (value.bit_length() + 8) // 8)
    return 8.0


def points(low: int, high: int) -> list[int]:
    """Where in a whole-numbered key the sample's blocks begin; a single one where one block holds everything."""
    if high - low < BLOCKS * BLOCK_ROWS:
        return [low]
    return [low + (high - low + 1) * number // BLOCKS for number in range(BLOCKS)]
