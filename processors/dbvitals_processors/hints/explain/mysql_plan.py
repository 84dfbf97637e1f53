"""MySQL's and MariaDB's EXPLAIN FORMAT=JSON: the tables in their order, and what the plan costs today.

MySQL tells a cost, MariaDB does so from version 11 (in milliseconds); MariaDB before that tells rows alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import log2
from typing import Any

from dbvitals_processors.hints.explain.nested import Prices

_NO_ESCAPE = re.compile(r"""\\(?!["\\/bfnrtu])""")
"""MariaDB writes conditions as they are, with backslashes that JSON does not have."""
_MILLISECOND = 1000 / 2.7
_SORTS = ("filesort", "read_sorted_file", "temporary_table", "using_filesort", "using_temporary_table")
_SCANS = ("ALL", "index")


@dataclass(frozen=True, slots=True)
class Step:
    """One table of the plan; ``rows`` are read for each row before it, ``kept`` of them go on."""

    block: int
    name: str
    access: str
    key: str
    rows: float
    kept: float
    covering: bool


def loaded(found: Any) -> dict[str, Any]:
    """The plan in an answer."""
    if isinstance(found, bytes):
        found = found.decode()
    plan: dict[str, Any] = json.loads(_NO_ESCAPE.sub(r"\\\\", found), strict=False) if isinstance(found, str) else found
    return plan


def steps(plan: Any) -> list[Step]:
    """All tables, in the order that they are read; each SELECT's have a number of their own."""
    found: list[Step] = []
    _walk(plan, 0, found)
    return found


def _walk(node: Any, block: int, found: list[Step]) -> None:
    if isinstance(node, list):
        for one in node:
            _walk(one, block, found)
    elif isinstance(node, dict):
        block = int(node.get("select_id", block) or block)
        for name, below in node.items():
            if name == "table" and isinstance(below, dict) and "table_name" in below:
                found.append(_step(below, block))
            if isinstance(below, dict | list):
                _walk(below, block, found)


def _step(table: dict[str, Any], block: int) -> Step:
    rows = float(table.get("rows_examined_per_scan", table.get("rows", 1)) or 1)
    kept = float(table.get("filtered", 100)) / 100
    name, access = str(table["table_name"]), str(table.get("access_type", "ALL"))
    return Step(block, name, access, str(table.get("key", "")), rows, rows * kept, bool(table.get("using_index")))


def sorts(plan: Any) -> int:
    """How often rows are sorted or gathered in a temporary table."""
    return sum(1 for name, value in _entries(plan) if name in _SORTS and value)


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, list):
        for one in node:
            yield from _entries(one)
    elif isinstance(node, dict):
        for name, below in node.items():
            yield name, below
            yield from _entries(below)


def cost(plan: dict[str, Any], prices: Prices) -> float:
    """What the plan costs, in PostgreSQL's units."""
    block = plan.get("query_block", {})
    told = (block.get("cost_info") or {}).get("query_cost")
    if told is not None:
        return float(told) + prices.statement
    if "cost" in block:
        return float(block["cost"]) * _MILLISECOND + prices.statement
    return _priced(plan, prices)


def _priced(plan: Any, prices: Prices) -> float:
    total, loops, block = prices.statement, 1.0, None
    for step in steps(plan):
        if step.block != block:
            block, loops = step.block, 1.0
        if step.access == "ALL" and step.block == block and loops > 1:  # a join's buffer: read once, compared with all
            total += step.rows * (prices.row + loops * prices.compared)
            loops *= max(step.kept, 0.01)
            continue
        each = prices.row if step.access == "ALL" else prices.entry + (0.0 if step.covering else prices.lookup)
        seek = 0.0 if step.access in _SCANS else prices.seek + prices.deeper * log2(step.rows + 2)
        total += loops * (seek + step.rows * each)
        loops *= max(step.kept, 0.01)
    return total + sorts(plan) * loops * prices.kept


def as_text(plan: Any) -> str:
    """One line a table. Conditions are left out, for they hold values."""
    found = []
    for step in steps(plan):
        words = [step.name, f"by {step.key}" if step.key else f"({step.access})"]
        words += ["(index only)"] if step.covering else []
        found.append(f"{' '.join(words)}  (rows {step.rows:,.0f})")
    if sorts(plan):
        found.append("sorted")
    return "\n".join(found) or "no table is read"
