"""SQL text → :class:`Reading`, by sqlglot's syntax tree and scopes."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from sqlglot import Dialect, Token, TokenType, exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.optimizer.scope import Scope, traverse_scope

from dbvitals_processors.hints.binds import split
from dbvitals_processors.hints.model import Catalogue, Table, Unplannable
from dbvitals_processors.hints.predicates import conjuncts, predicates_of
from dbvitals_processors.hints.reading import Access, Order, Predicate, Reading, Term
from dbvitals_processors.hints.terms import ELSEWHERE, Resolver, term_of

DIALECTS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
MOST_CHARACTERS = 200_000
MOST_TOKENS = 40_000
MOST_NESTED = 8
"""Calls in calls that have the name of a type; arrays have six dimensions at most."""
_LEAST_NODES, _NODES_A_TOKEN = 2_000, 20

logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of statements that it keeps as they are


def parse(sql: str, system: str) -> exp.Expression:
    """The syntax tree of one statement, its binds as ``:b1``, ``:b2`` …; what is negated is below a NOT.

    Raises:
        Unplannable: no parser reads it, or it is more than one statement.
    """
    if len(sql) > MOST_CHARACTERS:
        raise Unplannable(f"too long to be read ({len(sql):,} characters)")
    text = split(sql, system).text(" :b{} ")
    try:
        found = _parsed(text, Dialect.get_or_raise(DIALECTS[system]))
    except Unplannable:
        raise
    except RecursionError:
        raise Unplannable("the SQL is nested too deeply to be read") from None
    except Exception as error:  # the parser has faults of its own: whatever it raises means that it cannot read this
        raise Unplannable(f"the SQL cannot be parsed{_why(error)}") from None
    found = [one for one in found if isinstance(one, exp.Expression) and not isinstance(one, exp.Semicolon)]
    if len(found) != 1:
        raise Unplannable("no statement" if not found else f"{len(found)} statements in one text")
    return _plain(cast("exp.Expression", found[0]))


def _parsed(text: str, dialect: Dialect) -> Sequence[Any]:
    tokens = dialect.tokenize(text)
    if len(tokens) > MOST_TOKENS:
        raise Unplannable(f"too long to be read ({len(tokens):,} words)")
    parser = dialect.parser(max_nodes=_LEAST_NODES + _NODES_A_TOKEN * len(tokens))
    if _deepest(tokens, parser.TYPE_TOKENS) > MOST_NESTED:
        raise RecursionError
    return parser.parse(tokens, text)


def _deepest(tokens: Sequence[Token], types: Container[TokenType]) -> int:
    """How deeply brackets behind names of types are nested: sqlglot reads them twice a level, as type and as call."""
    around: list[bool] = []
    depth = most = 0
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.token_type in _OPENING:
            around.append(before is not None and before.token_type in types)
            depth += around[-1]
            most = max(most, depth)
        elif token.token_type in _CLOSING and around:
            depth -= around.pop()
    return most


_OPENING = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_CLOSING = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)


def _why(error: Exception) -> str:
    """What a parser's error says, if that is no part of the SQL: it may be a value."""
    if isinstance(error, TokenError):
        return ": a quote or a comment does not end"
    for one in error.errors if isinstance(error, ParseError) else ():
        match = _SAID.match(str(one.get("description") or ""))
        return f": {match.group() if match is not None else 'something unexpected'} in line {one.get('line')}"
    return ""


_SAID = re.compile(r"Expect(?:ing|ed) (?:[A-Z()\[\]{}>,]+ ?)+(?=\.|$)")


def _plain(tree: exp.Expression) -> exp.Expression:
    """``x IS NOT NULL`` as NOT over ``x IS NULL``, which sqlglot says in two ways; without locks, for it takes the name
    in ``FOR UPDATE OF t`` for another table.
    """
    for node in list(tree.find_all(exp.Is, exp.Like, exp.ILike)):
        if node.args.get("negate"):
            node.set("negate", None)
            whole = node.parent if isinstance(node.parent, exp.Escape) else node
            below = exp.Not()
            whole.replace(below)
            below.set("this", whole)
    for lock in list(tree.find_all(exp.Lock)):
        lock.pop()
    return tree


def read(
    tree: exp.Expression,
    catalogue: Catalogue,
    constants: Mapping[int, Any] | None = None,
    samples: Mapping[int, Sequence[Any]] | None = None,
) -> Reading:
    """What a statement asks of the catalogue's tables.

    Args:
        constants: values of binds, by number, that are nearly always the same.
        samples: values that were seen of binds, by number.

    Raises:
        Unplannable: its parts are ambiguous, or nested too deeply.
    """
    reader = _Reader(Resolver(catalogue, DIALECTS[catalogue.system], constants or {}, samples or {}))
    try:
        return reader.read(tree)
    except RecursionError:
        raise Unplannable("the SQL is nested too deeply to be read") from None
    except SqlglotError as error:  # of scopes, which name aliases and tables, never values
        raise Unplannable(f"the SQL's scopes cannot be told apart: {str(error).partition(chr(10))[0]}") from None


class _Reader:
    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._unknown: list[str] = []

    def read(self, tree: exp.Expression) -> Reading:
        kind = {exp.Insert: "insert", exp.Update: "update", exp.Delete: "delete"}.get(type(tree), "")
        if not kind:
            kind = "select" if isinstance(tree, exp.Query) else "other"
        written, changed, rows = None, frozenset[str](), 1
        query: exp.Expression | None = tree
        if kind in ("insert", "update", "delete"):
            target = tree.find(exp.Table)
            written = self._table(target) if target is not None else None
            query = as_query(tree)
            if isinstance(tree, exp.Update):
                changed = frozenset(
                    c.name for e in tree.expressions if isinstance(e, exp.EQ) for c in [e.this] if c.name
                )
            if isinstance(tree.expression, exp.Values):
                rows = len(tree.expression.expressions)
        accesses: tuple[Access, ...] = ()
        if query is not None and kind != "other":
            accesses = tuple(self._accesses(query))
        offset = tree.args.get("offset")
        return Reading(
            kind, accesses, written, changed, rows, offset.expression if offset is not None else None,
            tuple(dict.fromkeys(self._unknown)),
        )  # fmt: skip

    def _table(self, node: exp.Table) -> Table | None:
        return self._resolver.catalogue.find(node.name, node.db)

    def _accesses(self, query: exp.Expression) -> Iterator[Access]:
        for scope in traverse_scope(query):
            if isinstance(scope.expression, exp.Select):
                yield from self._of_scope(scope, self._resolver)

    def _of_scope(self, scope: Scope, resolver: Resolver) -> Iterator[Access]:
        select = scope.expression
        assert isinstance(select, exp.Select)
        tables: dict[str, Table] = {}
        for alias, (_, source) in scope.selected_sources.items():
            if isinstance(source, exp.Table):
                table = self._table(source)
                if table is None:
                    self._unknown.append(source.name)
                elif table.kind != "view":
                    tables[alias] = table
        if not tables:
            return
        found: dict[str, list[Predicate]] = {alias: [] for alias in tables}
        alternatives: dict[str, list[tuple[tuple[Predicate, ...], ...]]] = {alias: [] for alias in tables}
        opaque: dict[str, list[tuple[str, str]]] = {alias: [] for alias in tables}
        for condition in _conditions(select, resolver, scope):
            for alias in sorted(resolver.aliases(condition, scope) & tables.keys()):
                what = predicates_of(condition, alias, scope, resolver)
                found[alias] += what.predicates
                alternatives[alias] += what.alternatives
                opaque[alias] += what.opaque
        needed = self._needed(scope, resolver, tables)
        order, groups, extremes = self._order(select, scope, resolver), self._groups(select, scope, resolver), {}
        if not select.args.get("group") and len(tables) == 1:
            extremes = self._extremes(select, scope, resolver)
        limited = bool(select.args.get("limit") or select.args.get("fetch")) or _inside_exists(scope)
        aggregated = bool(groups) or any(not isinstance(e.parent, exp.Window) for e in select.find_all(exp.AggFunc))
        for alias, table in tables.items():
            yield Access(
                table,
                alias,
                tuple(dict.fromkeys(found[alias])),
                tuple(alternatives[alias]),
                tuple(order.get(alias, ())),
                limited and not aggregated,
                tuple(groups.get(alias, ())),
                tuple(extremes.get(alias, ())),
                needed[alias],
                tuple(opaque[alias]),
            )

    def _needed(
        self, scope: Scope, resolver: Resolver, tables: Mapping[str, Table]
    ) -> dict[str, frozenset[str] | None]:
        needed: dict[str, set[str] | None] = {alias: set() for alias in tables}
        for star in scope.expression.find_all(exp.Star):
            if isinstance(star.parent, exp.Select) and star.parent is scope.expression:
                needed = dict.fromkeys(tables)
            elif isinstance(star.parent, exp.Column) and star.parent.table in needed:
                needed[star.parent.table] = None
        for column in scope.expression.find_all(exp.Column):
            where = resolver.resolve(column, scope)
            if where is not None and where[0] in needed:
                columns = needed[where[0]]
                if columns is not None:
                    columns.add(where[1])
        return {alias: None if columns is None else frozenset(columns) for alias, columns in needed.items()}

    def _order(self, select: exp.Select, scope: Scope, resolver: Resolver) -> dict[str, list[Order]]:
        order = select.args.get("order")
        if order is None:
            return {}
        found: list[tuple[str, Order]] = []
        for one in order.expressions:
            term = _term(_meant(one.this, select), scope, resolver)
            if term is None:
                break  # what comes before it can still be had sorted
            descending = bool(one.args.get("desc"))
            nulls = one.args.get("nulls_first") if "NULLS" in one.sql(resolver.dialect) else None
            found.append((term[0], Order(term[1], descending, nulls)))
        aliases = {alias for alias, _ in found}
        if len(aliases) != 1:
            first = found[0][0] if found else None
            return {first: [one for alias, one in found[:1]]} if first is not None else {}
        return {aliases.pop(): [one for _, one in found]}

    def _groups(self, select: exp.Select, scope: Scope, resolver: Resolver) -> dict[str, list[Term]]:
        group = select.args.get("group")
        expressions = list(group.expressions) if group is not None else []
        if not expressions and select.args.get("distinct"):
            on = select.args["distinct"].args.get("on")
            expressions = list(on.expressions) if on is not None else list(select.expressions)
        found = [_term(_meant(one, select), scope, resolver) for one in expressions]
        if not found or any(one is None for one in found):
            return {}
        aliases = {one[0] for one in found if one is not None}
        return {aliases.pop(): [one[1] for one in found if one is not None]} if len(aliases) == 1 else {}

    def _extremes(self, select: exp.Select, scope: Scope, resolver: Resolver) -> dict[str, list[Term]]:
        found: dict[str, list[Term]] = {}
        for one in select.expressions:
            for function in one.find_all(exp.Min, exp.Max):
                term = _term(function.this, scope, resolver)
                if term is not None:
                    found.setdefault(term[0], []).append(term[1])
        return found


def as_query(tree: exp.Expression) -> exp.Expression | None:
    """A query itself; of other statements the SELECT that finds the rows they change or, INSERT, take."""
    if isinstance(tree, exp.Query):
        return tree
    if isinstance(tree, exp.Insert):
        source = tree.expression
        is_query = isinstance(source, exp.Query) and not isinstance(source, exp.Values)
        return cast("exp.Expression", source.copy()) if is_query else None
    where = tree.args.get("where")
    target = tree.this if isinstance(tree.this, exp.Table) else tree.find(exp.Table)
    if where is None or target is None:
        return None
    sources: list[exp.Expression] = []
    more = tree.args.get("from_") or tree.args.get("from")
    if more is not None:
        sources.append(more.this)
    sources += tree.args.get("using") or []
    if target.alias_or_name not in {one.alias_or_name for one in sources}:  # MySQL: DELETE FROM a USING t AS a, u
        sources.insert(0, target)
    query = exp.select("*").from_(sources[0].copy())
    for other in sources[1:]:
        query = query.join(other.copy(), join_type="cross")
    query = query.where(where.this.copy())
    limit, order = tree.args.get("limit"), tree.args.get("order")
    if order is not None:
        query.set("order", order.copy())
    if limit is not None:
        query.set("limit", limit.copy())
    ctes = tree.args.get("with_") or tree.args.get("with")
    if ctes is not None:
        query.set("with_", ctes.copy())
    return query


def _conditions(select: exp.Select, resolver: Resolver, scope: Scope) -> Iterator[exp.Expression]:
    """WHERE, and what joins demand, as conjuncts; a comparison with an IN (SELECT …) around the scope, too."""
    where = select.args.get("where")
    if where is not None:
        yield from conjuncts(where.this)
    for join in select.args.get("joins") or ():
        on = join.args.get("on")
        if on is not None:
            yield from conjuncts(on)
        for column in join.args.get("using") or ():
            yield from resolver.using(column.name, scope)
    around = select.parent.parent if isinstance(select.parent, exp.Subquery) else select.parent
    if isinstance(around, exp.In) and len(select.expressions) == 1 and not select.args.get("group"):
        yield exp.EQ(this=select.expressions[0].unalias().copy(), expression=exp.column("outer", table="…"))


def _inside_exists(scope: Scope) -> bool:
    return isinstance(scope.expression.parent, exp.Exists)


def _meant(node: Any, select: exp.Select) -> Any:
    """ORDER BY 2, or by the name of something that is selected."""
    if isinstance(node, exp.Literal) and not node.is_string and node.this.isdigit():
        number = int(node.this) - 1
        return select.expressions[number].unalias() if number < len(select.expressions) else node
    if isinstance(node, exp.Column) and not node.table:
        for one in select.expressions:
            if isinstance(one, exp.Alias) and one.alias == node.name:
                return one.this
    return node


def _term(node: Any, scope: Scope, resolver: Resolver) -> tuple[str, Term] | None:
    aliases: Iterable[str] = resolver.aliases(node, scope)
    one = list(aliases)
    if len(one) != 1 or one[0] == ELSEWHERE:
        return None
    term = term_of(node, one[0], scope, resolver)
    return (one[0], term) if term is not None else None
