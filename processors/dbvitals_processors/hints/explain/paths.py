"""How an index finds a table's rows: which conditions its keys serve, how many entries are read, in what order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import prod

from dbvitals_processors.hints.explain.asked import Asked, Condition
from dbvitals_processors.hints.model import Candidate, Index, Key, Table
from dbvitals_processors.hints.reading import Predicate, Term
from dbvitals_processors.hints.terms import ELSEWHERE


@dataclass(frozen=True, slots=True)
class Shape:
    """An index, existing or not.

    Attributes:
        averages: rows for each value of the first key, of the first two, and so on, where that is known.
        clustered: whether it holds the whole rows.
        rows: entries; ``None`` for the table's rows.
        candidate: where it does not exist yet.
    """

    name: str
    keys: tuple[Key, ...]
    include: tuple[str, ...] = ()
    where: str = ""
    averages: tuple[float, ...] = ()
    unique: bool = False
    clustered: bool = False
    candidate: Candidate | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """What an index does for one table of a SELECT.

    Attributes:
        equal, ranged: conditions that its keys serve.
        rows: entries that are read.
        covering: whether the table itself need not be visited.
        ordered: whether the rows come in the order that is asked for.
        grouped: whether rows of a group come together.
    """

    shape: Shape
    equal: tuple[Condition, ...]
    ranged: tuple[Condition, ...]
    rows: float
    covering: bool
    ordered: bool
    grouped: bool

    @property
    def served(self) -> bool:
        """Whether it narrows down the rows at all."""
        return bool(self.equal or self.ranged or self.shape.where)


def of_index(index: Index, averages: tuple[float, ...] = (), *, clustered: bool = False) -> Shape:
    """The shape of an existing index."""
    return Shape(index.name, index.keys, index.include, index.where, averages, index.unique, clustered)


def with_primary(shape: Shape, primary: tuple[str, ...]) -> Shape:
    """The shape with the primary key behind its own, as InnoDB has it."""
    own = {key.column for key in shape.keys}
    if shape.unique or shape.clustered:
        return shape
    return replace(shape, keys=shape.keys + tuple(Key(one, one) for one in primary if one not in own))


def of_candidate(candidate: Candidate, averages: tuple[float, ...] = ()) -> Shape:
    """The shape of an index that does not exist."""
    return Shape(
        candidate.name, candidate.keys, candidate.include, candidate.where, averages, candidate=candidate
    )  # fmt: skip


def match(shape: Shape, asked: Asked, known: frozenset[str], primary: tuple[str, ...] = ()) -> Match | None:
    """What the index does where rows of the tables ``known`` are at hand; ``None`` where it cannot be used.

    Args:
        primary: columns that each entry has beside its keys.
    """
    if shape.where and shape.where not in {p.sql for one in asked.conditions for p in one.predicates}:
        return None
    equal, ranged, fixed = [], [], []
    single = True
    position = 0
    for key in shape.keys:
        found = _best(asked, known, lambda one, key=key: _on(one, key) and (one.pins or one.operator == "in"))  # type: ignore[misc]
        if found is None:
            break
        equal.append(found)
        fixed.append(key)
        single = single and any(_on(one, key) and one.pins for one in found.predicates)
        position += 1
    if position < len(shape.keys):
        ranged = _ranges(asked, known, shape.keys[position])
    table = asked.access.table
    needed = asked.access.needed
    held = {*(key.column for key in shape.keys), *shape.include, *primary}
    return Match(
        shape,
        tuple(equal),
        tuple(ranged),
        entries(shape, table, equal, ranged, asked),
        shape.clustered or (needed is not None and needed <= held),
        single and _ordered(shape.keys, fixed, asked),
        single and bool(asked.access.groups) and _grouped(shape.keys, fixed, asked.access.groups),
    )


def _on(predicate: Predicate, key: Key) -> bool:
    term = predicate.term
    return term.column == key.column if key.column is not None else _plain(term.sql) == _plain(key.sql)


def _plain(sql: str) -> str:
    return sql.replace(" ", "").strip("()").lower()


def _best(asked: Asked, known: frozenset[str], wanted: Callable[[Predicate], bool]) -> Condition | None:
    found = [
        one
        for one in asked.conditions
        if one.others <= known | {ELSEWHERE} and any(wanted(predicate) for predicate in one.predicates)
    ]
    return min(found, key=lambda one: one.share, default=None)


def _ranges(asked: Asked, known: frozenset[str], key: Key) -> list[Condition]:
    return [
        one
        for one in asked.conditions
        if one.others <= known | {ELSEWHERE}
        and any(_on(p, key) and p.operator in ("range", "row_range", "notnull", "prefix") for p in one.predicates)
    ]


def entries(shape: Shape, table: Table, equal: Iterable[Condition], ranged: Iterable[Condition], asked: Asked) -> float:
    """Entries that are read: by the index's own averages, told apart by how common the values asked for are."""
    equal = list(equal)
    rows = max(1.0, table.rows)
    within = prod((one.share for one in ranged), start=1.0)
    partly = 1.0
    if shape.where:
        partly = min(one.share for one in asked.conditions if any(p.sql == shape.where for p in one.predicates))
    if not equal:
        return rows * within * partly
    if shape.unique and len(equal) == len(shape.keys) and not shape.where:
        return prod(max(1.0, one.share * rows) for one in equal if _several(one)) if any(map(_several, equal)) else 1.0
    found = rows * prod(one.share for one in equal) * partly
    if len(shape.averages) >= len(equal):
        factor = 1.0
        for key, one in zip(shape.keys, equal, strict=False):
            column = table.columns.get(key.column or "")
            if column is not None:
                factor *= max(1e-6, one.share * column.distinct)
        found = max(found, min(shape.averages[len(equal) - 1] * factor, rows * min(one.share for one in equal)))
    return max(found * within, min(1.0, found))


def _several(one: Condition) -> bool:
    return any(predicate.operator == "in" for predicate in one.predicates)


def _ordered(keys: tuple[Key, ...], fixed: list[Key], asked: Asked) -> bool:
    """Whether what follows the pinned keys is the whole order, forwards or backwards."""
    done = {_plain(key.column or key.sql) for key in fixed} | _pinned(asked)
    wanted = [one for one in asked.access.order if _plain(one.term.column or one.term.sql) not in done]
    if not asked.access.order:
        return False
    rest = [key for key in keys if _plain(key.column or key.sql) not in done]
    if len(rest) < len(wanted):
        return False
    turns = set()
    for key, one in zip(rest, wanted, strict=False):
        if _plain(key.column or key.sql) != _plain(one.term.column or one.term.sql):
            return False
        turns.add(key.descending != one.descending)
    return len(turns) <= 1


def _pinned(asked: Asked) -> set[str]:
    return {
        _plain(p.term.column or p.term.sql)
        for one in asked.conditions
        if not one.others
        for p in one.predicates
        if p.pins
    }


def _grouped(keys: tuple[Key, ...], fixed: list[Key], groups: tuple[Term, ...]) -> bool:
    done = {_plain(key.column or key.sql) for key in fixed}
    wanted = {_plain(term.column or term.sql) for term in groups} - done
    rest = [_plain(key.column or key.sql) for key in keys[len(fixed) :]]
    return set(rest[: len(wanted)]) == wanted
