"""What a statement asks of each table that it names: predicates, order, grouping, and the columns that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dbvitals_processors.hints.model import Table

Operator = Literal[
    "eq", "in", "range", "prefix", "infix", "null", "notnull", "true", "false", "contains", "overlaps", "has_key",
    "match", "row_range",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """A column, or an expression over one table's columns, as the database's SQL without table names."""

    sql: str
    column: str | None = None
    columns: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    """What a term is compared with.

    Attributes:
        kind: ``constant`` (a literal, or a bind that nearly always has one value), ``bind``, ``join`` (columns of other
            tables or of an outer query) or ``other`` (``now()`` and the like).
        sql: a constant as SQL.
        binds: numbers of the binds in it, from 0.
    """

    kind: Literal["constant", "bind", "join", "other"]
    sql: str = ""
    binds: tuple[int, ...] = ()
    joined: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on one table that an index might serve; ``sql`` is the whole of it, without table names."""

    term: Term
    operator: Operator
    value: Value = field(default_factory=lambda: Value("other"))
    sql: str = ""
    insensitive: bool = False
    more: tuple[Term, ...] = ()

    @property
    def pins(self) -> bool:
        """Whether it leaves one value of the term."""
        return self.operator in ("eq", "null", "true", "false")


@dataclass(frozen=True, slots=True)
class Order:
    """One element of ORDER BY."""

    term: Term
    descending: bool = False
    nulls_first: bool | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """One table in one place of a statement.

    Attributes:
        predicates: all must hold.
        alternatives: ORs; of each, one branch must hold, and all of a branch's predicates.
        order: the whole ORDER BY, if all of it is of this table; else empty.
        limited: whether a LIMIT, or something like it, lets the query stop early.
        groups: GROUP BY or DISTINCT, if all of it is of this table.
        extremes: arguments of min() and max(), where the query has no grouping.
        needed: columns that are read; ``None`` for all.
        opaque: conditions on this table that no index serves as they stand, as SQL with the reason.
    """

    table: Table
    alias: str
    predicates: tuple[Predicate, ...] = ()
    alternatives: tuple[tuple[tuple[Predicate, ...], ...], ...] = ()
    order: tuple[Order, ...] = ()
    limited: bool = False
    groups: tuple[Term, ...] = ()
    extremes: tuple[Term, ...] = ()
    needed: frozenset[str] | None = None
    opaque: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A statement, read.

    Attributes:
        kind: ``select``, ``insert``, ``update``, ``delete`` or ``other``.
        written: table that it changes.
        changed: columns that an UPDATE sets; all of an INSERT count as changed.
        rows: rows of an INSERT with VALUES.
        offset: the value of OFFSET where it is a constant or constantly bound; its bind otherwise.
    """

    kind: str
    accesses: tuple[Access, ...] = ()
    written: Table | None = None
    changed: frozenset[str] = frozenset()
    rows: int = 1
    offset: Any = None
    unknown: tuple[str, ...] = ()
