"""A table in a terminal: a title with the heads of its columns, then rows, with remarks below or beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.text import Text

WIDE = 120  # from here on, the first remarks have a column of their own


class Column(NamedTuple):
    """A right-aligned column of numbers."""

    title: str
    width: int


class Cell(NamedTuple):
    """What stands in it, and whether it calls for a look."""

    text: str
    style: str = "default"


class Row(NamedTuple):
    """A row of a table: what it is about, its numbers, and remarks that stand below or beside it."""

    name: str
    cells: Sequence[Cell]
    remarks: Sequence[str] = ()


def table(
    title: str, columns: Sequence[Column], rows: Iterable[Row], width: int, *, beside: str = ""
) -> Iterable[Text]:
    """A title line, then each row; a title for the first remark puts it beside the numbers where there is room."""
    numbers = sum(column.width for column in columns)
    aside = min(60, width - numbers - 40) if beside and width >= WIDE else 0
    room = min(width - numbers - aside, 60)
    head = "".join(f"{column.title:>{column.width}}" for column in columns)
    yield Text()
    yield Text.assemble((f"{cut(title, room):<{room}}", "bold"), (f"{head}  {beside if aside else ''}".rstrip(), "dim"))
    for row in rows:
        line = Text.assemble((f"{cut(row.name, room - 1):<{room}}", "cyan"))
        for column, cell in zip(columns, row.cells, strict=True):
            line.append(f"{cell.text:>{column.width}}", cell.style)
        remarks = list(row.remarks)
        if aside and remarks:
            line.append(f"  {cut(remarks.pop(0), aside - 2)}", "dim")
        yield line
        for remark in remarks:
            yield Text(f"  {cut(remark, width - 2)}", "dim")


def cut(text: str, width: int) -> str:
    """At most ``width`` characters, the last one an ellipsis where some are missing."""
    return text if len(text) <= width else text[: width - 1] + "…"
