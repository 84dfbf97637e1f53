"""The indexes that the shop is missing: advised from what it asked, created on its own tables, and measured.

It stands for what a user does with ``dbvitals advise``, up to the ``CREATE INDEX`` that is left to the user there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SQLAlchemyError

from dbvitals.shop.models import Base
from dbvitals.shop.seed import SEED
from dbvitals_processors.hints.advise import advise
from dbvitals_processors.hints.explain import planner_for
from dbvitals_processors.hints.model import Advice, AdvisorError, Hint, WorkloadQuery
from dbvitals_processors.hints.sources.files import read_workload
from dbvitals_processors.hints.sources.parameters import ParameterSamples
from dbvitals_processors.hints.sources.sql import fingerprint

CALLS = 40
"""How often a query is asked to be measured."""


@dataclass(frozen=True)
class Measured:
    """Median seconds of a query's call, when nothing else goes on: before the advised indexes were there, and after."""

    before: float
    after: float


@dataclass(frozen=True)
class Proof:
    """What was advised and what came of it.

    Attributes:
        advice: ``None`` where the advisor could not work; ``trouble`` says why.
        created: ids of the hints whose indexes were created.
        measured: of each query that they serve, by its fingerprint.
        trouble: what kept it from going further, in a line.
    """

    advice: Advice | None
    created: frozenset[str] = frozenset()
    measured: Mapping[str, Measured] = field(default_factory=dict)
    trouble: str = ""


@contextmanager
def sampled(engine: Engine) -> Iterator[ParameterSamples]:
    """Samples of what an engine's queries are called with while the block runs; in memory alone."""
    samples = ParameterSamples(values=True, chance=random.Random(SEED).random)
    system = engine.dialect.name

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if not many:
            samples.add(fingerprint(statement, system), parameters, statement)

    event.listen(engine, "after_cursor_execute", keep)
    try:
        yield samples
    finally:
        event.remove(engine, "after_cursor_execute", keep)


def prove(engine: Engine, recording: Path, samples: ParameterSamples) -> Proof:
    """Have indexes advised for a recorded workload, create them on the shop's tables, and measure what they serve."""
    try:
        queries = samples.complete(read_workload(recording, system=engine.dialect.name))
        with planner_for(engine.url) as planner:
            advice = advise(planner, queries)
    except AdvisorError as reason:
        return Proof(None, trouble=str(reason))
    hints = [hint for hint in advice.hints if hint.candidate.table.name in Base.metadata.tables]
    try:
        return _tried(engine, advice, hints)
    except SQLAlchemyError as error:
        return Proof(advice, trouble=" ".join(str(getattr(error, "orig", None) or error).split()))


def _tried(engine: Engine, advice: Advice, hints: Sequence[Hint]) -> Proof:
    served = {one.query.id: one.query for hint in hints for one in hint.served}
    with engine.connect() as connection:
        before = {id_: _seconds(connection, query) for id_, query in served.items() if _is_asked(query)}
    for hint in hints:
        with engine.begin() as connection:  # not CONCURRENTLY: nobody else uses the shop's tables
            connection.exec_driver_sql(hint.candidate.ddl(system=advice.system))
    with engine.connect() as connection:
        measured = {id_: Measured(seconds, _seconds(connection, served[id_])) for id_, seconds in before.items()}
    return Proof(advice, frozenset(hint.id for hint in hints), measured)


def _is_asked(query: WorkloadQuery) -> bool:
    """Whether it only reads, and it is known what it is asked with."""
    return bool(query.parameters) and query.sql.lstrip("( ")[:6].upper() == "SELECT"


def _seconds(connection: Connection, query: WorkloadQuery) -> float:
    """The median of :data:`CALLS` calls, with rows fetched; one more, for a start, does not count."""
    taken = []
    for number in range(-1, CALLS):
        sample: Any = query.parameters[number % len(query.parameters)]
        parameters = dict(sample) if isinstance(sample, Mapping) else tuple(sample)
        began = time.perf_counter()
        connection.exec_driver_sql(query.sql, parameters).all()
        if number >= 0:
            taken.append(time.perf_counter() - began)
    return median(taken)
