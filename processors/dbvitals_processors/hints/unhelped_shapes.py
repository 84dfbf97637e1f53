"""Shapes of queries that read far more than they give, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlglot import exp

from dbvitals_processors.hints.amounts import percent, rows
from dbvitals_processors.hints.model import Table, quoted_name
from dbvitals_processors.hints.places import Asked, Place, disjuncts, share
from dbvitals_processors.hints.predicates import bind_number

LEAST_ROWS = 10_000
DEEP = 1_000
COMMON = 0.2

Found = Iterator[tuple[str, str]]


def ors(question: Asked) -> Found:
    """An OR that no index on one table serves, and a filter that may be switched off."""
    for place, node in question.conditions(LEAST_ROWS):
        inner: Any = node
        while isinstance(inner, exp.Paren):
            inner = inner.this
        if not isinstance(inner, exp.Or):
            continue
        branches = list(disjuncts(inner))
        sets = [place.resolver.aliases(one, place.scope) for one in branches]
        names = [_names(place, one) for one in branches]
        everything = " or ".join(dict.fromkeys(filter(None, names)))
        if any(map(_bind_is_null, branches)):
            yield (
                "optional filter",
                f"Leave the condition on {everything} out where it is not asked for: no OR … IS NULL",
            )
        elif all(sets) and len(frozenset().union(*sets)) > 1:
            if not frozenset.intersection(*sets):
                yield (
                    "OR across tables",
                    f"Ask for each alone and unite them (UNION): no index serves {everything} at once",
                )
            elif all(len(one) > 1 for one in sets):
                yield (
                    "OR in a join",
                    f"Join by each alone and unite the results (UNION): no index serves {everything} at once",
                )


def _bind_is_null(node: exp.Expression) -> bool:
    null = isinstance(node, exp.Is) and isinstance(node.expression, exp.Null) and not node.args.get("negate")
    inner = node.this if null else None
    while isinstance(inner, exp.Cast | exp.Paren):
        inner = inner.this
    return isinstance(inner, exp.Placeholder)


def _names(place: Place, node: exp.Expression) -> str:
    found = (place.resolver.resolve(column, place.scope) for column in node.find_all(exp.Column))
    return " = ".join(f"{place.tables[one[0]].name.name}.{one[1]}" for one in found if one and one[0] in place.tables)


def compared_columns(question: Asked) -> Found:
    """Columns of one row compared with each other."""
    for place, node in question.conditions(LEAST_ROWS):
        if isinstance(node, exp.EQ | exp.NEQ | exp.LT | exp.GT | exp.LTE | exp.GTE | exp.NullSafeNEQ):
            table = place.of(node.this)
            if table is not None and table is place.of(node.expression) and table.rows >= LEAST_ROWS:
                names = _names(place, node).replace(" = ", " and ")
                yield (
                    "columns compared",
                    f"Build a partial index with the condition on {names}, if few rows meet it: no other serves it",
                )


def not_in(question: Asked) -> Found:
    """``NOT IN (SELECT …)``, which PostgreSQL never plans as an anti-join."""
    for place, node in question.conditions(LEAST_ROWS):
        inner = node.this if isinstance(node, exp.Not) else None
        query = inner.args.get("query") if isinstance(inner, exp.In) else None
        if inner is None or query is None or question.catalogue.system != "postgresql":
            continue
        tables = (one for other in question.places if other.select is query.this for one in other.tables.values())
        if any(table.rows >= LEAST_ROWS for table in tables):
            yield (
                "NOT IN (SELECT …)",
                f"Write NOT EXISTS for NOT IN (SELECT …) on {_names(place, inner.this)}: it can be a join",
            )


def deep_offset(question: Asked) -> Found:
    """Pages far behind: all rows before them are read and thrown away."""
    for offset in question.tree.find_all(exp.Offset):
        if _largest(offset.expression, question) >= DEEP:
            order = offset.parent.args.get("order") if offset.parent is not None else None
            keys = [one.this.name for one in order.expressions if isinstance(one.this, exp.Column)] if order else []
            last = f"the last row's {', '.join(keys)}" if keys else "the last row's key, in an ORDER BY"
            yield (
                "deep OFFSET",
                f"Page by key: remember {last}, and ask for what comes behind it; OFFSET reads all rows before a page",
            )


def _largest(node: Any, question: Asked) -> float:
    while isinstance(node, exp.Cast | exp.Paren):
        node = node.this
    if isinstance(node, exp.Literal):
        return float(node.this) if str(node.this).isdigit() else 0.0
    seen = question.seen.get(bind_number(node), ()) if isinstance(node, exp.Placeholder) else ()
    return max((float(value) for value in seen if str(value).isdigit()), default=0.0)


def random_order(question: Asked) -> Found:
    """ORDER BY random()."""
    for place in question.places:
        order, table = place.select.args.get("order"), _largest_table(place)
        if order is None or table is None or place.narrowed:
            continue
        if any(one.find(exp.Rand) for one in order.expressions):
            sample = f" ({quoted_name(table.name)} TABLESAMPLE …)" if question.catalogue.system == "postgresql" else ""
            yield (
                "random order",
                f"Draw keys at random and fetch those, or a sample{sample}: ORDER BY random() reads and sorts all rows",
            )


def everything(question: Asked) -> Found:
    """Statements that ask for a whole table."""
    if isinstance(question.tree, exp.Update | exp.Delete):
        target = question.tree.find(exp.Table)
        table = question.catalogue.find(target.name, target.db) if target is not None else None
        if table is not None and table.rows >= LEAST_ROWS and question.tree.args.get("where") is None:
            yield (
                "whole table",
                f"Change {table.name.name} in batches by key: the statement writes all {rows(table.rows)}",
            )
        return
    place = _innermost(question)
    table = _largest_table(place) if place is not None else None
    if place is None or table is None or place.select.args.get("where") or place.narrowed or place.limited:
        return
    if not all(isinstance(source, exp.Table) for _, source in place.scope.selected_sources.values()):
        return
    if _counts(question.tree) and len(place.tables) == 1 and not place.select.args.get("group"):
        yield "count of everything", _estimate(table, question)
        return
    if all(isinstance(one.unalias(), exp.Min | exp.Max) for one in place.select.expressions):
        return
    if place.aggregated:
        advice = f"Keep the result (a materialised view, a summary table): it reads all {rows(table.rows)}"
    else:
        advice = f"Take it in pages by key, or no more than is needed: it reads all {rows(table.rows)}"
    calls = question.query.calls
    often = f"{calls:,.0f} times an hour" if calls >= 1.5 else "once an hour" if calls >= 0.5 else "now and then"
    yield "whole table", f"{advice} of {table.name.name}, {often}"


def _counts(tree: exp.Expression) -> bool:
    items = [one.unalias() for one in tree.expressions]
    return len(items) == 1 and isinstance(items[0], exp.Count) and not isinstance(items[0].this, exp.Distinct)


def _innermost(question: Asked) -> Place | None:
    """The outermost SELECT; within ``SELECT … FROM (SELECT …)`` the inner one."""
    node: Any = question.tree
    while isinstance(node, exp.Select):
        source = node.args.get("from_") or node.args.get("from")
        inner = source.this if source is not None else None
        if not isinstance(inner, exp.Subquery) or node.args.get("joins") or node.args.get("where"):
            break
        if node.args.get("limit"):
            return None
        node = inner.this
    return next((place for place in question.places if place.select is node), None)


def _estimate(table: Table, question: Asked) -> str:
    keep = f"Keep a count: all {rows(table.rows)} of {table.name.name} are read each time"
    if question.catalogue.system != "postgresql":
        return keep
    estimate = f"SELECT reltuples::bigint FROM pg_class WHERE oid = '{quoted_name(table.name)}'::regclass"  # noqa: S608
    return f"{keep}; an estimate is free: {estimate}"


def common_value(question: Asked) -> Found:
    """A value that many rows have."""
    for place in question.places:
        if place.narrowed or place.limited or not all(_understood(one, place) for one in place.conditions):
            continue
        for alias, table in place.tables.items():
            terms = [one.term for node in place.conditions for one in place.predicates(node, alias) if not _joins(node)]
            if table.rows >= LEAST_ROWS and terms and all(found >= COMMON for found in place.shares.values()):
                names = ", ".join(dict.fromkeys(f"{table.name.name}.{term.column}" for term in terms))
                asked = f"{percent(min(1.0, place.shares[alias]))} of {rows(table.rows)}"
                yield "common value", f"Ask for less, or keep the result: {asked} have what is asked of {names}"


def _understood(node: exp.Expression, place: Place) -> bool:
    """Whether statistics tell what share of the rows a condition leaves; joins leave all."""
    if _joins(node):
        return True
    for alias, table in place.tables.items():
        if place.of(node) is table:
            found = place.predicates(node, alias)
            return bool(found) and all(share(one, table, place.resolver) is not None for one in found)
    return False


def _joins(node: exp.Expression) -> bool:
    return isinstance(node, exp.EQ) and isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column)


def _largest_table(place: Place) -> Table | None:
    found = max(place.tables.values(), key=lambda table: table.rows, default=None)
    return found if found is not None and found.rows >= LEAST_ROWS else None


RULES = (ors, compared_columns, not_in, deep_offset, random_order, everything, common_value)
