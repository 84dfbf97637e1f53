"""What share of a table's rows a condition on constants leaves, by its columns' statistics."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from dbvitals_processors.hints.explain.sampled import as_text, ordering
from dbvitals_processors.hints.model import Column

INFIX = 0.05
RANGE = 0.25
UNKNOWN = 0.33
LEAST = 1e-9

_FLIPPED: dict[Any, Any] = {exp.LT: exp.GT, exp.GT: exp.LT, exp.LTE: exp.GTE, exp.GTE: exp.LTE}


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges conditions on one table.

    Attributes:
        column_of: the table's column that a node names; ``None`` for other tables' columns.
        evaluate: the value of an expression without columns; raises ``ValueError`` where nobody knows.
    """

    column_of: Callable[[exp.Column], Column | None]
    evaluate: Callable[[exp.Expression], Any]

    def share(self, node: Any) -> float:
        """Share of the rows for which a condition holds, 0 to 1."""
        return min(1.0, max(LEAST, self._share(node)))

    def _share(self, node: Any) -> float:
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.And):
            return self.share(node.left) * self.share(node.right)
        if isinstance(node, exp.Or):
            return 1 - (1 - self.share(node.left)) * (1 - self.share(node.right))
        if isinstance(node, exp.Not):
            return 1 - self.share(node.this)
        for kind, rule in _RULES:
            if isinstance(node, kind):
                return rule(self, node)
        if isinstance(node, exp.Column):
            return 1 - self._equal(node, 0)
        return UNKNOWN

    # --- rules ---------------------------------------------------------------------------------------------------

    def _comparison(self, node: Any) -> float:
        kind: Any = type(node)
        left, right = node.this, node.expression
        if not self._concerns(left):
            kind, left, right = _FLIPPED.get(kind, kind), right, left
        try:
            value = self.evaluate(right)
        except ValueError:
            equal = 1 / self._distinct(left)
            return {exp.EQ: equal, exp.NullSafeEQ: equal, exp.NEQ: 1 - equal}.get(kind, RANGE)
        if value is None:
            return self._nulls(left) if kind is exp.NullSafeEQ else 0.0
        if kind in (exp.EQ, exp.NullSafeEQ):
            return self._equal(left, value)
        if kind is exp.NEQ:
            return 1 - self._equal(left, value) - self._nulls(left)
        below = self._below(left, value)
        if below is None:
            return RANGE
        shown = 1 - self._nulls(left)
        return shown * (below if kind in (exp.LT, exp.LTE) else 1 - below)

    def _between(self, node: exp.Between) -> float:
        try:
            low = self._below(node.this, self.evaluate(node.args["low"]))
            high = self._below(node.this, self.evaluate(node.args["high"]))
        except ValueError:
            return RANGE / 2
        if low is None or high is None:
            return RANGE / 2
        return max(1 / self._distinct(node.this), high - low) * (1 - self._nulls(node.this))

    def _in(self, node: exp.In) -> float:
        if node.args.get("query") is not None:
            return UNKNOWN
        found = 0.0
        for one in node.expressions:
            try:
                found += self._equal(node.this, self.evaluate(one))
            except ValueError:
                found += 1 / self._distinct(node.this)
        return found

    def _is(self, node: exp.Is) -> float:
        if isinstance(node.expression, exp.Null):
            return self._nulls(node.this)
        if isinstance(node.expression, exp.Boolean):
            return self._equal(node.this, int(bool(node.expression.this)))
        return UNKNOWN

    def _like(self, node: Any) -> float:
        pattern = node.expression.this if isinstance(node.expression, exp.Literal) else ""
        stem = pattern.partition("%")[0].partition("_")[0]
        if not stem:
            return INFIX
        low, high = self._below(node.this, stem), self._below(node.this, stem + "\uffff")
        if low is None or high is None:
            return INFIX / 5
        return max(1 / self._distinct(node.this), high - low)

    # --- statistics ----------------------------------------------------------------------------------------------

    def _concerns(self, node: Any) -> bool:
        return self._column(node) is not None

    def _column(self, node: Any) -> Column | None:
        """The column that an expression is of."""
        if not isinstance(node, exp.Expression):
            return None
        return next((c for one in node.find_all(exp.Column) if (c := self.column_of(one)) is not None), None)

    def _plain(self, node: Any) -> Column | None:
        while isinstance(node, exp.Paren):
            node = node.this
        return self.column_of(node) if isinstance(node, exp.Column) else None

    def _distinct(self, node: Any) -> float:
        column = self._column(node)
        return column.distinct if column is not None else 10.0

    def _nulls(self, node: Any) -> float:
        column = self._column(node)
        return column.null_share if column is not None else 0.0

    def _equal(self, node: Any, value: Any) -> float:
        column = self._plain(node)
        if column is None:
            return 1 / self._distinct(node)
        return equal(column, value)

    def _below(self, node: Any, value: Any) -> float | None:
        column = self._plain(node)
        return below(column, value) if column is not None and value is not None else None


def equal(column: Column, value: Any) -> float:
    """Share of a table's rows whose column has a value."""
    common = dict(column.common)
    text = as_text(value)
    if text in common:
        return common[text]
    rest = max(0.0, 1 - column.null_share - sum(common.values()))
    return rest / max(1.0, column.distinct - len(common))


def below(column: Column, value: Any) -> float | None:
    """Share of a column's values that come before a value; ``None`` where there is no histogram."""
    if len(column.bounds) < 2:
        return None
    keys = [ordering(one) for one in column.bounds]
    return bisect_left(keys, ordering(value)) / len(keys)


_RULES: tuple[tuple[Any, Callable[[Judge, Any], float]], ...] = (
    ((exp.EQ, exp.NullSafeEQ, exp.NEQ, exp.LT, exp.GT, exp.LTE, exp.GTE), Judge._comparison),
    (exp.Between, Judge._between),
    (exp.In, Judge._in),
    (exp.Is, Judge._is),
    ((exp.Like, exp.ILike), Judge._like),
)
