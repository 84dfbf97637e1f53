"""What is wrong with the indexes that exist, by the catalogue alone."""

from __future__ import annotations

from dbvitals_processors.hints.model import Catalogue, Remark


def audit(catalogue: Catalogue) -> list[Remark]:
    """Remarks on existing indexes and statistics."""
    return []
