"""What the text and the summary of a query say of its kind."""

from __future__ import annotations

import re

from dbvitals_processors.query_span import QuerySpan

READS = frozenset({"SELECT", "WITH"})
WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE"})

_LOCKS = re.compile(r"\bFOR\s+(?:NO\s+KEY\s+)?(?:UPDATE|SHARE|KEY\s+SHARE)\b", re.IGNORECASE)
_PAGES = re.compile(r"\b(?:LIMIT|OFFSET|FETCH\s+(?:FIRST|NEXT)|TOP)\b", re.IGNORECASE)
_CATALOGUES = re.compile(
    r"\b(?:pg_catalog\.|pg_\w+|information_schema\.|sqlite_(?:master|schema)|sys\.)", re.IGNORECASE
)


def is_read(query: QuerySpan) -> bool:
    """Whether it reads tables of the application's: no lock is taken, no catalogue asked (as migrations do)."""
    return (
        verb(query) in READS
        and bool(target(query))
        and _CATALOGUES.search(query.summary) is None
        and _LOCKS.search(query.text) is None
    )


def is_write(query: QuerySpan) -> bool:
    """Whether it changes rows."""
    return verb(query) in WRITES


def is_single(query: QuerySpan) -> bool:
    """Whether it is a query of its own that succeeded: no batch, and nothing that is tried again."""
    return query.batch_size == 1 and query.error_type is None


def may_page(query: QuerySpan) -> bool:
    """Whether it may fetch a page of a longer list."""
    return not query.text or _PAGES.search(query.text) is not None


def has_condition(query: QuerySpan) -> bool:
    """Whether it selects rows, as far as is known."""
    return not query.text or " WHERE " in " ".join(query.text.upper().split())


def verb(query: QuerySpan) -> str:
    """The first operation, in capitals."""
    return (query.summary or query.operation).upper().removeprefix("BATCH ").partition(" ")[0]


def target(query: QuerySpan) -> str:
    """The table, or the first of several; empty where there is none."""
    return query.collection or query.summary.removeprefix("BATCH ").partition(" ")[2].partition(" ")[0]
