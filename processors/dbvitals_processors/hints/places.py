"""A query as its remarks look at it: its SELECTs, their conditions, and the share of a table that each asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from dbvitals_processors.hints import parsing
from dbvitals_processors.hints.binds import constants, split
from dbvitals_processors.hints.model import Catalogue, Column, Table, WorkloadQuery
from dbvitals_processors.hints.predicates import conjuncts, predicates_of
from dbvitals_processors.hints.reading import Predicate
from dbvitals_processors.hints.terms import Resolver

NARROW = 0.02
"""Where some condition leaves this share of a table, or less, the others hardly matter."""
_INVERTED = ("contains", "overlaps", "has_key", "match")


@dataclass(frozen=True)
class Place:
    """One SELECT, with the tables of the catalogue that it selects from."""

    select: exp.Select
    scope: Scope
    resolver: Resolver

    @cached_property
    def tables(self) -> dict[str, Table]:
        """Its tables by alias; views and what is derived are none."""
        found = self.resolver.tables(self.scope)
        return {alias: table for alias, table in found.items() if table is not None and table.kind != "view"}

    @cached_property
    def conditions(self) -> tuple[exp.Expression, ...]:
        """What must hold, in WHERE and in joins."""
        where = self.select.args.get("where")
        joins = (join.args.get("on") for join in self.select.args.get("joins") or ())
        return tuple(one for node in (where and where.this, *joins) if node is not None for one in conjuncts(node))

    @property
    def aggregated(self) -> bool:
        """Whether all rows are read before the first comes out."""
        functions = (one for item in self.select.expressions for one in item.find_all(exp.AggFunc))
        grouped = self.select.args.get("group") or self.select.args.get("distinct")
        return bool(grouped) or any(not isinstance(one.parent, exp.Window) for one in functions)

    @property
    def limited(self) -> bool:
        """Whether it may stop early."""
        return bool(self.select.args.get("limit") or self.select.args.get("fetch")) and not self.aggregated

    def of(self, node: Any) -> Table | None:
        """The table whose columns an expression has, if it has those of one table alone."""
        aliases = self.resolver.aliases(node, self.scope)
        return self.tables.get(next(iter(aliases))) if len(aliases) == 1 else None

    def columns(self, node: Any) -> list[Column]:
        """Its columns, each once."""
        table = self.of(node)
        where = (self.resolver.resolve(column, self.scope) for column in node.find_all(exp.Column))
        names = dict.fromkeys(one[1] for one in where if one is not None)
        return [table.columns[name] for name in names if name in table.columns] if table is not None else []

    def predicates(self, condition: exp.Expression, alias: str) -> tuple[Predicate, ...]:
        """What an index might serve of a condition."""
        return predicates_of(condition, alias, self.scope, self.resolver).predicates

    @cached_property
    def shares(self) -> dict[str, float]:
        """The share of each table that its own conditions leave, joins not counted."""
        return self._left(self.conditions)

    @cached_property
    def narrowed(self) -> bool:
        """Whether few rows are looked at for another reason: an outer query's row, or a telling condition."""
        return self.narrowed_beside(None)

    def narrowed_beside(self, condition: exp.Expression | None) -> bool:
        """Whether it would be narrowed without a condition."""
        others = tuple(one for one in self.conditions if one is not condition)
        return any(map(self._looks_outside, others)) or any(found <= NARROW for found in self._left(others).values())

    def _left(self, conditions: Sequence[exp.Expression]) -> dict[str, float]:
        found: dict[str, float] = {}
        for alias, table in self.tables.items():
            known = (share(one, table, self.resolver) for node in conditions for one in self.predicates(node, alias))
            found[alias] = prod(one for one in known if one is not None)
        return found

    def _looks_outside(self, condition: exp.Expression) -> bool:
        own = (c for c in condition.find_all(exp.Column) if c.find_ancestor(exp.Select) in (None, self.select))
        return any(self.resolver.resolve(column, self.scope) is None for column in own)


@dataclass(frozen=True)
class Asked:
    """A query of a workload, taken apart."""

    query: WorkloadQuery
    catalogue: Catalogue
    tree: exp.Expression
    seen: Mapping[int, Sequence[Any]]
    places: tuple[Place, ...]

    def conditions(self, least_rows: float) -> Iterator[tuple[Place, exp.Expression]]:
        """Conditions of SELECTs that look at many rows of some large table."""
        for place in self.places:
            if not place.narrowed and any(table.rows >= least_rows for table in place.tables.values()):
                for one in place.conditions:
                    yield place, one.this if isinstance(one, exp.Escape) else one


def asked(query: WorkloadQuery, catalogue: Catalogue) -> Asked:
    """Take a query apart.

    Raises:
        Unplannable: it cannot be parsed.
    """
    fixed, seen = constants(split(query.sql), query.parameters)
    tree = parsing.parse(query.sql, catalogue.system)
    resolver = Resolver(catalogue, parsing.DIALECTS[catalogue.system], fixed, seen)
    select = parsing.as_query(tree)
    scopes = traverse_scope(select) if select is not None else []
    places = tuple(Place(s.expression, s, resolver) for s in scopes if isinstance(s.expression, exp.Select))
    return Asked(query, catalogue, tree, seen, places)


def disjuncts(node: Any) -> Iterator[exp.Expression]:
    """The parts of an OR, however it is nested; of what is none, itself."""
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Or):
        yield from disjuncts(node.left)
        yield from disjuncts(node.right)
    else:
        yield node.this if isinstance(node, exp.Escape) else node


def share(predicate: Predicate, table: Table, resolver: Resolver) -> float | None:
    """Share of a table's rows that a predicate leaves, as statistics tell it; ``None`` where they do not."""
    column = table.columns.get(predicate.term.column or "")
    if predicate.value.kind == "join":
        return None
    if predicate.operator in _INVERTED or (predicate.operator == "prefix" and not predicate.insensitive):
        return NARROW
    if column is None:
        return NARROW if predicate.operator == "eq" else None
    if predicate.operator in ("null", "notnull"):
        return column.null_share if predicate.operator == "null" else 1 - column.null_share
    if predicate.operator in ("true", "false"):
        return _of_value(column, predicate.operator == "true")
    if predicate.operator != "eq":
        return None
    values = [value for bind in predicate.value.binds for value in resolver.samples.get(bind, ())]
    if values:
        return min(_of_value(column, value) for value in values)
    if predicate.value.kind == "constant":
        return _of_value(column, predicate.value.sql.partition("::")[0].strip("'"))
    return min((found for _, found in column.common), default=1.0) if _all_common(column) else 1 / column.distinct


def _all_common(column: Column) -> bool:
    """Whether the statistics name every value that there is."""
    return sum(found for _, found in column.common) + column.null_share > 0.99


def _of_value(column: Column, value: Any) -> float:
    spelled = {"t", "true", "1"} if value is True else {"f", "false", "0"} if value is False else {str(value)}
    known = [found for text, found in column.common if text in spelled]
    if known:
        return known[0]
    rest = max(0.0, 1 - column.null_share - sum(found for _, found in column.common))
    return rest / max(1.0, column.distinct - len(column.common))
