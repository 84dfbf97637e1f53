"""Which expressions of a query an index could hold, and as what SQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlglot import exp
from sqlglot.optimizer.scope import Scope

from dbvitals_processors.hints.model import Catalogue, Table, quoted
from dbvitals_processors.hints.reading import Term

ELSEWHERE = "…"
"""Stands for every table that is not one of the scope's own: derived ones, those of an outer query."""

_IMMUTABLE = (
    exp.Column, exp.Identifier, exp.Literal, exp.Paren, exp.Lower, exp.Upper, exp.Trim, exp.Length, exp.Coalesce,
    exp.DPipe, exp.MD5, exp.Abs, exp.Substring, exp.Left, exp.Right, exp.Round, exp.Floor, exp.Ceil, exp.Add, exp.Sub,
    exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.Cast, exp.DataType, exp.Date, exp.Extract, exp.TimestampTrunc, exp.Var,
    exp.JSONExtract, exp.JSONExtractScalar, exp.JSONBExtract, exp.JSONBExtractScalar, exp.JSONPath, exp.JSONPathRoot,
    exp.JSONPathKey, exp.JSONPathSubscript, exp.Boolean, exp.DataTypeParam, exp.TsOrDsToDate,
)  # fmt: skip
_OF_TIME = (exp.Cast, exp.Date, exp.Extract, exp.TimestampTrunc, exp.TsOrDsToDate)
_CALLS = (exp.Lower, exp.Upper, exp.Coalesce, exp.MD5, exp.Abs, exp.Length, exp.Anonymous, exp.Trim, exp.TimestampTrunc)


class Resolver:
    """Finds the table of a column, scope by scope.

    Args:
        constants: values of binds, by number, that are nearly always the same.
        samples: values that were seen of binds, by number.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        dialect: str,
        constants: Mapping[int, Any],
        samples: Mapping[int, Sequence[Any]],
    ) -> None:
        self.catalogue = catalogue
        self.dialect = dialect
        self.constants = constants
        self.samples = samples
        self._tables: dict[int, dict[str, Table | None]] = {}

    def tables(self, scope: Scope) -> dict[str, Table | None]:
        """What a scope selects from: catalogue tables, or ``None`` for what is derived or unknown."""
        found = self._tables.get(id(scope))
        if found is None:
            found = self._tables[id(scope)] = {
                alias: self.catalogue.find(source.name, source.db) if isinstance(source, exp.Table) else None
                for alias, (_, source) in scope.selected_sources.items()
            }
        return found

    def resolve(self, column: exp.Column, scope: Scope) -> tuple[str, str] | None:
        """Alias and column, if it is of one of the scope's own catalogue tables."""
        tables = self.tables(scope)
        name = self._folded(column.this)
        if column.table:
            place = self._folded(column.args["table"])
            place = place if place in tables else column.table
            table = tables.get(place)
            return (place, name) if table is not None and name in table.columns else None
        for alias, table in tables.items():
            if table is not None and name in table.columns:
                return alias, name
        return None

    def _folded(self, identifier: Any) -> str:
        """An identifier as the database reads it: PostgreSQL folds what is not quoted."""
        name = str(identifier.name if isinstance(identifier, exp.Expression) else identifier)
        quoted_here = isinstance(identifier, exp.Identifier) and bool(identifier.args.get("quoted"))
        return name.lower() if self.dialect == "postgres" and not quoted_here else name

    def aliases(self, node: Any, scope: Scope) -> frozenset[str]:
        """The tables whose columns are in an expression; :data:`ELSEWHERE` for others'."""
        if not isinstance(node, exp.Expression):
            return frozenset()
        found = (self.resolve(column, scope) for column in node.find_all(exp.Column))
        return frozenset(ELSEWHERE if one is None else one[0] for one in found)

    def using(self, name: str, scope: Scope) -> Iterator[exp.Expression]:
        """What ``USING (name)`` demands."""
        sides = [alias for alias, table in self.tables(scope).items() if table is None or name in table.columns]
        for first, second in itertools.pairwise(sides):
            yield exp.EQ(this=exp.column(name, table=first), expression=exp.column(name, table=second))

    def sql(self, node: exp.Expression) -> str:
        """An expression over one table as SQL, without the table's name."""
        copy = node.copy()
        for column in list(copy.find_all(exp.Column)):
            column.set("table", None)
            column.set("db", None)
            if self.dialect == "postgres" and isinstance(column.this, exp.Identifier):
                column.this.set("this", self._folded(column.this))
                column.this.set("quoted", quoted(column.name) != column.name)
        for truncation in copy.find_all(exp.TimestampTrunc):  # its unit is text, compared letter by letter
            unit = truncation.args["unit"]
            unit.set("this", str(unit.this).lower())
        text: str = copy.sql(self.dialect, normalize_functions="lower")
        if list(copy.find_all(exp.TimestampTrunc)):
            for unit_name in _UNITS:
                text = text.replace(f"'{unit_name.upper()}'", f"'{unit_name}'")
        return text


_UNITS = ("microseconds", "milliseconds", "second", "minute", "hour", "day", "week", "month", "quarter", "year")


def term_of(node: Any, alias: str, scope: Scope, resolver: Resolver) -> Term | None:
    """The term that an expression over one table is; ``None`` where no index can hold it."""
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.Column):
        where = resolver.resolve(node, scope)
        if where is None or where[0] != alias:
            return None
        return Term(quoted(where[1]), where[1], frozenset({where[1]}))
    if not isinstance(node, exp.Expression) or resolver.aliases(node, scope) != {alias}:
        return None
    table = resolver.tables(scope)[alias]
    if table is None or why_not_immutable(node, table) is not None:
        return None
    places = (resolver.resolve(column, scope) for column in node.find_all(exp.Column))
    columns = frozenset(place[1] for place in places if place is not None)
    text = resolver.sql(node)
    return Term(text if isinstance(node, _CALLS) else f"({text})", None, columns)


def why_not_immutable(node: exp.Expression, table: Table) -> str | None:
    """Why no index can hold an expression; ``None`` where one can."""
    for part in node.walk():
        if isinstance(part, exp.Placeholder | exp.Parameter):
            return "it holds a bind"
        if isinstance(part, exp.Anonymous):
            arguments = part.expressions
            fixed = len(arguments) > 1 and isinstance(_bare(arguments[0]), exp.Literal)
            if part.name.lower() == "to_tsvector" and not fixed:
                return "to_tsvector() without a fixed configuration depends on a setting"
            if part.name.lower() not in ("to_tsvector", "immutable_unaccent"):
                return f"{part.name.lower()}() is not known to be immutable"
        elif not isinstance(part, _IMMUTABLE):
            return f"{part.key} is not known to be immutable"
        if isinstance(part, _OF_TIME) and _depends_on_zone(part, table):
            return "its value depends on the session's time zone"
    return None


def _depends_on_zone(node: exp.Expression, table: Table) -> bool:
    to_text_or_time = not isinstance(node, exp.Cast) or node.to.this in _TIME_OR_TEXT
    types = [table.columns[c.name].type for c in _columns(node) if c.name in table.columns]
    if any(one.startswith("timestamp with time zone") for one in types):
        return to_text_or_time
    if isinstance(node, exp.Cast) and node.to.this in _TIME:
        return not all(one.startswith(("timestamp", "date")) for one in types)  # text → date obeys DateStyle
    return False


def _bare(node: exp.Expression) -> exp.Expression:
    while isinstance(node, exp.Cast | exp.Paren):
        node = node.this
    return node


def _columns(node: exp.Expression) -> Iterable[exp.Column]:
    return node.find_all(exp.Column)


_TIME = frozenset((exp.DType.DATE, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ, exp.DType.TIME, exp.DType.INTERVAL))
_TIME_OR_TEXT = _TIME | {exp.DType.TEXT, exp.DType.VARCHAR, exp.DType.CHAR}
