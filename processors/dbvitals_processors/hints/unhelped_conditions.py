"""Conditions that no index serves as they stand, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sqlglot import exp

from dbvitals_processors.hints.amounts import percent
from dbvitals_processors.hints.model import Column, Table
from dbvitals_processors.hints.places import Asked, Place, disjuncts, share
from dbvitals_processors.hints.predicates import bind_number
from dbvitals_processors.hints.terms import why_not_immutable

LEAST_ROWS = 10_000
SELECTIVE = 0.25
"""Share of the rows below which what a negation leaves is worth an index."""

Found = Iterator[tuple[str, str]]

_COMPARISONS = (exp.EQ, exp.NullSafeEQ, exp.LT, exp.GT, exp.LTE, exp.GTE)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div)
_WHOLE_TIMES = (exp.Date, exp.TsOrDsToDate, exp.TimestampTrunc, exp.TimeToStr, exp.Year)
_PATTERNS = (exp.Like, exp.ILike, exp.RegexpLike, exp.RegexpILike, exp.SimilarTo)
_WHOLE_NUMBERS = ("smallint", "integer", "bigint", "int", "tinyint", "mediumint")
_TEXTS = ("text", "char", "varchar", "tinytext", "mediumtext", "longtext", "enum")


def functions(question: Asked) -> Found:
    """A function or arithmetic on a column, where no index can hold its value."""
    for place, condition in question.conditions(LEAST_ROWS):
        for side in _sides(condition):
            table, columns = place.of(side), place.columns(side)
            if table is None or not columns or isinstance(side, exp.Column | exp.Subquery | exp.Tuple):
                continue
            if why_not_immutable(side, table) is not None and not side.find(exp.Query):
                yield _instead(side, _name(table, columns), columns)


def _instead(side: exp.Expression, name: str, columns: list[Column]) -> tuple[str, str]:
    time = all(column.type.startswith(("timestamp", "date")) for column in columns)
    inner: Any = side
    while isinstance(inner, exp.Paren):
        inner = inner.this
    if time and _truncates(inner):
        return "function on a column", f"Compare {name} itself with a range, from the first moment to before the next"
    if time and isinstance(inner, exp.Extract):
        return (
            "function on a column",
            f"Take the part of {name} at a fixed time zone (AT TIME ZONE …), and keep it in a column that has an index",
        )
    if isinstance(inner, _ARITHMETIC) and len(columns) == 1:
        return "arithmetic on a column", f"Move the arithmetic to the other side, and compare {name} itself"
    if inner.find(exp.Placeholder) and not inner.find(exp.Anonymous):
        return "function on a column", f"Write what is bound beside {name} into the text: no index holds it with a bind"
    calls = [one.name.lower() for one in inner.find_all(exp.Anonymous)]
    if "to_tsvector" in calls:
        return (
            "function on a column",
            f"Name the configuration, to_tsvector('…', {name}), in the query and in a GIN index on the same",
        )
    if calls:
        return (
            "function on a column",
            f"Declare {calls[0]}() IMMUTABLE, if its value depends on its arguments alone, and index it on {name}; "
            "or keep its value in a column that has an index",
        )
    return (
        "function on a column",
        f"Compare {name} itself, or keep the expression's value in a column that has an index",
    )


def _truncates(node: Any) -> bool:
    if isinstance(node, exp.Extract):
        return str(node.this).upper() in ("YEAR", "EPOCH")
    if isinstance(node, exp.Cast):
        return node.to.this in (exp.DType.DATE, exp.DType.TIMESTAMP)
    return isinstance(node, _WHOLE_TIMES)


def casts(question: Asked) -> Found:
    """A cast of a column that has an index."""
    for place in question.places:
        for condition in place.conditions:
            for side in _sides(condition):
                table = place.of(side)
                if not isinstance(side, exp.Cast) or not isinstance(side.this, exp.Column) or table is None:
                    continue
                columns = place.columns(side)
                indexed = any(one.valid and one.keys and one.keys[0].column == columns[0].name for one in table.indexes)
                if not indexed or table.rows < LEAST_ROWS or why_not_immutable(side, table) is not None:
                    continue
                if not place.narrowed_beside(condition):
                    name = _name(table, columns)
                    yield "cast of a column", f"Cast the other side, not {name}: its index holds it as it is"


def implicit_casts(question: Asked) -> Found:
    """A value of another type than the column's, for which the database converts the column of each row."""
    mysql = question.catalogue.system in ("mysql", "mariadb")
    for place in question.places:
        for condition in place.conditions:
            for column_node, value in _compared(condition):
                table, columns = place.of(column_node), place.columns(column_node)
                if table is None or table.rows < LEAST_ROWS:
                    continue
                kinds = _kinds(value, question)
                name = _name(table, columns)
                if kinds == {"broken"} and columns[0].type.startswith(_WHOLE_NUMBERS) and not mysql:
                    yield "implicit cast", f"Bind whole numbers to {name}: a float or decimal converts it in each row"
                if mysql and kinds and kinds <= {"whole", "broken"} and columns[0].type.startswith(_TEXTS):
                    yield "implicit cast", f"Compare {name} with text, in quotes: a number converts it in each row"


def _compared(condition: exp.Expression) -> Iterator[tuple[exp.Column, Any]]:
    if isinstance(condition, _COMPARISONS):
        for column, value in (
            (condition.this, condition.expression),
            (condition.expression, condition.this),
        ):
            if isinstance(column, exp.Column):
                yield column, value
    elif isinstance(condition, exp.In) and isinstance(condition.this, exp.Column):
        for value in condition.expressions:
            yield condition.this, value


def _kinds(value: Any, question: Asked) -> set[str]:
    if isinstance(value, exp.Literal) and not value.is_string:
        return {"whole" if str(value.this).isdigit() else "broken"}
    if isinstance(value, exp.Placeholder):
        seen = question.seen.get(bind_number(value), ())
        return {
            "whole" if isinstance(one, int) else "broken" if isinstance(one, float | Decimal) else "text"
            for one in seen
            if one is not None and not isinstance(one, bool)
        }
    return set()


def patterns(question: Asked) -> Found:
    """LIKE with a wildcard in front, ILIKE, regular expressions: what trigrams serve."""
    for place, condition in question.conditions(LEAST_ROWS):
        for node in disjuncts(condition):
            table = place.of(node.this) if isinstance(node, _PATTERNS) else None
            if table is None or node.args.get("negate"):
                continue
            alias = next(alias for alias, one in place.tables.items() if one is table)
            if not any(one.operator == "prefix" and not one.insensitive for one in place.predicates(node, alias)):
                yield "pattern", _trigrams(_name(table, place.columns(node.this)), question)


def _trigrams(name: str, question: Asked) -> str:
    catalogue = question.catalogue
    if catalogue.system == "sqlite":
        return f"Search {name} through an FTS5 table with the tokenizer trigram: no other index finds text inside"
    if catalogue.system != "postgresql":
        return f"Search {name} by MATCH … AGAINST, with a FULLTEXT index (ngram): no other index finds text inside"
    if "pg_trgm" in catalogue.extensions:
        return f"Ask for three letters of {name} at least: trigrams find nothing by fewer, and little by common ones"
    if "pg_trgm" in catalogue.available_extensions:
        return (
            f"Let trigrams find text inside {name}, then advise again, for an index on them: CREATE EXTENSION pg_trgm"
        )
    return f"Install pg_trgm (of PostgreSQL's contrib) on the server: its trigrams find text inside {name}"


def any_column(question: Asked) -> Found:
    """``value = ANY (column)``."""
    for place, node in question.conditions(LEAST_ROWS):
        if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
            table = place.of(node.expression)
            if table is not None and place.of(node.this) is not table:
                name = _name(table, place.columns(node.expression))
                yield (
                    "= ANY (column)",
                    f"Write {name} @> ARRAY[value], which a GIN index serves, for value = ANY ({name})",
                )


def negations(question: Asked) -> Found:
    """``<>`` and NOT IN, where few rows are left: an index finds what is wanted, not what is not."""
    for place, node in question.conditions(LEAST_ROWS):
        unwanted = _unwanted(node)
        table = place.of(unwanted.this) if unwanted is not None else None
        if unwanted is None or table is None or not isinstance(unwanted.this, exp.Column):
            continue
        column = place.columns(unwanted.this)[0]
        left = _left(unwanted, column, table, place)
        if left is not None and left <= SELECTIVE:
            words = "<>" if isinstance(node, exp.NEQ) else "NOT IN"
            yield (
                "negation",
                f"Name what is wanted of {_name(table, [column])} (IN …), or build a partial index with the condition: "
                f"{words} leaves {percent(left)} of the rows",
            )


def _unwanted(node: exp.Expression) -> exp.Expression | None:
    """What is excluded, as what would ask for it."""
    if isinstance(node, exp.NEQ):
        return exp.EQ(this=node.this, expression=node.expression)
    inner = node.this if isinstance(node, exp.Not) else None
    while isinstance(inner, exp.Paren):
        inner = inner.this
    return inner if isinstance(inner, exp.EQ | exp.In) and inner.args.get("query") is None else None


def _left(unwanted: exp.Expression, column: Column, table: Table, place: Place) -> float | None:
    values = unwanted.expressions if isinstance(unwanted, exp.In) else [unwanted.expression]
    total = column.null_share
    for value in values:
        alias = next(alias for alias, one in place.tables.items() if one is table)
        found = place.predicates(exp.EQ(this=unwanted.this.copy(), expression=value.copy()), alias)
        known = share(found[0], table, place.resolver) if found else None
        if known is None or not column.common:
            return None
        total += known
    return max(0.0, 1 - total)


def _sides(condition: exp.Expression) -> Iterator[exp.Expression]:
    if isinstance(condition, _COMPARISONS):
        yield condition.this
        if not isinstance(condition.expression, exp.Any | exp.All):
            yield condition.expression
    elif isinstance(condition, exp.Between | exp.In | exp.MatchAgainst | exp.Like | exp.ILike):
        yield condition.this
        yield from (one for one in condition.expressions if isinstance(condition, exp.MatchAgainst))


def _name(table: Table, columns: list[Column]) -> str:
    return ", ".join(f"{table.name.name}.{column.name}" for column in columns)


RULES = (functions, casts, implicit_casts, patterns, any_column, negations)
