"""A statement whose binds are filled → what each of its SELECTs asks of each table, and how many rows that leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from dbvitals_processors.hints import parsing
from dbvitals_processors.hints.explain.shares import Judge
from dbvitals_processors.hints.model import Catalogue, Column, Unplannable
from dbvitals_processors.hints.predicates import conjuncts, predicates_of
from dbvitals_processors.hints.reading import Access, Predicate
from dbvitals_processors.hints.terms import ELSEWHERE, Resolver

FROM_QUERY = 10.0
"""Rows of a derived table, or values of IN (SELECT …), where nobody knows better."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One conjunct that concerns a table.

    Attributes:
        predicates: what an index might serve.
        share: of the table's rows, once the others are known.
        others: aliases of other tables in it; :data:`~.terms.ELSEWHERE` for derived ones and those around.
    """

    predicates: tuple[Predicate, ...]
    share: float
    others: frozenset[str] = frozenset()
    alternatives: tuple[tuple[tuple[Predicate, ...], ...], ...] = ()


@dataclass(frozen=True)
class Asked:
    """One table in one SELECT, with its conditions; ``after`` are those that a LEFT JOIN puts before it."""

    access: Access
    conditions: tuple[Condition, ...]
    after: frozenset[str] = frozenset()

    @cached_property
    def left(self) -> float:
        """Share of the rows that conditions leave which need no other table of the SELECT."""
        return prod(one.share for one in self.conditions if one.others <= {ELSEWHERE})


@dataclass(frozen=True, slots=True)
class Block:
    """One SELECT.

    Attributes:
        limit: rows after which it may stop; ``None`` for all.
        correlated: whether it runs again for each row around it.
        derived: how many derived tables it joins.
    """

    tables: tuple[Asked, ...]
    limit: float | None = None
    correlated: bool = False
    derived: int = 0
    sorts: bool = False
    root: bool = False


Evaluate = Callable[[exp.Expression], Any]


def blocks(sql: str, catalogue: Catalogue, evaluate: Evaluate) -> tuple[Block, ...]:
    """The SELECTs of a statement, inner ones first.

    Raises:
        Unplannable: it cannot be parsed.
    """
    tree = parsing.parse(sql, catalogue.system)
    reading = parsing.read(tree, catalogue)
    query = parsing.as_query(tree)
    if query is None or not reading.accesses:
        return ()
    resolver = Resolver(catalogue, parsing.DIALECTS[catalogue.system], {}, {})
    accesses = iter(reading.accesses)
    found = []
    try:
        for scope in traverse_scope(query):
            if isinstance(scope.expression, exp.Select):
                found.append(_block(scope, resolver, accesses, evaluate))
    except (SqlglotError, RecursionError) as error:
        raise Unplannable(f"the SQL's scopes cannot be told apart: {str(error).partition(chr(10))[0]}") from None
    return tuple(found)


def _block(scope: Scope, resolver: Resolver, accesses: Iterator[Access], evaluate: Evaluate) -> Block:
    select = scope.expression
    assert isinstance(select, exp.Select)
    tables = resolver.tables(scope)
    own = [alias for alias, table in tables.items() if table is not None and table.kind != "view"]
    conditions = list(_conditions(select, resolver, scope))
    optional = _optional(select)
    asked = tuple(
        Asked(
            _next(accesses),
            tuple(_found(conditions, alias, scope, resolver, evaluate)),
            frozenset(own[: own.index(alias)]) if alias in optional else frozenset(),
        )
        for alias in own
    )
    exists = isinstance(select.parent, exp.Exists)
    limit = 1.0 if exists else _limit(select, evaluate)
    if limit is not None and any(one.access.groups for one in asked):
        limit = None
    return Block(
        asked, limit, bool(scope.is_correlated_subquery), len(tables) - len(own),
        bool(select.args.get("order") or select.args.get("group")), scope.is_root,
    )  # fmt: skip


def _next(accesses: Iterator[Access]) -> Access:
    found = next(accesses, None)
    if found is None:
        raise Unplannable("the SQL's scopes cannot be told apart")
    return found


def _found(
    conditions: list[exp.Expression], alias: str, scope: Scope, resolver: Resolver, evaluate: Evaluate
) -> Iterator[Condition]:
    table = resolver.tables(scope)[alias]
    assert table is not None

    def column_of(node: exp.Column) -> Column | None:
        place = resolver.resolve(node, scope)
        return table.columns.get(place[1]) if place is not None and place[0] == alias else None

    judge = Judge(column_of, evaluate)
    for condition in conditions:
        aliases = resolver.aliases(condition, scope)
        if alias in aliases:
            what = predicates_of(condition, alias, scope, resolver)
            share = judge.share(condition)
            if isinstance(condition, exp.In) and condition.args.get("query") is not None:
                share = min(1.0, FROM_QUERY * _one_value(condition, judge))
            yield Condition(what.predicates, share, aliases - {alias}, what.alternatives)


def _one_value(condition: exp.In, judge: Judge) -> float:
    return judge.share(exp.EQ(this=condition.this.copy(), expression=exp.column("…", table="…")))


def _conditions(select: exp.Select, resolver: Resolver, scope: Scope) -> Iterator[exp.Expression]:
    where = select.args.get("where")
    if where is not None:
        yield from conjuncts(where.this)
    for join in select.args.get("joins") or ():
        if join.args.get("on") is not None:
            yield from conjuncts(join.args["on"])
        for column in join.args.get("using") or ():
            yield from resolver.using(column.name, scope)


def _optional(select: exp.Select) -> frozenset[str]:
    joins = select.args.get("joins") or ()
    return frozenset(join.this.alias_or_name for join in joins if str(join.args.get("side") or "").upper() == "LEFT")


def _limit(select: exp.Select, evaluate: Evaluate) -> float | None:
    found = 0.0
    for name in ("limit", "offset"):
        node = select.args.get(name)
        if node is None:
            if name == "limit":
                return None
            continue
        try:
            found += float(evaluate(node.expression))
        except (ValueError, TypeError):
            found += 20.0 if name == "limit" else 0.0
    return max(1.0, found)
