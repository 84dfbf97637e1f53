"""The whole way from a workload to advice: read, study, select, price, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dbvitals_processors.hints import impact, parsing
from dbvitals_processors.hints.audit import audit
from dbvitals_processors.hints.binds import constants, split
from dbvitals_processors.hints.checks import checks_of
from dbvitals_processors.hints.costs import NONE, Costs, Studied
from dbvitals_processors.hints.dialects import dormant
from dbvitals_processors.hints.explain.size import build_seconds
from dbvitals_processors.hints.model import (
    Advice,
    Candidate,
    Catalogue,
    Configuration,
    Hint,
    Planner,
    Refusal,
    Remark,
    Served,
    Unplannable,
    WorkloadQuery,
)
from dbvitals_processors.hints.reading import Reading
from dbvitals_processors.hints.select import Selection, select
from dbvitals_processors.hints.study import study
from dbvitals_processors.hints.unhelped import unhelped
from dbvitals_processors.hints.upkeep import upkeep, writes_of
from dbvitals_processors.hints.worth import Rules


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Attributes:
        budget: bytes for all advised indexes together; ``None`` for no limit.
        most: indexes at most.
        least_gain: share of the unindexed cost of the queries it serves that an index must save.
        dismissed: ids of hints that are not wanted, with the reason.
    """

    budget: int | None = None
    most: int | None = None
    least_gain: float = 0.05
    dismissed: tuple[tuple[str, str], ...] = ()


def advise(
    planner: Planner,
    queries: Sequence[WorkloadQuery],
    options: Options | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Advice:
    """Advise on a workload.

    The same workload on the same database gives the same advice: everything is ordered by id.

    Raises:
        AdvisorError: the database cannot be asked at all.
    """
    options = options or Options()
    began = clock()
    catalogue = planner.catalogue()
    studied, refused = _study(planner, queries, catalogue)
    writes = writes_of((one.reading, one.query.calls) for one in studied)
    shares: dict[Candidate, float] = {}

    def share(candidate: Candidate) -> float:
        if candidate not in shares:
            shares[candidate] = planner.selectivity(candidate)
        return shares[candidate]

    def price(configuration: Configuration) -> float:
        return upkeep(configuration, catalogue, writes, share)

    dismissed = dict(options.dismissed)
    studied = [_without(one, frozenset(dismissed)) for one in studied]
    costs = Costs(planner, studied)
    selection = select(costs, Rules(planner.size, price, options.budget, options.most, options.least_gain))
    hints = _hints(costs, selection, catalogue, planner.size, price)
    refused += [Refusal(str(one), reason) for one, reason in selection.refused]
    refused += [Refusal(one, f"dismissed: {reason}" if reason else "dismissed") for one, reason in dismissed.items()]
    return Advice(
        catalogue.system,
        tuple(hints),
        tuple(refused),
        (*audit(catalogue, selection.chosen), *_remarks(studied, selection.chosen, costs, catalogue)),
        costs.total(NONE),
        sum(one.query.calls * costs.whole(one, selection.chosen).cost for one in studied),
        len(studied),
        planner.what_if_calls,
        clock() - began,
    )


def _study(
    planner: Planner, queries: Sequence[WorkloadQuery], catalogue: Catalogue
) -> tuple[list[Studied], list[Refusal]]:
    studied, refused = [], []
    for query in queries:
        try:
            reading = read(query, catalogue)
            studied.append(study(query, reading, planner, catalogue))
            for check in checks_of(query, reading, catalogue):
                studied.append(study(check, read(check, catalogue), planner, catalogue))
        except Unplannable as reason:
            refused.append(Refusal(query.id, str(reason), query.id))
    return studied, refused


def read(query: WorkloadQuery, catalogue: Catalogue) -> Reading:
    """A workload's query, read, with what its samples say of its binds.

    Raises:
        Unplannable: it cannot be parsed.
    """
    fixed, seen = constants(split(query.sql, catalogue.system), query.parameters)
    return parsing.read(parsing.parse(query.sql, catalogue.system), catalogue, fixed, seen)


def _without(one: Studied, ids: frozenset[str]) -> Studied:
    """A study without the candidates that the user has dismissed."""
    if not ids or not any(candidate.id in ids for candidate in one.promising):
        return one
    kept = frozenset(candidate for candidate in one.promising if candidate.id not in ids)
    reach = {candidate: saved for candidate, saved in one.reach.items() if candidate in kept}
    return replace(one, promising=kept, packages=tuple(p for p in one.packages if p <= kept), reach=reach)


def _hints(
    costs: Costs,
    selection: Selection,
    catalogue: Catalogue,
    size: Callable[[Candidate], int],
    price: Callable[[Configuration], float],
) -> list[Hint]:
    total = costs.total(NONE) or 1.0
    found = {candidate: _served(costs, candidate, selection.chosen) for candidate in selection.gains}
    paid = {candidate: price(frozenset({candidate})) for candidate in selection.gains}
    model = impact.learn(((one.query, one.before) for one in costs.queries), catalogue.system)
    priced = model.priced(found, paid)
    hints = []
    for candidate, gain in selection.gains.items():
        served, saving = priced[candidate]
        table = catalogue.tables[candidate.table]
        taken, plain = size(candidate), table.kind != "partitioned"
        weakest = {costs.whole(one, selection.chosen).verification for one in costs.concerned(candidate)}
        verification = (
            "heuristic"
            if "heuristic" in weakest and candidate.method in ("gin", "gist")
            else min(weakest - {"heuristic"} or weakest, key=("heuristic", "explain", "hypothetical").index)
        )
        hints.append(
            Hint(
                candidate,
                candidate.ddl(concurrently=catalogue.system == "postgresql" and plain, system=catalogue.system),
                served,
                taken,
                build_seconds(taken, table.rows),
                paid[candidate],
                gain,
                gain / total,
                saving,
                verification,
                _notes(candidate, catalogue),
            )
        )
    return sorted(hints, key=lambda hint: (-hint.gain, hint.id))


def _served(costs: Costs, candidate: Candidate, chosen: Configuration) -> list[Served]:
    """Queries that would cost more without the index."""
    found = []
    for one in costs.concerned(candidate):
        after = costs.whole(one, chosen)
        without = costs.whole(one, chosen - {candidate})
        if after.cost < 0.99 * without.cost:
            before = costs.estimate(one, NONE)
            found.append(Served(one.query, before.cost, without.cost, after.cost, before.plan, after.plan))
    return sorted(found, key=lambda one: (-one.query.calls * (one.without - one.after), one.query.id))


def _notes(candidate: Candidate, catalogue: Catalogue) -> tuple[str, ...]:
    notes = []
    if any(key.column is None for key in candidate.keys):
        notes.append(f"run ANALYZE {candidate.table.name} after building it: expressions have no statistics before")
    if catalogue.tables[candidate.table].kind == "partitioned":
        notes.append("locks writes while it is built; to avoid that, build it CONCURRENTLY on each partition first")
    if candidate.where:
        notes.append("serves only queries whose condition implies its WHERE")
    sleeping = dormant(candidate, catalogue)
    if sleeping is not None:
        notes.append(sleeping)
    return tuple(notes)


def _remarks(studied: Sequence[Studied], chosen: Configuration, costs: Costs, catalogue: Catalogue) -> list[Remark]:
    """What would help the queries that no index does."""
    found = []
    for one in studied:
        if costs.whole(one, chosen).cost > 0.5 * one.before:
            found += unhelped(one.query, one.reading, catalogue)
    return list(dict.fromkeys(found))
