"""What would help a query that no index does.

The rules name columns, operators and numbers of rows, never a value that a query asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dbvitals_processors.hints import unhelped_conditions, unhelped_shapes
from dbvitals_processors.hints.model import Catalogue, Remark, WorkloadQuery
from dbvitals_processors.hints.places import Asked, asked
from dbvitals_processors.hints.reading import Reading

Rule = Callable[[Asked], Iterable[tuple[str, str]]]

RULES: tuple[Rule, ...] = (*unhelped_conditions.RULES, *unhelped_shapes.RULES)
"""Each gives pairs of a kind and an advice."""


def unhelped(query: WorkloadQuery, reading: Reading, catalogue: Catalogue) -> list[Remark]:
    """Remarks on a query's text: what to write instead, where its tables are large enough to matter."""
    if reading.kind == "other":
        return []
    question = asked(query, catalogue)
    found = (Remark(kind, query.id, advice) for rule in RULES for kind, advice in rule(question))
    return list(dict.fromkeys(found))
