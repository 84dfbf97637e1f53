"""A shop as the advisor sees it, and a planner whose costs are a small table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from dbvitals_processors.hints.model import (
    Candidate,
    Catalogue,
    Column,
    Estimate,
    ForeignKey,
    Index,
    Key,
    Table,
    TableName,
    WorkloadQuery,
)


def _columns(**types: str) -> dict[str, Column]:
    return {name: Column(name, kind, distinct=50_000) for name, kind in types.items()}


ORDERS = Table(
    TableName("public", "orders"),
    {
        **_columns(
            user_id="bigint",
            placed_at="timestamp with time zone",
            shipped_on="date",
            number="character varying(20)",
            total="numeric(10,2)",
            tags="text[]",
            data="jsonb",
            words="tsvector",
        ),
        "id": Column("id", "bigint", distinct=200_000),
        "note": Column("note", "text", distinct=90_000, width=40.0, collated=True),
        "status": Column("status", "text", distinct=4, common=(("done", 0.9), ("new", 0.05), ("paid", 0.05))),
        "gift": Column("gift", "boolean", distinct=2, common=(("f", 0.97), ("t", 0.03))),
        "deleted_at": Column("deleted_at", "timestamp with time zone", distinct=100, null_share=0.98),
        "Group": Column("Group", "integer", distinct=300),
    },
    rows=200_000,
    pages=4_000,
    bytes=60_000_000,
    primary_key=("id",),
    indexes=(Index("orders_pkey", (Key("id", "id"),), unique=True, constraint=True),),
    foreign_keys=(ForeignKey("orders_user", ("user_id",), TableName("public", "users"), ("id",)),),
)
USERS = Table(
    TableName("public", "users"),
    _columns(id="bigint", email="text", name="text", created_at="timestamp without time zone"),
    rows=50_000,
    pages=900,
    primary_key=("id",),
    indexes=(Index("users_pkey", (Key("id", "id"),), unique=True, constraint=True),),
)
STATES = Table(TableName("public", "states"), _columns(id="bigint", name="text"), rows=40, pages=1)
RECENT = Table(TableName("public", "recent"), _columns(id="bigint"), kind="view")


@pytest.fixture(scope="session")
def shop() -> Catalogue:
    """Orders of users on PostgreSQL, with pg_trgm."""
    tables = {one.name: one for one in (ORDERS, USERS, STATES, RECENT)}
    return Catalogue("postgresql", tables, ("public",), frozenset({"pg_trgm"}), frozenset({"pg_trgm"}))


@dataclass
class TablePlanner:
    """Knows for each query what it costs with which indexes; the cheapest that it may use is what it chooses.

    Attributes:
        costs: by a query's id: sets of indexes that have to be there together, with the cost then.
        sizes: bytes; a megabyte where nothing is said.
    """

    known: Catalogue
    costs: Mapping[str, Sequence[tuple[frozenset[Candidate], float]]]
    sizes: Mapping[Candidate, int] = field(default_factory=dict)
    share: float = 0.01
    what_if_calls: int = 0

    def catalogue(self) -> Catalogue:
        return self.known

    def estimate(self, query: WorkloadQuery, indexes: frozenset[Candidate] = frozenset()) -> Estimate:
        self.what_if_calls += 1
        rows = sorted((cost, sorted(one.id for one in by), by) for by, cost in self.costs[query.id] if by <= indexes)
        cost, _, by = rows[0]
        return Estimate(cost, by, f"cost {cost}")

    def size(self, candidate: Candidate) -> int:
        return self.sizes.get(candidate, 1_000_000)

    def selectivity(self, candidate: Candidate) -> float:
        return self.share if candidate.where else 1.0


@pytest.fixture(scope="session")
def table_planner(shop: Catalogue) -> Callable[..., TablePlanner]:
    """Makes a planner of the shop from a table of costs."""

    def made(costs: Mapping[str, Sequence[tuple[frozenset[Candidate], float]]], **rest: object) -> TablePlanner:
        return TablePlanner(shop, costs, **rest)  # type: ignore[arg-type]

    return made
