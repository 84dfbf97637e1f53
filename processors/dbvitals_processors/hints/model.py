"""The words in which the advisor thinks: what a database has, what is asked of it, and what an index would change.

Everything is frozen; each stage makes new values from those of the stage before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

Verification = Literal["hypothetical", "explain", "heuristic"]
Method = Literal["btree", "gin", "gist", "brin", "hash"]
Parameters = Mapping[str, Any] | Sequence[Any]


class AdvisorError(Exception):
    """Something that keeps the advisor from working at all; the message says what to do."""


class Unplannable(Exception):
    """A statement that cannot be parsed or planned; the message is the reason for its refusal."""


# --- What is asked of the database ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkloadQuery:
    """One statement of a workload.

    Attributes:
        id: its fingerprint or name; what hints refer to.
        sql: text with binds as ``:name``, ``%(name)s``, ``%s``, ``$1`` or ``?``, or with literals.
        calls: executions an hour.
        seconds: measured database time an hour, ``None`` where nobody measured.
        parameters: sample sets of values, by name or by position; may be empty.
    """

    id: str
    sql: str
    calls: float = 1.0
    seconds: float | None = None
    parameters: tuple[Parameters, ...] = ()


# --- What the database has -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its statistics.

    Attributes:
        type: as the database spells it, for instance ``timestamp with time zone``.
        width: mean bytes of a value that is not null.
        distinct: estimated number of distinct values, at least 1.
        correlation: of physical and logical order, -1 to 1.
        common: most common values as text, with their share of all rows.
        bounds: histogram bounds as text, ascending.
        collated: whether its order is that of a language: then a plain index cannot serve LIKE prefixes.
    """

    name: str
    type: str
    not_null: bool = False
    width: float = 8.0
    distinct: float = 200.0
    null_share: float = 0.0
    correlation: float = 0.0
    common: tuple[tuple[str, float], ...] = ()
    bounds: tuple[str, ...] = ()
    collated: bool = False
    alignment: int = 8


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an index: a column, or an expression in the database's own SQL."""

    sql: str
    column: str | None = None
    descending: bool = False
    nulls_first: bool | None = None
    opclass: str = ""

    def __str__(self) -> str:
        words = [self.sql, self.opclass, "DESC" if self.descending else ""]
        if self.nulls_first is not None and self.nulls_first != self.descending:
            words.append("NULLS FIRST" if self.nulls_first else "NULLS LAST")
        return " ".join(filter(None, words))


@dataclass(frozen=True, slots=True)
class Index:
    """An index that exists."""

    name: str
    keys: tuple[Key, ...]
    include: tuple[str, ...] = ()
    where: str = ""
    method: str = "btree"
    unique: bool = False
    constraint: bool = False
    valid: bool = True
    bytes: int = 0
    scans: int | None = None
    definition: str = ""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns that refer to another table's columns."""

    name: str
    columns: tuple[str, ...]
    refers_to: TableName
    referred: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table's name, with its schema where the database has such."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its statistics.

    Attributes:
        rows, pages, bytes: as the database estimates them; ``pages`` of the heap, ``bytes`` with its indexes.
        analyzed: whether the database has statistics for it.
        kind: ``table``, ``partitioned``, ``view`` or ``foreign``.
        extended_statistics: whether somebody made statistics over several columns of it.
    """

    name: TableName
    columns: Mapping[str, Column]
    rows: float = 0.0
    pages: int = 0
    bytes: int = 0
    primary_key: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    analyzed: bool = True
    stale_share: float = 0.0
    kind: str = "table"
    extended_statistics: bool = False


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that the advisor knows of a database; tables are found as the database would find them."""

    system: str
    tables: Mapping[TableName, Table]
    search_path: tuple[str, ...] = ("public",)
    extensions: frozenset[str] = frozenset()
    available_extensions: frozenset[str] = frozenset()
    version: int = 0
    settings: Mapping[str, float] = field(default_factory=dict)
    since: float | None = None

    def find(self, name: str, schema: str = "") -> Table | None:
        """The table that a name means; without a schema, along the search path."""
        for place in (schema,) if schema else (*self.search_path, ""):
            table = self.tables.get(TableName(place, name))
            if table is not None:
                return table
        return None


# --- What could be built -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that could be built.

    Attributes:
        where: predicate of a partial index, in the database's SQL.
        stands_for: keys that a full index needs in front of this one's to give a query that implies ``where`` the same
            access path: how a partial index is put to the planner without making a partial hypothetical index.
    """

    table: TableName
    keys: tuple[Key, ...]
    include: tuple[str, ...] = ()
    where: str = ""
    method: Method = "btree"
    stands_for: tuple[Key, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys as text: columns by name, expressions as SQL."""
        return tuple(key.column or key.sql for key in self.keys)

    @property
    def name(self) -> str:
        """A name for the index, the same for the same index; at most 63 characters, PostgreSQL's limit."""
        words = [key.column or _word(key.sql) for key in self.keys]
        stem = "_".join([self.table.name, *words])
        plain = not (self.where or self.include or self.method != "btree" or any(k.descending for k in self.keys))
        if plain and len(stem) <= 58 and not any(key.opclass for key in self.keys):
            return f"{stem}_idx"
        return f"{stem[:50].rstrip('_')}_{self.id[:8]}_idx"

    @property
    def id(self) -> str:
        """The same for the same index on the same table, on any machine."""
        return hashlib.sha256(self.definition.encode()).hexdigest()[:12]

    @property
    def definition(self) -> str:
        """What follows ``CREATE INDEX name``."""
        method = "" if self.method == "btree" else f"USING {self.method} "
        text = f"ON {quoted_name(self.table)} {method}({', '.join(map(str, self.keys))})"
        if self.include:
            text += f" INCLUDE ({', '.join(map(quoted, self.include))})"
        return text + (f" WHERE {self.where}" if self.where else "")

    def ddl(self, *, concurrently: bool = False, system: str = "postgresql") -> str:
        """The statement that builds it."""
        if system in ("mysql", "mariadb"):  # each name between backticks: their reserved words are others
            table = ".".join(
                "`" + part.replace("`", "``") + "`" for part in (self.table.schema, self.table.name) if part
            )
            return f"CREATE INDEX `{self.name}` ON {table} ({', '.join(map(str, self.keys))})"
        name = quoted(self.name)
        return f"CREATE INDEX {'CONCURRENTLY ' if concurrently else ''}{name} {self.definition}"

    def __str__(self) -> str:
        return self.definition.removeprefix("ON ")


Configuration: TypeAlias = frozenset[Candidate]
"""Indexes that are thought of together."""


def _word(sql: str) -> str:
    return "_".join(filter(None, "".join(c if c.isalnum() else " " for c in sql.lower()).split()))[:24]


def quoted(identifier: str) -> str:
    """An identifier as SQL, quoted where it must be."""
    plain = identifier.replace("_", "a").isalnum() and identifier.islower() and not identifier[0].isdigit()
    return identifier if plain and identifier not in _RESERVED else '"' + identifier.replace('"', '""') + '"'


def quoted_name(name: TableName) -> str:
    """A table's name as SQL; the schema ``public`` is left out."""
    if name.schema in ("", "public"):
        return quoted(name.name)
    return f"{quoted(name.schema)}.{quoted(name.name)}"


_RESERVED = frozenset(
    [
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "authorization",
        "between",
        "binary",
        "both",
        "case",
        "cast",
        "check",
        "collate",
        "column",
        "constraint",
        "create",
        "cross",
        "current_date",
        "current_role",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "false",
        "fetch",
        "for",
        "foreign",
        "freeze",
        "from",
        "full",
        "grant",
        "group",
        "having",
        "ilike",
        "in",
        "initially",
        "inner",
        "intersect",
        "into",
        "is",
        "isnull",
        "join",
        "lateral",
        "leading",
        "left",
        "like",
        "limit",
        "localtime",
        "localtimestamp",
        "natural",
        "not",
        "notnull",
        "null",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "outer",
        "overlaps",
        "placing",
        "primary",
        "references",
        "returning",
        "right",
        "select",
        "session_user",
        "similar",
        "some",
        "symmetric",
        "table",
        "tablesample",
        "then",
        "to",
        "trailing",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "variadic",
        "verbose",
        "when",
        "where",
        "window",
        "with",
    ]
)


# --- What the planner says -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one execution of a query would cost with a set of indexes.

    Attributes:
        cost: in the planner's units, the mean over the query's parameter sets.
        used: those of the set that the plan uses.
        plan: the plan as text, one line a node.
        verification: the weakest of those that took part in it.
    """

    cost: float
    used: frozenset[Candidate]
    plan: str
    verification: Verification = "hypothetical"


class Planner(Protocol):
    """A database that can be asked what a query would cost with indexes that do not exist."""

    what_if_calls: int

    def catalogue(self) -> Catalogue:
        """What the database has."""

    def estimate(self, query: WorkloadQuery, indexes: frozenset[Candidate] = frozenset()) -> Estimate:
        """What ``query`` costs where ``indexes`` exist beside those that do.

        Raises:
            Unplannable: the database refuses the statement.
        """

    def size(self, candidate: Candidate) -> int:
        """Bytes that the index would take."""

    def selectivity(self, candidate: Candidate) -> float:
        """Share of the table's rows that a partial index would hold."""


# --- What the advisor says -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Saving:
    """Database time saved in an hour, in seconds, with an interval that nine of ten are expected in."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Served:
    """A query that a hint serves.

    Attributes:
        before: cost of one execution with none of the hints.
        without: with all others.
        after: with all.
        share: of what all hints together save of it, the part that is this hint's.
        seconds_before, seconds_after: of one execution with none, and with all; ``None`` where nothing is known.
        saving: of all hints together.
    """

    query: WorkloadQuery
    before: float
    without: float
    after: float
    plan_before: str
    plan_after: str
    share: float = 1.0
    seconds_before: float | None = None
    seconds_after: float | None = None
    saving: Saving | None = None


@dataclass(frozen=True, slots=True)
class Hint:
    """An index worth building.

    Attributes:
        gain: planner's units saved in an hour by having it beside the other hints, its upkeep taken off.
        share: that, as a share of the workload's cost before any hint.
        upkeep: planner's units an hour that writes pay for it.
        saving: its part of the time that all hints together save, upkeep taken off.
    """

    candidate: Candidate
    ddl: str
    served: tuple[Served, ...]
    bytes: int
    build_seconds: float
    upkeep: float
    gain: float
    share: float
    saving: Saving | None
    verification: Verification
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The same from run to run."""
        return self.candidate.id


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was looked at and is not advised, with its reason."""

    what: str
    reason: str
    query: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that an index does not mend, or an index that exists and should not; with what would help."""

    kind: str
    subject: str
    advice: str


@dataclass(frozen=True, slots=True)
class Applied:
    """An index that was advised and has been built since.

    Attributes:
        since: when it was first seen, as Unix time.
        predicted: what it was to save in an hour.
        measured: seconds that it saves in an hour, ``None`` where too little was measured to tell.
        queries: how many that it serves were measured before and after.
    """

    id: str
    ddl: str
    since: float
    predicted: Saving | None
    measured: float | None
    queries: int


@dataclass(frozen=True, slots=True)
class Advice:
    """The outcome: hints, most valuable first, and everything that was refused; and what became of former hints."""

    system: str
    hints: tuple[Hint, ...]
    refusals: tuple[Refusal, ...]
    remarks: tuple[Remark, ...]
    cost_before: float
    cost_after: float
    queries: int
    what_if_calls: int
    seconds: float
    applied: tuple[Applied, ...] = ()
