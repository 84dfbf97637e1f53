"""The workload's cost with a set of indexes, with as few questions to the planner as that takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dbvitals_processors.hints.model import Candidate, Configuration, Estimate, Planner, TableName, WorkloadQuery
from dbvitals_processors.hints.reading import Reading

NONE: Configuration = frozenset()


@dataclass(frozen=True)
class Studied:
    """A query that the planner accepts, with the indexes that might serve it.

    Attributes:
        possible: all its candidates.
        promising: those among them that the planner chose when it had them all, or was left with the rest.
        packages: what it chose each time, together.
        before: cost without any.
        best: cost with all of them.
        reach: of each promising one, what the set that it was chosen in saves.
    """

    query: WorkloadQuery
    reading: Reading
    possible: frozenset[Candidate] = NONE
    promising: frozenset[Candidate] = NONE
    packages: tuple[Configuration, ...] = ()
    before: float = 0.0
    best: float = 0.0
    reach: Mapping[Candidate, float] = field(default_factory=dict)

    @cached_property
    def tables(self) -> frozenset[TableName]:
        """The tables that it reads."""
        return frozenset(access.table.name for access in self.reading.accesses)

    @cached_property
    def _leads(self) -> frozenset[tuple[TableName, str]]:
        return frozenset((one.table, one.keys[0].sql) for one in self.promising)

    @cached_property
    def _implied(self) -> frozenset[tuple[TableName, str]]:
        return frozenset((one.table, one.where) for one in self.possible if one.where)

    def concerned_by(self, candidate: Candidate) -> bool:
        """Whether an index could change its plan: a promising one, or one that begins as one of them does.

        A partial one concerns every query that asks for those rows alone.
        """
        if candidate in self.promising:
            return True
        if candidate.where:
            return (candidate.table, candidate.where) in self._implied
        return (candidate.table, candidate.keys[0].sql) in self._leads


class Costs:
    """Remembers each answer by the query and those of the indexes that concern it."""

    def __init__(self, planner: Planner, queries: Sequence[Studied]) -> None:
        self.planner = planner
        self.queries = queries
        self._concerned: dict[Candidate, tuple[Studied, ...]] = {}

    def concerned(self, candidate: Candidate) -> tuple[Studied, ...]:
        """The queries whose plan an index could change."""
        found = self._concerned.get(candidate)
        if found is None:
            found = self._concerned[candidate] = tuple(
                one for one in self.queries if one.best < one.before and one.concerned_by(candidate)
            )
        return found

    def estimate(self, one: Studied, configuration: Configuration) -> Estimate:
        """One execution with these indexes."""
        return self.planner.estimate(one.query, frozenset(c for c in configuration if one.concerned_by(c)))

    def whole(self, one: Studied, configuration: Configuration) -> Estimate:
        """One execution with all of these on its tables: even one that nobody thought of for the query may serve it."""
        return self.planner.estimate(one.query, frozenset(c for c in configuration if c.table in one.tables))

    def of(self, one: Studied, configuration: Configuration) -> float:
        """An hour of one query."""
        return one.query.calls * self.estimate(one, configuration).cost

    def total(self, configuration: Configuration, queries: Iterable[Studied] | None = None) -> float:
        """An hour of all, or of these, queries."""
        return sum(self.of(one, configuration) for one in (self.queries if queries is None else queries))
