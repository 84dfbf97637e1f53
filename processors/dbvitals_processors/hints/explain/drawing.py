"""Values for binds that nobody has samples of, drawn from the statistics of the columns that they are compared with."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from dbvitals_processors.hints import parsing
from dbvitals_processors.hints.model import Catalogue, Column, Unplannable, WorkloadQuery
from dbvitals_processors.hints.predicates import bind_number
from dbvitals_processors.hints.terms import Resolver

DRAWS = (0.5, 0.85, 0.2)
"""Where in a column's distribution the values of the three sets are."""
_NEAR_THE_END = {"gt": 0.97, "gte": 0.97, "lt": 0.03, "lte": 0.03}

Use = tuple[str, Column | None]


def uses(query: WorkloadQuery, catalogue: Catalogue) -> dict[int, Use]:
    """For each bind how it is used (``eq``, ``like``, ``limit`` …), and the column that it is compared with."""
    try:
        tree = parsing.as_query(parsing.parse(query.sql, catalogue.system))
        scopes = list(traverse_scope(tree)) if tree is not None else []
    except (Unplannable, SqlglotError, RecursionError):
        return {}
    resolver = Resolver(catalogue, parsing.DIALECTS[catalogue.system], {}, {})
    found: dict[int, Use] = {}
    for scope in scopes:
        for bind in scope.expression.find_all(exp.Placeholder):
            number = bind_number(bind)
            if number in found and found[number][1] is not None:
                continue
            use, column = "", None
            node = bind.parent
            while node is not None and not isinstance(node, exp.Select):
                if isinstance(node, exp.Limit | exp.Fetch | exp.Offset):
                    use = "limit" if not isinstance(node, exp.Offset) else "offset"
                    break
                if isinstance(node, exp.Predicate | exp.In | exp.Between | exp.Any):
                    use = use or node.key
                    if isinstance(node, exp.Any):
                        node = node.parent
                        continue
                    for one in node.find_all(exp.Column):
                        where = resolver.resolve(one, scope)
                        if where is not None:
                            table = resolver.tables(scope)[where[0]]
                            column = table.columns[where[1]] if table is not None else None
                            break
                    break
                node = node.parent
            found[number] = (use, column)
    return found


def of_column(column: Column, use: str, draw: float, *, spread: float = 0.0) -> str | None:
    """By frequency for equality; near the end for a range, since services ask for what is new.

    Args:
        spread: how far apart the ends of ranges of different draws are, as a share of the histogram.
    """
    if use in ("gt", "gte", "lt", "lte", "between") and column.bounds:
        at = _NEAR_THE_END.get(use, draw)
        if spread:
            at = min(0.999, max(0.001, at + (draw - 0.5) * spread))
        return column.bounds[int(at * (len(column.bounds) - 1))]
    below = 0.0
    for value, share in column.common:
        below += share
        if below >= draw:
            return value
    return column.bounds[int(draw * (len(column.bounds) - 1))] if column.bounds else None
