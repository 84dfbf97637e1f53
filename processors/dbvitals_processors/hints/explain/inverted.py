"""What a GIN or GiST index would save, by statistics: HypoPG has none (HypoPG/hypopg#97).

The planner's own plan is taken, with the scan of the table replaced by a bitmap scan through the index. How many rows
that finds is the planner's estimate for the very condition. Pages of the heap are counted after Mackert and Lohman,
"Index scans using a finite LRU buffer" (TODS 14(3), 1989), as PostgreSQL does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import sqrt

from dbvitals_processors.hints.explain.pg_plan import Plan, charged, paths
from dbvitals_processors.hints.model import Candidate, Table, quoted, quoted_name

_OPERATORS = (" @> ", " && ", " @@ ", " ? ", " ?| ", " ?& ", " ~~* ", " ~~ ", " ~* ", " ~ ")
_START_PAGES = 6
_POSTINGS = 3.0
"""Posting lists that are read for each row found: trigrams and words that have to be intersected."""

Rows = Callable[[str], float]


def saving(plan: Plan, candidate: Candidate, table: Table, settings: Mapping[str, float], rows_of: Rows) -> float:
    """Units that the index takes off a plan's total cost; 0 where it serves no condition of it.

    Args:
        settings: PostgreSQL's cost settings.
        rows_of: rows that a source has, which is SQL for what follows FROM.
    """
    best = 0.0
    for path in paths(plan, table.name.name):
        node = path[-1]
        if "Filter" not in node or node["Node Type"] not in ("Seq Scan", "Index Scan", "Bitmap Heap Scan"):
            continue
        for condition in conjuncts(node["Filter"]):
            if not serves(candidate, condition, table):
                continue
            found = rows_of(f"{quoted_name(table.name)} AS {quoted(node['Alias'])} WHERE {condition}")
            cost = bitmap_cost(found, table, settings)
            if node["Node Type"] == "Bitmap Heap Scan":  # or both bitmaps, intersected
                cost = min(cost, _both(node, found, table, settings))
            best = max(best, charged(path) - cost)
    return best


def _both(node: Plan, found: float, table: Table, settings: Mapping[str, float]) -> float:
    below = node["Plans"][0]
    rows = below["Plan Rows"] * found / max(1.0, table.rows)
    return (
        float(below["Total Cost"])
        + bitmap_cost(rows, table, settings)
        + found * _POSTINGS * settings["cpu_index_tuple_cost"]
    )


def conjuncts(condition: str) -> Iterator[str]:
    """The parts of a plan's filter, which PostgreSQL writes as ``((a) AND (b))``."""
    text = condition
    if text.startswith("(") and _closing(text) == len(text) - 1:
        text = text[1:-1]
    if not text.startswith("("):
        yield condition
        return
    while text.startswith("("):
        end = _closing(text)
        rest = text[end + 1 :]
        if rest and not rest.startswith(" AND ("):
            yield condition
            return
        yield text[: end + 1]
        text = rest.removeprefix(" AND ")


def _closing(text: str) -> int:
    depth = 0
    quoted = False
    for position, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted and letter == "(":
            depth += 1
        elif not quoted and letter == ")":
            depth -= 1
            if depth == 0:
                return position
    return len(text) - 1


def serves(candidate: Candidate, condition: str, table: Table) -> bool:
    """Whether the index can find the rows of a condition."""
    key = candidate.keys[0]
    operator = next((one for one in _OPERATORS if one in condition), None)
    words = [word for word in re.findall(r"\w+", key.column or key.sql) if word in table.columns]
    if operator is None or not all(re.search(rf"\b{re.escape(word)}\b", condition) for word in words):
        return False
    if "trgm" in key.opclass:
        pattern = re.findall(r"'((?:[^']|'')*)'", condition)
        return operator.strip() in ("~~*", "~~", "~*", "~") and any(re.search(r"\w{3}", one) for one in pattern)
    return operator.strip() in ("@>", "&&", "@@", "?", "?|", "?&")


def bitmap_cost(rows: float, table: Table, settings: Mapping[str, float]) -> float:
    """Cost of a bitmap scan that finds so many rows."""
    pages = max(1.0, float(table.pages))
    fetched = min(pages, 2 * pages * rows / (2 * pages + rows)) if rows > 0 else 0.0
    random, sequential = settings["random_page_cost"], settings["seq_page_cost"]
    page = random - (random - sequential) * sqrt(fetched / pages)
    index = _START_PAGES * random + rows * _POSTINGS * settings["cpu_index_tuple_cost"]
    return index + fetched * page + rows * (settings["cpu_tuple_cost"] + 4 * settings["cpu_operator_cost"])
