"""How large an index would be, and how long it takes to build, by statistics alone.

HypoPG's own sizes are two to four times too large, so they are never used. The formula is PostgreSQL's B-tree layout:
an 8 byte tuple header, the key aligned to 8 bytes, a 4 byte line pointer, pages nine tenths full; since PostgreSQL 13
equal keys share one tuple, with 6 bytes for each row, unless the index has included columns.
"""

from __future__ import annotations

from math import ceil

from dbvitals_processors.hints.model import Candidate, Table

PAGE = 8192
_FILL = 0.9
_POSTING_LIST_ROWS = 2.0
_LONGEST_LIST = 812
"""Bytes of a tuple that equal keys share: a build begins another one then."""
_EXPRESSION_WIDTH = 16.0
_BUILD_ROWS = 1.2e6
"""Rows that a B-tree build sorts and writes in a second, about, on one core."""


def share_of_rows(candidate: Candidate, selectivity: float) -> float:
    """Share of the table's rows that are in the index."""
    return selectivity if candidate.where else 1.0


def index_bytes(candidate: Candidate, table: Table, selectivity: float = 1.0) -> int:
    """Bytes of the index on disk; ``selectivity`` is that of a partial index's predicate."""
    rows = table.rows * share_of_rows(candidate, selectivity)
    if candidate.method == "brin":
        return PAGE * (3 + int(table.pages / 128 / 250))
    if candidate.method in ("gin", "gist"):
        return max(3 * PAGE, int(_inverted_bytes(candidate, table, rows)))
    if rows < 1:
        return 2 * PAGE
    width, distinct = 0.0, 1.0
    for key in candidate.keys:
        column = table.columns.get(key.column or "")
        size = column.width if column is not None else _EXPRESSION_WIDTH
        alignment = column.alignment if column is not None else 4
        width = -(-width // alignment) * alignment + size
        distinct *= max(1.0, column.distinct) if column is not None else max(1.0, rows / 4)
    for name in candidate.include:
        column = table.columns.get(name)
        width += column.width if column is not None else 8.0
    distinct = min(rows, distinct)
    header = 8 + -(-width // 8) * 8
    shares = not candidate.include and rows / distinct > _POSTING_LIST_ROWS and _may_share(candidate, table)
    if shares:
        lists = distinct * ceil(rows / distinct / max(1.0, (_LONGEST_LIST - header) // 6))
        pages = _pages(lists, -(-(header + 6 * rows / lists) // 8) * 8 + 4)
    else:
        pages = _pages(rows, header + 4)
    return max(2, int(pages) + 1) * PAGE


def _pages(tuples: float, size: float) -> float:
    """Leaf pages: a build fills each until less than a tenth is free, and carries the last tuple to the next."""
    return tuples / max(1, ceil((PAGE - 40) * _FILL / size) - 1)


def _may_share(candidate: Candidate, table: Table) -> bool:
    """Whether equal keys share a tuple: not where equal values may look different, as 1.0 and 1.00 do."""
    columns = (table.columns.get(key.column or "") for key in candidate.keys)
    return not any(one is not None and (one.type.startswith(_UNLIKE) or one.type.endswith("[]")) for one in columns)


_UNLIKE = ("numeric", "real", "double", "json", "character(", "bpchar", "int4range", "int8range", "numrange", "tsrange",
           "tstzrange", "daterange")  # fmt: skip


def _inverted_bytes(candidate: Candidate, table: Table, rows: float) -> float:
    """Keys times rows times a few bytes: trigrams and lexemes grow with the text, jsonb paths with the document."""
    column = next((table.columns[k] for k in _columns(candidate) if k in table.columns), None)
    width = column.width if column is not None else 32.0
    keys = max(2.0, width / 3)
    return rows * keys * (2.5 if candidate.method == "gin" else 8.0)


def _columns(candidate: Candidate) -> list[str]:
    return [key.column or key.sql.strip("()").partition("(")[2].rstrip(")") for key in candidate.keys]


def build_seconds(size: int, rows: float) -> float:
    """Seconds that the build takes, about; twice that and more where it runs CONCURRENTLY beside writes."""
    return 0.05 + rows / _BUILD_ROWS + size / 200e6
