"""PostgreSQL's planner, asked with HypoPG's hypothetical indexes on a read-only connection of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from dbvitals_processors.hints.binds import Bound, split
from dbvitals_processors.hints.explain import expressions, inverted, pg_heuristic, pg_plan, pg_values, size
from dbvitals_processors.hints.explain.pg_catalogue import read_catalogue
from dbvitals_processors.hints.model import (
    AdvisorError,
    Candidate,
    Catalogue,
    Configuration,
    Estimate,
    Table,
    Unplannable,
    WorkloadQuery,
)

STATEMENT_TIMEOUT = 5_000
"""Milliseconds; planning is what takes time here, nothing is executed."""
LOCK_TIMEOUT = 500
MOST_HYPOTHETICAL = 400
"""Hypothetical indexes made before all are dropped: each takes an object id."""
MOST_SAMPLES = 3

_SPECIAL = re.compile(r" (?:@>|&&|@@|\?[|&]?|~~?\*?) |\b(?:lower|upper)\(")
_OID = re.compile(r"^<(\d+)>")


@contextmanager
def connect(url: str | URL) -> Iterator[Connection]:
    """A read-only connection with time-outs; what is set is set for this connection alone.

    Raises:
        AdvisorError: the server cannot be reached, refuses us, or no driver is installed.
    """
    engine = create_engine(_with_driver(make_url(url)), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            _borrow_hypopg(connection)
            for setting, value in _SESSION:
                connection.exec_driver_sql(f"SET {setting} = {value}")
            yield connection
    except SQLAlchemyError as error:
        raise AdvisorError(f"{make_url(url).render_as_string()}: {reason_of(error)}") from None


_SESSION = (
    ("application_name", "'dbvitals advise'"),
    ("statement_timeout", STATEMENT_TIMEOUT),
    ("lock_timeout", LOCK_TIMEOUT),
    ("default_transaction_read_only", "on"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", 0),
    ("plan_cache_mode", "force_custom_plan"),
)


def _borrow_hypopg(connection: Connection) -> None:
    """Where HypoPG lies on the server but is not in the database: its functions, in the session's temporary schema.

    They end with the session, and nothing of the user's is touched. It takes a superuser, as CREATE EXTENSION would;
    others go without, by heuristics.
    """
    with suppress(DBAPIError):
        if connection.exec_driver_sql(_HYPOPG_LIES_THERE).scalar_one():
            for definition in _HYPOPG_FUNCTIONS:
                connection.exec_driver_sql(definition)


_HYPOPG_LIES_THERE = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'hypopg' AND installed_version IS NULL)
   AND NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('is_superuser')::bool"""
_HYPOPG_FUNCTIONS = (
    "CREATE FUNCTION pg_temp.hypopg_create_index(IN text, OUT indexrelid oid, OUT indexname text) "
    "RETURNS SETOF record LANGUAGE c STRICT AS '$libdir/hypopg', 'hypopg_create_index'",
    "CREATE FUNCTION pg_temp.hypopg_drop_index(oid) RETURNS bool LANGUAGE c STRICT "
    "AS '$libdir/hypopg', 'hypopg_drop_index'",
    "CREATE FUNCTION pg_temp.hypopg_reset() RETURNS void LANGUAGE c AS '$libdir/hypopg', 'hypopg_reset'",
)


def _with_driver(url: URL) -> URL:
    """The URL with a driver that is installed and blocks."""
    if url.drivername not in ("postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg_async"):
        return url
    for module, name in (("psycopg", "psycopg"), ("psycopg2", "psycopg2"), ("pg8000", "pg8000")):
        try:
            __import__(module)
        except ImportError:
            continue
        return url.set(drivername=f"postgresql+{name}")
    raise AdvisorError("no PostgreSQL driver is installed: pip install 'psycopg[binary]'")


@dataclass(frozen=True, slots=True)
class _Prepared:
    """How one query is put to the planner: one EXPLAIN for each set of values."""

    explains: tuple[str, ...]
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Planned(Estimate):
    """An estimate with its plans, where an inverted index may change them, and the weight of each."""

    plans: tuple[pg_plan.Plan, ...] = ()
    weights: tuple[float, ...] = ()


def _is_special(plans: list[pg_plan.Plan]) -> bool:
    """Whether a plan has conditions that inverted indexes or folded expressions may serve."""
    return any(_SPECIAL.search(condition) for plan in plans for condition in pg_plan.conditions(plan))


class PostgresPlanner:
    """Asks one connection. Not safe for several threads.

    Args:
        connection: from :func:`connect`.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._connection = connection.execution_options(no_parameters=True)
        self.what_if_calls = 0
        self._prepared: dict[str, _Prepared] = {}
        self._estimates: dict[tuple[str, frozenset[Candidate]], Estimate] = {}
        self._oids: dict[Candidate, int] = {}
        self._made = 0
        self._failed: dict[Candidate, str] = {}
        self._first: dict[str, list[float]] = {}
        self._planned: dict[tuple[str, Configuration], _Planned] = {}
        self._counted: dict[str, float] = {}

    @cached_property
    def _catalogue(self) -> Catalogue:
        return read_catalogue(self._connection)

    def catalogue(self) -> Catalogue:
        """Tables, statistics and indexes, read once."""
        return self._catalogue

    @cached_property
    def _hypopg(self) -> str:
        """The schema of HypoPG's functions with a dot; empty where there are none."""
        found = self._connection.exec_driver_sql(
            "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_proc p "
            "JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.proname = 'hypopg_create_index' "
            "AND (n.oid = pg_catalog.pg_my_temp_schema() OR n.nspname NOT LIKE 'pg\\_temp%')"
        ).first()
        return f"{found[0]}." if found else ""

    @property
    def hypothetical(self) -> bool:
        """Whether HypoPG is there."""
        return bool(self._hypopg)

    def why_impossible(self, candidate: Candidate) -> str | None:
        """Why the database would not build an index, as far as HypoPG can tell."""
        return self._failed.get(candidate)

    def size(self, candidate: Candidate) -> int:
        """Bytes that the index would take, by statistics."""
        table = self._catalogue.tables[candidate.table]
        return size.index_bytes(candidate, table, self.selectivity(candidate))

    def estimate(self, query: WorkloadQuery, indexes: frozenset[Candidate] = frozenset()) -> Estimate:
        """Mean cost of the query over its parameter sets; remembered."""
        known = self._estimates.get((query.id, indexes))
        if known is None:
            known = self._estimates[query.id, indexes] = self._ask(query, indexes)
        return known

    def afresh(self, query: WorkloadQuery) -> Estimate:
        """What the query costs now, with the indexes that exist now; not remembered."""
        self._planned.pop((query.id, frozenset()), None)
        return self._hypothetically(query, frozenset())

    def selectivity(self, candidate: Candidate) -> float:
        """Share of a table's rows that a partial index holds, as the planner estimates it."""
        if not candidate.where:
            return 1.0
        try:
            found = self._rows(f"{_full(candidate)} WHERE {candidate.where}")
        except Unplannable as reason:
            self._failed[candidate] = str(reason)
            return 1.0
        return min(1.0, found / max(1.0, self._catalogue.tables[candidate.table].rows))

    def _ask(self, query: WorkloadQuery, indexes: Configuration) -> Estimate:
        """By HypoPG, and with what it cannot tell: inverted indexes, and expressions, which lack statistics.

        Such an index is looked at beside the others, and instead of those on its table: the planner, which does not
        know its worth, may have taken another.
        """
        unseen = frozenset(one for one in indexes if one.method in ("gin", "gist"))
        special = sorted(
            (one for one in indexes if one in unseen or expressions.is_folding(one)), key=lambda one: one.id
        )
        best: Estimate = self._hypothetically(query, indexes - unseen)
        for one in special:
            elsewhere = frozenset(c for c in indexes - unseen if c.table != one.table or c == one)
            for others in dict.fromkeys((indexes - unseen, elsewhere)):
                found = self._with_special(query, one, others)
                if found.cost < best.cost:
                    best = found
        return best

    def _with_special(self, query: WorkloadQuery, one: Candidate, others: Configuration) -> Estimate:
        base = self._hypothetically(query, others)
        table = self._catalogue.tables[one.table]
        saved, words = 0.0, "by the column's own statistics"
        for plan, weight in zip(base.plans, base.weights, strict=True):
            if one.method in ("gin", "gist"):
                saved += weight * inverted.saving(plan, one, table, self._catalogue.settings, self._rows)
                words = "the scan of the table replaced by a bitmap scan"
            else:
                saved += weight * expressions.saving(plan, one.name, table, self._rows)
        if saved <= 0:
            return base
        return Estimate(base.cost - saved, base.used | {one}, f"{base.plan}\n({one.name}: {words})", "heuristic")

    def _hypothetically(self, query: WorkloadQuery, indexes: Configuration) -> _Planned:
        known = self._planned.get((query.id, indexes))
        if known is None:
            ask = self._plan if self.hypothetical or not indexes else self._heuristically
            known = self._planned[query.id, indexes] = ask(query, indexes)
        return known

    def _heuristically(self, query: WorkloadQuery, indexes: Configuration) -> _Planned:
        """Without HypoPG: today's plans, with what the indexes would change worked into them."""
        base = self._hypothetically(query, frozenset())
        accesses = pg_heuristic.accesses_of(query, self._catalogue)
        plans = tuple(
            pg_heuristic.replanned(plan, indexes, self._catalogue, accesses, self._rows) for plan in base.plans
        )
        cost = sum(plan["Total Cost"] * weight for plan, weight in zip(plans, base.weights, strict=True))
        names = {name for plan in plans for name in pg_plan.index_names(plan)}
        used = frozenset(one for one in indexes if one.name in names)
        return _Planned(cost, used, pg_plan.as_text(plans[0], {}), "heuristic", plans, base.weights)

    def _plan(self, query: WorkloadQuery, indexes: Configuration) -> _Planned:
        prepared = self._prepared.get(query.id)
        if prepared is None:
            prepared = self._prepared[query.id] = self._prepare(query)
        self._have(indexes)
        by_oid = {oid: candidate for candidate, oid in self._oids.items()}
        plans = [self._explain(explain) for explain in prepared.explains]
        costs = [plan["Total Cost"] for plan in plans]
        weights = prepared.weights or (1 / len(costs),) * len(costs)
        names = (_OID.match(name) for plan in plans for name in pg_plan.index_names(plan))
        used = {by_oid[int(name.group(1))] for name in names if name is not None and int(name.group(1)) in by_oid}
        text = pg_plan.as_text(plans[0], {oid: one.name for oid, one in by_oid.items()})
        self._thin(query.id, prepared, costs)
        cost = sum(cost * weight for cost, weight in zip(costs, weights, strict=True))
        names_by_oid = {oid: one.name for oid, one in by_oid.items()}
        wanted = not self.hypothetical or _is_special(plans)
        keep = tuple(pg_plan.renamed(plan, names_by_oid) for plan in plans) if wanted else ()
        return _Planned(cost, frozenset(used), text, "hypothetical", keep, weights if keep else ())

    def _rows(self, source: str) -> float:
        known = self._counted.get(source)
        if known is None:
            plan = self._explain(f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {source}")  # noqa: S608 — from PostgreSQL itself
            known = self._counted[source] = float(plan["Plan Rows"])
        return known

    def _explain(self, explain: str) -> dict[str, Any]:
        self.what_if_calls += 1
        try:
            found = self._connection.exec_driver_sql(explain).scalar_one()
        except DBAPIError as error:
            raise Unplannable(f"the planner refuses it: {reason_of(error)}") from None
        plan: dict[str, Any] = pg_plan.loaded(found)
        return plan

    def _thin(self, query: str, prepared: _Prepared, costs: list[float]) -> None:
        """Ask with one set of values alone, once two sets of indexes have shown that all cost much the same."""
        if prepared.weights or len(costs) < 2:
            return
        first = self._first.setdefault(query, costs)
        if first is costs:
            return
        self._prepared[query] = replace(prepared, weights=(1 / len(costs),) * len(costs))
        if all(max(one) <= 1.2 * min(one) + 1 for one in (first, costs)):
            weight = sum(first) / len(first) / first[0] if first[0] else 1.0
            self._prepared[query] = _Prepared(prepared.explains[:1], (weight,))

    # --- queries ------------------------------------------------------------------------------------------------

    def _prepare(self, query: WorkloadQuery) -> _Prepared:
        bound = split(query.sql.strip().rstrip(";"))
        if not bound.keys:
            return _Prepared((f"EXPLAIN (FORMAT JSON) {bound.text('${}')}",))
        name = f"dbvitals_{len(self._prepared)}"
        sets = list(dict.fromkeys(_texts(bound, query)))
        try:
            types = self._types(name, bound)
        except Unplannable:
            if not sets:
                raise
            types = None
        if types is None:  # PostgreSQL cannot tell a bind's type: then by literals, which it can
            sets = sets or [tuple(pg_values.guesses(bound, query, self._catalogue, ()))]
            filled = [bound.filled(tuple(map(pg_values.literal, one))) for one in sets[:MOST_SAMPLES]]
            return _Prepared(tuple(f"EXPLAIN (FORMAT JSON) {one}" for one in filled))
        if not sets:
            sets = pg_values.from_statistics(bound, query, self._catalogue, types)
        chosen = (
            sets if len(sets) <= MOST_SAMPLES else [sets[i * len(sets) // MOST_SAMPLES] for i in range(MOST_SAMPLES)]
        )
        return _Prepared(
            tuple(f"EXPLAIN (FORMAT JSON) EXECUTE {name}({', '.join(map(pg_values.literal, one))})" for one in chosen)
        )

    def _types(self, name: str, bound: Bound) -> tuple[str, ...] | None:
        try:
            self._connection.exec_driver_sql(f"PREPARE {name} AS {bound.text('${}')}")
        except DBAPIError as error:
            said = str(error.orig)
            if "determine data type" in said or "operator does not exist" in said or "unique" in said:
                return None
            raise Unplannable(f"the database refuses it: {reason_of(error)}") from None
        found = self._connection.exec_driver_sql(
            f"SELECT parameter_types::text[] FROM pg_catalog.pg_prepared_statements WHERE name = '{name}'"  # noqa: S608
        ).scalar_one()
        return tuple(found)

    # --- hypothetical indexes -----------------------------------------------------------------------------------

    def _have(self, wanted: frozenset[Candidate]) -> None:
        """Make exactly these indexes exist hypothetically."""
        if self._made > MOST_HYPOTHETICAL:
            self._connection.exec_driver_sql(f"SELECT {self._hypopg}hypopg_reset()")
            self._oids.clear()
            self._made = 0
        for candidate in [one for one in self._oids if one not in wanted]:
            self._connection.exec_driver_sql(f"SELECT {self._hypopg}hypopg_drop_index({self._oids.pop(candidate)})")
        for candidate in sorted(wanted - self._oids.keys(), key=lambda one: one.id):
            if candidate not in self._failed:
                self._make(candidate)

    def _make(self, candidate: Candidate) -> None:
        definition = pg_values.literal(_hypothetical(candidate, self._catalogue.tables[candidate.table]))
        try:
            made = self._connection.exec_driver_sql(
                f"SELECT indexrelid FROM {self._hypopg}hypopg_create_index({definition})"  # noqa: S608 — quoted
            ).scalar_one()
        except DBAPIError as error:
            self._failed[candidate] = reason_of(error)
            return
        self._made += 1
        self._oids[candidate] = int(made)


def _full(candidate: Candidate) -> str:
    return candidate.definition.removeprefix("ON ").partition(" ")[0]


def _hypothetical(candidate: Candidate, table: Table) -> str:
    """The index that is put to HypoPG, which overstates sizes; pages that are quite full are the least overstated.

    HypoPG estimates a partial index with a half-made planner state, and ranges (HypoPG/hypopg#116) and extended
    statistics reach into what is not there: the backend crashes, and the server with it. Equality, IN, IS NULL and
    booleans on plain columns, the only predicates that candidates have, do not; beside extended statistics a full index
    with the same access path stands for a partial one.
    """
    if candidate.where and table.extended_statistics:
        candidate = replace(candidate, keys=candidate.stands_for + candidate.keys, where="")
    fill = " WITH (fillfactor = 100)" if candidate.method == "btree" else ""
    where = f" WHERE {_folded(candidate.where, table)}" if candidate.where else ""
    return f"CREATE INDEX {replace(candidate, where='').definition}{fill}{where}"


_IN = re.compile(r"(\w+) IN \((.*)\)")
_ITEM = re.compile(r"'((?:[^']|'')*)'|([^\s,]+)")


def _folded(where: str, table: Table) -> str:
    """A predicate with its constants folded: HypoPG does not, and then does not see that a query implies an IN."""
    match = _IN.fullmatch(where)
    column = table.columns.get(match.group(1)) if match is not None else None
    if match is None or column is None:
        return where
    items = [text.replace("''", "'") if text or not bare else bare for text, bare in _ITEM.findall(match.group(2))]
    kind, name = column.type.partition("(")[0], match.group(1)
    if kind == "character varying":
        kind, name = "text", f"{name}::text"
    return f"{name} = ANY ({pg_values.literal(pg_values.text(items))}::{kind}[])"


def _texts(bound: Bound, query: WorkloadQuery) -> Iterator[tuple[str | None, ...]]:
    for parameters in query.parameters:
        values = bound.values(parameters)
        if values is not None:
            yield tuple(map(pg_values.text, values))


def reason_of(error: SQLAlchemyError) -> str:
    """The database's own first line, without SQL, values or SQLAlchemy's additions."""
    original: BaseException = getattr(error, "orig", None) or error
    line = str(original).strip().partition("\n")[0]
    line = line.partition(" LINE ")[0]
    return _QUOTED.sub(_without_value, line).strip() or type(original).__name__


_QUOTED = re.compile(r"""(?:\b(?P<of>\w+) )?(?P<quoted>"(?:[^"]|"")*"?|'(?:[^']|'')*'?)""")
_NAMED = frozenset(
    ("column", "relation", "table", "schema", "type", "function", "operator", "role", "user", "database", "extension",
     "statement", "language", "collation", "host", "server", "index", "constraint", "parameter", "class", "method")
)  # fmt: skip


def _without_value(match: re.Match[str]) -> str:
    """A quoted word stays where it is the name of something; any other may be a value."""
    before = match.group("of")
    if before in _NAMED or (before == "at" and _ADDRESS.fullmatch(match.group("quoted"))):
        return match.group()
    return f"{before} …" if before else "…"


_ADDRESS = re.compile(r'"(?:[0-9.]{7,}|[0-9a-fA-F:]{3,}|[A-Za-z][\w.-]*)"')
