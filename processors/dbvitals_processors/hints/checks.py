"""The searches that a database makes by itself: for each deleted row, for rows of other tables that refer to it.

No plan shows their cost, and without an index on the referring columns each is a scan of the whole table.
"""

from __future__ import annotations

from collections.abc import Iterator

from dbvitals_processors.hints.model import Catalogue, WorkloadQuery, quoted, quoted_name
from dbvitals_processors.hints.reading import Reading

_CHECK = ": foreign key "


def checks_of(query: WorkloadQuery, reading: Reading, catalogue: Catalogue) -> Iterator[WorkloadQuery]:
    """One query for each foreign key that refers to the table which a DELETE deletes from."""
    if reading.kind != "delete" or reading.written is None:
        return
    for table in catalogue.tables.values():
        for key in table.foreign_keys:
            if key.refers_to == reading.written.name:
                columns = " AND ".join(f"{quoted(name)} = ${n}" for n, name in enumerate(key.columns, 1))
                sql = f"SELECT 1 FROM {quoted_name(table.name)} WHERE {columns}"  # noqa: S608 — the catalogue's names
                yield WorkloadQuery(f"{query.id}{_CHECK}{key.name}", sql, query.calls)


def checked_by(query: str) -> str | None:
    """The id of the DELETE that makes a search, by that of the search; ``None`` for any other query."""
    deleting, check, _ = query.partition(_CHECK)
    return deleting if check else None
