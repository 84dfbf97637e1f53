"""What would help a query that no index does."""

from __future__ import annotations

from dbvitals_processors.hints.model import Catalogue, Remark, WorkloadQuery
from dbvitals_processors.hints.reading import Reading


def unhelped(query: WorkloadQuery, reading: Reading, catalogue: Catalogue) -> list[Remark]:
    """Remarks on a query's text."""
    return []
