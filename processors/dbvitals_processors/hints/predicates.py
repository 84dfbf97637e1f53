"""Conditions of a query → predicates that an index might serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from dbvitals_processors.hints.reading import Operator, Predicate, Term, Value
from dbvitals_processors.hints.terms import Resolver, term_of, why_not_immutable

MOST_LISTED = 6
"""Values of an IN that may still be the states of something."""

Alternative = tuple[tuple[Predicate, ...], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a condition says of one table."""

    predicates: tuple[Predicate, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    opaque: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a condition is looked at from: one table of one scope."""

    alias: str
    scope: Scope
    resolver: Resolver

    def term(self, node: Any) -> Term | None:
        return term_of(node, self.alias, self.scope, self.resolver)

    def concerns(self, node: Any) -> bool:
        return self.alias in self.resolver.aliases(node, self.scope)

    def sql(self, node: exp.Expression) -> str:
        return self.resolver.sql(node)


def conjuncts(node: Any) -> Iterator[exp.Expression]:
    """The parts of an AND, however it is nested; those of an equality of rows."""
    for one in _parts(node, exp.And):
        if isinstance(one, exp.EQ) and isinstance(one.this, exp.Tuple) and isinstance(one.expression, exp.Tuple):
            for left, right in zip(one.this.expressions, one.expression.expressions, strict=False):
                yield exp.EQ(this=left.copy(), expression=right.copy())
        elif isinstance(one, exp.Expression):
            yield one


def _parts(node: Any, kind: type[exp.Connector]) -> Iterator[Any]:
    """What is joined by AND or by OR, from left to right; without recursion, for there may be thousands."""
    left = [node]
    while left:
        one = left.pop()
        while isinstance(one, exp.Paren):
            one = one.this
        if isinstance(one, kind):
            left += (one.right, one.left)
        else:
            yield one


def predicates_of(condition: exp.Expression, alias: str, scope: Scope, resolver: Resolver) -> Found:
    """What one conjunct says of the table ``alias``."""
    return _found(condition, _Place(alias, scope, resolver))


def _found(node: Any, place: _Place) -> Found:
    while isinstance(node, exp.Paren):
        node = node.this
    if not place.concerns(node):
        return Found()
    if isinstance(node, exp.Or):
        return _either(node, place)
    if isinstance(node, exp.Escape):
        node = node.this
    for kind, rule in _RULES:
        if isinstance(node, kind):
            return rule(node, place)
    term = place.term(node)
    if term is not None and term.column is not None:
        return _one(term, "true", Value("constant"), node, place)
    return Found()


def _either(node: exp.Or, place: _Place) -> Found:
    branches = []
    for branch in _parts(node, exp.Or):
        found = [_found(part, place) for part in conjuncts(branch)]
        branches.append(tuple(dict.fromkeys(one for part in found for one in part.predicates)))
    common = tuple(one for one in branches[0] if all(one in branch for branch in branches[1:]))
    rest = tuple(tuple(one for one in branch if one not in common) for branch in branches)
    same = {branch[0].term for branch in rest if len(branch) == 1 and branch[0].operator in ("eq", "in")}
    if len(same) == 1 and all(len(branch) == 1 and branch[0].operator in ("eq", "in") for branch in rest):
        return Found((*common, Predicate(same.pop(), "in", Value("other"), place.sql(node))))
    return Found(common, (rest,) if all(rest) else ())


def _one(
    term: Term, operator: Operator, value: Value, node: exp.Expression, place: _Place, *, insensitive: bool = False
) -> Found:
    constant = value.kind == "constant" and operator in ("eq", "in", "null", "true", "false", "notnull")
    return Found(
        (Predicate(term, operator, value, _sql(term, operator, value, node, place) if constant else "", insensitive),)
    )


def _sql(term: Term, operator: Operator, value: Value, node: exp.Expression, place: _Place) -> str:
    """A predicate on constants as the WHERE clause of a partial index."""
    if operator == "eq":
        return f"{term.sql} = {value.sql}"
    if operator == "in":
        return f"{term.sql} IN {value.sql}"
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Boolean):  # which does not imply the bare column
        return f"{term.sql} IS {'TRUE' if operator == 'true' else 'FALSE'}"
    return {"null": f"{term.sql} IS NULL", "notnull": f"{term.sql} IS NOT NULL", "true": term.sql}.get(
        operator, f"NOT {term.sql}"
    )


def _comparison(node: Any, place: _Place) -> Found:
    left, right = node.this, node.expression
    if isinstance(left, exp.Tuple) and isinstance(right, exp.Tuple):
        return _rows(left, right, place)
    if isinstance(right, exp.Any | exp.All) or (isinstance(right, exp.Anonymous) and right.name.upper() == "ALL"):
        return _any(node, left, right, place)
    if not place.concerns(left):
        left, right = right, left
    elif place.concerns(right):
        return Found(opaque=((place.sql(node), "it compares columns of one table with each other"),))
    term = place.term(left)
    if term is None:
        return _opaque(left, node, place)
    value = value_of(right, place.scope, place.resolver)
    if isinstance(node, exp.EQ | exp.NullSafeEQ):
        if value.sql.upper() in ("TRUE", "FALSE") and value.kind == "constant":
            return _one(term, "true" if value.sql.upper() == "TRUE" else "false", value, node, place)
        return _one(term, "eq", value, node, place)
    return _one(term, "range", value, node, place)


def _rows(left: exp.Tuple, right: exp.Tuple, place: _Place) -> Found:
    if not place.concerns(left):
        left, right = right, left
    terms = [place.term(one) for one in left.expressions]
    known = tuple(term for term in terms if term is not None)
    if len(known) != len(terms) or place.concerns(right):
        return Found()
    return Found(
        (
            Predicate(
                known[0], "row_range", value_of(right.expressions[0], place.scope, place.resolver), "", False, known[1:]
            ),
        )
    )


def _any(node: Any, left: Any, right: Any, place: _Place) -> Found:
    if isinstance(node, exp.EQ) and isinstance(right, exp.Any):
        if place.concerns(right) and not place.concerns(left):
            return Found(
                opaque=(
                    (place.sql(node), "no index serves = ANY(column): write column @> ARRAY[value], with a GIN index"),
                )
            )
        term = place.term(left)
        if term is not None and not place.concerns(right):
            value = value_of(right.this, place.scope, place.resolver)
            return _one(term, "in", _one_of([value], place.resolver) if value.binds else value, node, place)
    return Found()


def _in(node: exp.In, place: _Place) -> Found:
    term = place.term(node.this)
    if term is None:
        if isinstance(node.this, exp.Tuple):
            terms = [place.term(one) for one in node.this.expressions]
            return Found(tuple(Predicate(one, "in") for one in terms if one is not None))
        return _opaque(node.this, node, place)
    if node.args.get("query") is not None:
        return _one(term, "eq", Value("join"), node, place)
    values = [value_of(one, place.scope, place.resolver) for one in node.expressions]
    if any(place.concerns(one) for one in node.expressions):
        return Found()
    if len(values) == 1 and not isinstance(node.expressions[0], exp.Placeholder):
        return _one(term, "eq", values[0], node, place)
    if values and all(one.kind == "constant" for one in values):
        text = f"({', '.join(dict.fromkeys(one.sql for one in values))})"
        return _one(term, "in", Value("constant", text), node, place)
    return _one(term, "in", _one_of(values, place.resolver), node, place)


def _one_of(values: list[Value], resolver: Resolver) -> Value:
    """A list with binds is a constant where the samples, all together, hold few values."""
    binds = tuple(bind for one in values for bind in one.binds)
    seen: set[str] = set()
    for one in values:
        samples = [resolver.samples.get(bind, ()) for bind in one.binds]
        if one.kind not in ("constant", "bind") or (one.kind == "bind" and not (len(samples) == 1 and samples[0])):
            return Value("bind" if binds else "other", "", binds)
        if one.kind == "constant" and not one.binds:
            seen.add(one.sql)
        for value in samples[0] if samples else ():
            seen.update(map(literal, value if isinstance(value, list | tuple) else (value,)))
    if 0 < len(seen) <= MOST_LISTED:
        return Value("constant", f"({', '.join(sorted(seen))})", binds)
    return Value("bind" if binds else "other", "", binds)


def _between(node: exp.Between, place: _Place) -> Found:
    term = place.term(node.this)
    if term is None:
        return _opaque(node.this, node, place)
    low = value_of(node.args["low"], place.scope, place.resolver)
    high = value_of(node.args["high"], place.scope, place.resolver)
    kind = "constant" if low.kind == high.kind == "constant" else "bind" if low.binds or high.binds else "other"
    return _one(term, "range", Value(kind, "", low.binds + high.binds), node, place)  # type: ignore[arg-type]


def _is(node: exp.Is, place: _Place) -> Found:
    term = place.term(node.this)
    if term is None:
        return Found()
    if isinstance(node.expression, exp.Null):
        return _one(term, "null", Value("constant"), node, place)
    if isinstance(node.expression, exp.Boolean):
        return _one(term, "true" if node.expression.this else "false", Value("constant"), node, place)
    return Found()


def _not(node: exp.Not, place: _Place) -> Found:
    inner = node.this
    while isinstance(inner, exp.Paren):
        inner = inner.this
    if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
        term = place.term(inner.this)
        return _one(term, "notnull", Value("constant"), node, place) if term is not None else Found()
    if isinstance(inner, exp.Column):
        term = place.term(inner)
        return _one(term, "false", Value("constant"), node, place) if term is not None else Found()
    return Found()


def _like(node: Any, place: _Place) -> Found:
    insensitive = isinstance(node, exp.ILike | exp.RegexpILike)
    term = place.term(node.this)
    if term is None:
        return _opaque(node.this, node, place) if place.concerns(node.this) else Found()
    value = value_of(node.expression, place.scope, place.resolver)
    if isinstance(node, exp.Like | exp.ILike):
        prefix = _begins_with_text(node.expression, place.resolver)
        return _one(term, "prefix" if prefix else "infix", value, node, place, insensitive=insensitive)
    return _one(term, "infix", value, node, place, insensitive=insensitive)


def _begins_with_text(pattern: Any, resolver: Resolver) -> bool:
    while isinstance(pattern, exp.DPipe | exp.Paren | exp.Cast | exp.Lower | exp.Upper):
        pattern = pattern.this
    if isinstance(pattern, exp.Concat):
        pattern = pattern.expressions[0]
    if isinstance(pattern, exp.Literal):
        return not str(pattern.this).startswith(("%", "_")) and str(pattern.this) != ""
    if isinstance(pattern, exp.Placeholder):
        seen = [str(value) for value in resolver.samples.get(bind_number(pattern), ())]
        return all(not value.startswith(("%", "_")) for value in seen)
    return False


def _containment(operator: Operator) -> Callable[[Any, _Place], Found]:
    def rule(node: Any, place: _Place) -> Found:
        left, right = node.this, node.expression
        if isinstance(node, exp.ArrayContainedBy) and place.concerns(left):
            return Found()  # column <@ value: GIN serves it badly
        if not place.concerns(left):
            left, right = right, left
        term = place.term(left)
        if term is None or place.concerns(right):
            return Found()
        return _one(term, operator, value_of(right, place.scope, place.resolver), node, place)

    return rule


def _match(node: exp.MatchAgainst, place: _Place) -> Found:
    sides = [node.this, *node.expressions]
    if len(sides) != 2:
        return Found()
    left, right = sides if place.concerns(sides[0]) else reversed(sides)
    term = place.term(left)
    if term is None:
        return _opaque(left, node, place)
    return _one(term, "match", value_of(right, place.scope, place.resolver), node, place)


def _opaque(term: Any, node: exp.Expression, place: _Place) -> Found:
    table = place.resolver.tables(place.scope)[place.alias]
    if table is None or not isinstance(term, exp.Expression) or isinstance(term, exp.Subquery):
        return Found()
    if place.resolver.aliases(term, place.scope) != {place.alias}:
        return Found()
    return Found(opaque=((place.sql(node), why_not_immutable(term, table) or "no index holds it"),))


_RULES: tuple[tuple[Any, Callable[[Any, _Place], Found]], ...] = (
    ((exp.EQ, exp.NullSafeEQ, exp.LT, exp.GT, exp.LTE, exp.GTE), _comparison),
    (exp.In, _in),
    (exp.Between, _between),
    (exp.Is, _is),
    (exp.Not, _not),
    ((exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike), _like),
    ((exp.ArrayContainsAll, exp.ArrayContainedBy), _containment("contains")),
    (exp.ArrayOverlaps, _containment("overlaps")),
    ((exp.JSONBContainsTopKey, exp.JSONBContainsAnyTopKeys, exp.JSONBContainsAllTopKeys), _containment("has_key")),
    (exp.MatchAgainst, _match),
)


def value_of(node: Any, scope: Scope, resolver: Resolver) -> Value:
    """What kind of value an expression is."""
    if not isinstance(node, exp.Expression):
        return Value("other")
    columns = list(node.find_all(exp.Column))
    if columns:
        return Value("join")
    if node.find(exp.Query):
        return Value("other")
    binds = tuple(bind_number(one) for one in node.find_all(exp.Placeholder))
    inner = node
    while isinstance(inner, exp.Cast | exp.Paren):
        inner = inner.this
    if len(binds) == 1 and isinstance(inner, exp.Placeholder) and binds[0] in resolver.constants:
        return Value("constant", literal(resolver.constants[binds[0]]), binds)
    if binds:
        return Value("bind", "", binds)
    if isinstance(inner, exp.Literal | exp.Boolean | exp.Null) or (
        isinstance(inner, exp.Neg) and isinstance(inner.this, exp.Literal)
    ):
        return Value("constant", node.sql(resolver.dialect))
    return Value("other")


def bind_number(node: exp.Placeholder) -> int:
    """The number, from 0, of a bind that was written as ``:b1``."""
    name = str(node.this or "")
    return int(name[1:]) - 1 if name[:1] == "b" and name[1:].isdigit() else -1


def literal(value: Any) -> str:
    """A value as an SQL literal that PostgreSQL, MySQL and SQLite read alike."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"
