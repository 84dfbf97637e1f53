"""Candidates: indexes that might serve a query, by rules in a tuple, each a function of what the query asks of a table.

The rules are generous; the planner and the selection are strict. What they share is the order of an index's keys:
columns that are pinned to one value first (the most telling one leading), then the order or the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import permutations

from dbvitals_processors.hints.dialects import fitted
from dbvitals_processors.hints.model import Candidate, Catalogue, Column, Key, Method, Table, quoted
from dbvitals_processors.hints.reading import Access, Order, Predicate, Term

LEAST_PAGES_OF_BRIN = 2_000
LEAST_ROWS = 1_000
"""A table with fewer rows is read quickly enough without."""
MOST_KEYS = 4
MOST_INCLUDED = 6
MOST_INCLUDED_WIDTH = 120
RARE = 0.25
"""Share of the rows below which a constant is worth a partial index."""
MOST_DISTINCT_CONSTANT = 500
MOST_DISTINCT_BOUND = 20
"""A bind that has always had one value is a constant only on a column of few values, such as a state."""
FEW = 12
"""Rows for one value of a term below which further keys are not worth their bytes."""
_MOST = 60

Rule = Callable[[Access, Catalogue], Iterable[Candidate]]


def candidates(access: Access, catalogue: Catalogue) -> tuple[Candidate, ...]:
    """All that the rules find for one table of a query, without those that an existing index already is."""
    table = access.table
    if table.kind not in ("table", "partitioned"):
        return ()
    found: dict[Candidate, None] = {}
    for rule in RULES:
        for proposed in rule(access, catalogue):
            candidate = fitted(proposed, catalogue)
            if candidate is not None and candidate.keys and existing_like(candidate, access) is None:
                found.setdefault(candidate)
    return tuple(found)[:_MOST]


def existing_like(candidate: Candidate, access: Access) -> str | None:
    """The existing index that does what a candidate would: its keys in front, all that it includes, no predicate."""
    if _one_row(candidate, access):
        return "a unique one"
    return existing_like_keys(candidate, access.table, covering=True)


def existing_like_keys(candidate: Candidate, table: Table, *, covering: bool = False) -> str | None:
    """The existing index that begins with a candidate's keys; with ``covering`` it must have its other columns, too."""
    keys = candidate.stands_for + candidate.keys if candidate.where else candidate.keys
    for index in table.indexes:
        if not index.valid or index.method != candidate.method or index.where not in ("", candidate.where):
            continue
        wanted = candidate.keys if index.where else keys  # a full index that begins with the constant does as well
        ours = [(key.column or key.sql, key.opclass, key.descending) for key in wanted]
        theirs = [(key.column or key.sql, key.opclass, key.descending) for key in index.keys]
        held = {*index.include, *(key.column for key in index.keys)}
        if theirs[: len(ours)] == ours and (not covering or held.issuperset(candidate.include)):
            return index.name
    return None


def _one_row(candidate: Candidate, access: Access) -> bool:
    """Whether the query asks for one row at most by a unique index whose columns the candidate begins with."""
    asked = {p.term.column for p in access.predicates if p.operator == "eq" and p.value.kind != "join"}
    for index in access.table.indexes:
        columns = {key.column for key in index.keys}
        if index.unique and index.valid and not index.where and columns <= asked:
            return candidate.keys[0].column in columns
    return False


# --- Terms and keys ------------------------------------------------------------------------------------------------


def _key(term: Term) -> Key:
    return Key(term.sql, term.column)


def _ordered_key(order: Order, *, turned: bool) -> Key:
    descending = order.descending != turned
    nulls = order.nulls_first
    if nulls is not None:
        nulls = nulls != turned
        nulls = None if nulls == descending else nulls  # what PostgreSQL does anyway
    return Key(order.term.sql, order.term.column, descending, nulls)


def _column(access: Access, term: Term) -> Column | None:
    return access.table.columns.get(term.column or "")


def _distinct(access: Access, predicate: Predicate) -> float:
    column = _column(access, predicate.term)
    if column is None:
        below = [access.table.columns[name] for name in predicate.term.columns if name in access.table.columns]
        if len(below) == 1 and "json" not in below[0].type:
            return below[0].distinct  # lower(email) has nearly as many values as email
        return access.table.rows / 20
    return column.distinct if predicate.operator == "eq" else min(2.0, column.distinct)


def _tells_all(access: Access, predicate: Predicate) -> bool:
    """Whether one value of the term leaves so few rows that no further key can help."""
    return predicate.operator == "eq" and access.table.rows <= FEW * _distinct(access, predicate)


def _indexable(access: Access, predicate: Predicate) -> bool:
    """Whether a B-tree can hold the term: not a document, an array, a geometry."""
    column = _column(access, predicate.term)
    return column is None or (not column.type.startswith(_NOT_ORDERED) and not column.type.endswith("[]"))


_NOT_ORDERED = ("json", "tsvector", "xml", "point", "box", "polygon", "circle", "bytea", "int4range", "int8range",
                "tsrange", "tstzrange", "daterange", "numrange")  # fmt: skip


def _pinned(access: Access) -> list[Predicate]:
    """Predicates that leave one value, or a few, of a term; joins as well; the most telling first, one a term."""
    found: dict[Term, Predicate] = {}
    for predicate in access.predicates:
        if (predicate.pins or predicate.operator == "in") and _indexable(access, predicate):
            kept = found.get(predicate.term)
            if kept is None or (kept.value.kind == "join" and predicate.value.kind != "join"):
                found[predicate.term] = predicate
    return sorted(found.values(), key=lambda one: (-_distinct(access, one), one.term.sql))


def _ranges(access: Access) -> list[Term]:
    pinned = {one.term for one in _pinned(access)}
    terms = (p.term for p in access.predicates if p.operator in ("range", "row_range") and _indexable(access, p))
    return [term for term in dict.fromkeys(terms) if term not in pinned]


def _sort_keys(access: Access, pinned: Iterable[Term]) -> tuple[Key, ...]:
    """The keys that give the query's order: pinned terms need none; all directions turned where that is simpler."""
    fixed = set(pinned)
    orders = [one for one in access.order if one.term not in fixed]
    if not orders:
        return ()
    turned = orders[0].descending  # a B-tree is read backwards as well as forwards
    return tuple(_ordered_key(one, turned=turned) for one in orders[:MOST_KEYS])


def _btree(access: Access, keys: Iterable[Key], include: tuple[str, ...] = ()) -> Iterator[Candidate]:
    unique: dict[str, Key] = {}
    for key in keys:
        unique.setdefault(key.column or key.sql, key)
    if unique:
        yield Candidate(access.table.name, tuple(unique.values())[: MOST_KEYS + 1], include)


# --- Rules ---------------------------------------------------------------------------------------------------------


def equality(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """Each pinned term, and the pinned terms together."""
    pinned = _pinned(access)
    for one in pinned:
        yield from _btree(access, [_key(one.term)])
    pinned = [one for one in pinned if not _tells_all(access, one)]
    for first, second in permutations(pinned[:3], 2):
        yield from _btree(access, [_key(first.term), _key(second.term)])
    if len(pinned) > 2:
        yield from _btree(access, [_key(one.term) for one in pinned[:MOST_KEYS]])


def ranges(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """Ranges alone, and behind what is pinned."""
    pinned = _pinned(access)
    for term in _ranges(access):
        yield from _btree(access, [_key(term)])
        for fixed in _fronts(pinned):
            yield from _btree(access, [*map(_key, fixed), _key(term)])


def _fronts(pinned: list[Predicate]) -> Iterator[list[Term]]:
    """Choices of pinned terms to stand in front: each alone, pairs, all."""
    terms = [one.term for one in pinned]
    for term in terms:
        yield [term]
    for first, second in permutations(terms[:3], 2):
        yield [first, second]
    if len(terms) > 2:
        yield terms[: MOST_KEYS - 1]


def order(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """The query's order, behind what is pinned: with LIMIT a few rows are read instead of all that are sorted."""
    if not access.order:
        return
    single = [one for one in _pinned(access) if one.pins]
    for fixed in ([], *_fronts(single)):
        keys = _sort_keys(access, fixed)
        if keys:
            yield from _btree(access, [*map(_key, fixed), *keys])
            if len(keys) > 1:
                yield from _btree(access, [*map(_key, fixed), keys[0]])


def alternatives(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """One index for each branch of an OR: the database unites their bitmaps."""
    for branches in access.alternatives:
        for branch in branches:
            for one in branch:
                if one.operator in ("eq", "in", "range", "null", "true", "false") and _indexable(access, one):
                    yield from _btree(access, [_key(one.term)])
            pinned = [one.term for one in branch if one.pins and _indexable(access, one)]
            if len(pinned) > 1:
                yield from _btree(access, map(_key, pinned[:3]))


def grouping(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """GROUP BY, DISTINCT, min() and max(), behind what is pinned."""
    fixed = [one.term for one in _pinned(access) if one.pins][:2]
    if access.groups:
        yield from _btree(access, map(_key, access.groups[:MOST_KEYS]))
        yield from _btree(access, [*map(_key, fixed), *map(_key, access.groups[: MOST_KEYS - 1])])
    for term in access.extremes:
        yield from _btree(access, [*map(_key, fixed), _key(term)])


def covering(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """The others with all columns that the query needs, so that it never visits the table."""
    if access.needed is None or (access.limited and access.order):
        return
    columns = [access.table.columns[name] for name in sorted(access.needed) if name in access.table.columns]
    if sum(column.width for column in columns) > MOST_INCLUDED_WIDTH or any(
        c.type.startswith(_NOT_ORDERED) for c in columns
    ):
        return
    for rule in (equality, ranges, grouping):
        for plain in rule(access, catalogue):
            keys = {key.column for key in plain.keys}
            if None in keys:
                continue
            rest = tuple(column.name for column in columns if column.name not in keys)
            if 0 < len(rest) <= MOST_INCLUDED:
                yield Candidate(plain.table, plain.keys, rest)


def partial(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """Only the rows with a constant that few rows have: states, flags, soft deletes."""
    for predicate in access.predicates:
        share = _share(access, predicate)
        if share is None or share > RARE or not predicate.sql:
            continue
        rest = [one for one in _pinned(access) if one.term != predicate.term]
        single = [one for one in rest if one.pins]
        fronts = [[one.term for one in single[:2]], [], *([[one.term] for one in single])]
        behind: list[tuple[Key, ...]] = [(_key(term),) for term in _ranges(access)]
        for fixed in fronts:
            fixed_keys = tuple(map(_key, fixed))
            for keys in (
                (*fixed_keys, *_sort_keys(access, [*fixed, predicate.term])),
                *((*fixed_keys, *b) for b in behind),
                fixed_keys,
            ):
                if keys:
                    yield _partial(access, keys, predicate)
        if not rest and not access.order and not behind and access.table.primary_key:
            yield _partial(access, tuple(Key(quoted(c), c) for c in access.table.primary_key), predicate)


def _partial(access: Access, keys: tuple[Key, ...], predicate: Predicate) -> Candidate:
    unique = {key.column or key.sql: key for key in reversed(keys)}
    ordered = tuple(dict.fromkeys(unique[key.column or key.sql] for key in keys))
    return Candidate(access.table.name, ordered[:MOST_KEYS], (), predicate.sql, "btree", (_key(predicate.term),))


def _share(access: Access, predicate: Predicate) -> float | None:
    """Share of the rows that have a constant; ``None`` where it is no constant or statistics do not tell."""
    if predicate.value.kind != "constant" or predicate.operator not in ("eq", "in", "null", "true", "false", "notnull"):
        return None
    column = _column(access, predicate.term)
    if column is None:
        return None
    most = MOST_DISTINCT_BOUND if predicate.value.binds else MOST_DISTINCT_CONSTANT
    if column.distinct > most and predicate.operator in ("eq", "in"):
        return None
    if predicate.operator == "null":
        return column.null_share
    if predicate.operator == "notnull":
        return 1 - column.null_share
    wanted = {"true": {"t"}, "false": {"f"}}.get(predicate.operator)
    if wanted is None:
        wanted = {one.strip().strip("'") for one in predicate.value.sql.strip("()").split(",")}
    common = dict(column.common)
    rest = max(0.0, 1 - column.null_share - sum(common.values()))
    others = max(1.0, column.distinct - len(common))
    return sum(common.get(value, rest / others) for value in wanted)


def text(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """LIKE and ILIKE: a prefix by a B-tree of characters, everything else by trigrams where pg_trgm is there."""
    if catalogue.system != "postgresql":
        return
    pinned = [one.term for one in _pinned(access) if one.pins]
    found = [*access.predicates, *(p for branches in access.alternatives for branch in branches for p in branch)]
    for predicate in found:
        if predicate.operator == "prefix" and not predicate.insensitive:
            column = _column(access, predicate.term)
            collated = column.collated if column is not None else True
            opclass = _pattern_ops(column) if collated else ""
            key = Key(predicate.term.sql, predicate.term.column, opclass=opclass)
            yield from _btree(access, [key])
            for front in pinned[:2]:
                yield from _btree(access, [_key(front), key])
        elif predicate.operator in ("infix", "prefix") and "pg_trgm" in catalogue.extensions:
            yield _inverted(access, Key(predicate.term.sql, predicate.term.column, opclass="gin_trgm_ops"))


def _pattern_ops(column: Column | None) -> str:
    if column is not None and column.type.startswith("character varying"):
        return "varchar_pattern_ops"
    return "text_pattern_ops"


def documents(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """jsonb containment, arrays and full text by GIN."""
    if catalogue.system != "postgresql":
        return
    for predicate in access.predicates:
        column = _column(access, predicate.term)
        kind = column.type if column is not None else ""
        if predicate.operator == "contains" and kind == "jsonb":
            yield _inverted(access, Key(predicate.term.sql, predicate.term.column, opclass="jsonb_path_ops"))
        elif (
            (predicate.operator == "has_key" and kind == "jsonb")
            or (predicate.operator in ("contains", "overlaps") and kind.endswith("[]"))
            or (predicate.operator == "match" and (kind == "tsvector" or "to_tsvector" in predicate.term.sql))
        ):
            yield _inverted(access, _key(predicate.term))
        elif predicate.operator in ("contains", "overlaps") and kind.endswith("range"):
            yield _inverted(access, _key(predicate.term), "gist")


def _inverted(access: Access, key: Key, method: Method = "gin") -> Candidate:
    return Candidate(access.table.name, (key,), (), "", method)


def block_ranges(access: Access, catalogue: Catalogue) -> Iterator[Candidate]:
    """BRIN for a range of a large table's column whose order is that of the rows on disk."""
    if catalogue.system != "postgresql" or access.table.pages < LEAST_PAGES_OF_BRIN:
        return
    for term in _ranges(access):
        column = _column(access, term)
        if column is not None and abs(column.correlation) > 0.99:
            yield Candidate(access.table.name, (_key(term),), (), "", "brin")


RULES: tuple[Rule, ...] = (
    equality, ranges, order, alternatives, grouping, partial, text, documents, block_ranges, covering,
)  # fmt: skip
