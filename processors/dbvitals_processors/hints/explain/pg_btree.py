"""What PostgreSQL would charge for a scan of a B-tree, by its own formulas (``cost_index``, ``btcostestimate``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2, sqrt

from dbvitals_processors.hints.model import Table

INVISIBLE = 0.005
"""Share of the heap's pages that an index-only scan visits all the same."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Until the first row, and until the last."""

    startup: float
    total: float


@dataclass(frozen=True, slots=True)
class Tree:
    """An index as its formulas need it; ``correlation`` of its order with the heap's, of its first key."""

    rows: float
    pages: float
    correlation: float = 0.0
    keys: int = 1


def index_part(
    tree: Tree, found: float, quals: int, settings: Mapping[str, float], seeks: float = 1.0, loops: float = 1.0
) -> Cost:
    """Descending the tree and reading so many of its entries; ``loops`` scans share the pages that they have read."""
    operator = settings["cpu_operator_cost"]
    height = 0 if tree.pages < 2 else 1 if tree.pages < 300 else 2
    descent = ceil(log2(max(2.0, tree.rows))) * operator + (height + 1) * 50 * operator
    pages = max(1.0, ceil(tree.pages * found / max(1.0, tree.rows)))
    pages = max(pages, min(seeks, tree.pages))
    if loops > 1:
        pages = fetched(pages * loops, tree.pages) / loops
    io = pages * settings["random_page_cost"]
    cpu = found * (settings["cpu_index_tuple_cost"] + quals * operator)
    return Cost(descent, seeks * descent + io + cpu)


def index_scan(
    tree: Tree,
    table: Table,
    found: float,
    quals: int,
    filters: int,
    settings: Mapping[str, float],
    *,
    covering: bool = False,
    seeks: float = 1.0,
    loops: float = 1.0,
) -> Cost:
    """An index scan that fetches so many rows; ``loops`` scans share what they have read."""
    index = index_part(tree, found, quals, settings, seeks, loops)
    random, sequential = settings["random_page_cost"], settings["seq_page_cost"]
    pages = max(1.0, float(table.pages))
    most = fetched(found * loops, pages) / loops * random
    least = random + max(0.0, ceil(pages * min(1.0, found / max(1.0, table.rows))) - 1) * sequential
    least = min(least, most)
    squared = (tree.correlation * (0.75 if tree.keys > 1 else 1.0)) ** 2
    heap = most + squared * (least - most)
    if covering:
        heap *= INVISIBLE
    cpu = found * (settings["cpu_tuple_cost"] + filters * settings["cpu_operator_cost"])
    return Cost(index.startup, index.total + heap + cpu)


def bitmap_scan(
    parts: list[tuple[Cost, float]], table: Table, rows: float, quals: int, settings: Mapping[str, float]
) -> Cost:
    """A bitmap scan by one index or several: each one's cost and entries; ``rows`` of the heap are fetched."""
    entry = 0.1 * settings["cpu_operator_cost"]
    index = sum(cost.total + entry * found for cost, found in parts)
    random, sequential = settings["random_page_cost"], settings["seq_page_cost"]
    pages = max(1.0, float(table.pages))
    visited = max(1.0, fetched(rows, pages))
    page = random if visited < 2 else random - (random - sequential) * sqrt(visited / pages)
    cpu = rows * (settings["cpu_tuple_cost"] + quals * settings["cpu_operator_cost"])
    return Cost(index, index + visited * page + cpu)


def fetched(rows: float, pages: float) -> float:
    """Pages of the heap that hold so many rows, after Mackert and Lohman, as PostgreSQL counts them."""
    return min(pages, 2 * pages * rows / (2 * pages + rows)) if rows > 0 else 0.0
