"""Prints the table of docs/configuration.md from the code, or with --write puts it there."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path

from dbvitals_instrumentation.config import PREFIX, Config

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"
START, END = "<!-- table -->\n", "<!-- /table -->\n"


def table() -> str:
    """One row a field: its variable, its field, its default, what it does."""
    rows = ["| variable | `Config` field | default | what it does |", "| --- | --- | --- | --- |"]
    for item in fields(Config):
        default = str(item.default).lower() if isinstance(item.default, bool) else item.default or "none"
        rows.append(f"| `{PREFIX}{item.name.upper()}` | `{item.name}` | `{default}` | {item.metadata['doc']} |")
    return "\n".join(rows) + "\n"


def page_with(rows: str) -> str:
    """The page with its table replaced."""
    head, _, rest = PAGE.read_text().partition(START)
    return head + START + rows + END + rest.partition(END)[2]


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page_with(table()))
    else:
        print(table())
