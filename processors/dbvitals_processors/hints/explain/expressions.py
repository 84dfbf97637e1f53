"""What the planner would say of an index on ``lower(column)`` or ``upper(column)`` if it had statistics for it.

An expression has none until its index is built and analysed; until then PostgreSQL takes half a percent of the rows for
one value, which makes such indexes look far worse than they turn out to be. The column's own statistics tell how many
rows there will be, case aside.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dbvitals_processors.hints.explain.inverted import conjuncts
from dbvitals_processors.hints.explain.pg_plan import Plan, charged, paths
from dbvitals_processors.hints.model import Candidate, Table, quoted, quoted_name

_FOLDING = re.compile(r"\b(?:lower|upper)\(((?:\((?:\w+\.)?\w+\)|(?:\w+\.)?\w+)(?:::text)?)\)")
_LEAST = 8.0
"""A look-up of one row: two pages of an index and one of the table, about."""


def is_folding(candidate: Candidate) -> bool:
    """Whether its first key is such an expression."""
    first = candidate.keys[0]
    return candidate.method == "btree" and first.column is None and first.sql.lower().startswith(("lower(", "upper("))


def saving(plan: Plan, name: str, table: Table, rows_of: Callable[[str], float]) -> float:
    """Units that a plan costs less than the planner believes, by the index ``name`` that it uses; 0 if it uses it not.

    Args:
        rows_of: rows that a source has, which is SQL for what follows FROM.
    """
    for path in paths(plan, table.name.name):
        node = path[-1]
        scans = [one for one in (node, *node.get("Plans", ())) if one.get("Index Name") == name]
        if not scans:
            continue
        texts = [node.get("Filter", ""), *(one.get("Index Cond", "") for one in scans)]
        for condition in (one for text in texts if text for one in conjuncts(text)):
            plain = _FOLDING.sub(r"\1", condition).replace(" ~~ ", " ~~* ")
            if plain == condition or not (" = " in plain or " ~~* " in plain):
                continue
            source = f"{quoted_name(table.name)} AS {quoted(node['Alias'])} WHERE "
            share = rows_of(source + plain) / max(1.0, rows_of(source + condition))
            if share < 1:
                return max(0.0, charged(path) - max(_LEAST, float(node["Total Cost"]) * share))
    return 0.0
