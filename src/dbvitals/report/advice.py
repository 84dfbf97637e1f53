"""Advice as text: a table for people, SQL to paste, JSON for programs, Markdown for a ticket.

The same advice gives the same text; how long it took is in the table and the JSON alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console

from dbvitals.report import advice_table
from dbvitals.report.advice_words import cost, facts, headline, meanings, ordered, outcome
from dbvitals_processors.hints.model import Advice, Hint, Key, Served

MOST_PLANS = 5

_STATEMENT = re.compile(r": ((?:ALTER|ANALYZE|CREATE|DROP|REINDEX|SELECT) .*)$")


def as_sql(advice: Advice) -> str:
    """The DDL alone, one statement a line, most valuable first; a comment where there is none."""
    return "\n".join(f"{hint.ddl};" for hint in advice.hints) or f"-- {headline(advice)}"


def as_table(advice: Advice, console: Console | None = None) -> str:
    """For people, as wide as the terminal, and with its colours."""
    screen = console or Console()
    with screen.capture() as captured:
        advice_table.render(advice, screen)
    return captured.get().rstrip("\n")


def as_json(advice: Advice) -> str:
    """Everything."""
    return json.dumps(to_json(advice), indent=2)


def as_markdown(advice: Advice) -> str:
    """For a ticket or a pull request."""
    return "\n".join(_markdown(advice))


# --- Markdown ------------------------------------------------------------------------------------------------------


def _markdown(advice: Advice) -> Iterator[str]:
    yield from ("## Index advice", "", f"{headline(advice)}.")
    for number, hint in enumerate(advice.hints, 1):
        yield from _section(number, hint)
    if advice.hints:
        yield from ("", *(f"*{word}*: {meaning}." for word, meaning in meanings(advice)))
    if advice.applied:
        yield from ("", "### Applied", "")
        yield from (f"- {_code(one.ddl)}: {outcome(one)}" for one in advice.applied)
    if advice.remarks:
        yield from ("", "### Beside indexes", "")
        yield from (f"- **{_plain(r.kind)}** {_code(r.subject)}: {_with_code(r.advice)}" for r in advice.remarks)
    if advice.refusals:
        yield from ("", "<details>", f"<summary>Refused: {len(advice.refusals)}</summary>", "")
        yield from (f"- {_code(r.what)}: {_plain(r.reason)}" for r in ordered(advice.refusals))
        yield from ("", "</details>")


def _section(number: int, hint: Hint) -> Iterator[str]:
    yield from ("", f"### {number}. {_code(hint.candidate.name)}", "", *_fenced(f"{hint.ddl};", "sql"), "")
    yield from (f"- {fact}" for fact in facts(hint))
    yield from (f"- {_plain(note)}" for note in hint.notes)
    yield from ("", "| query | calls/h | cost before | cost after |", "| --- | ---: | ---: | ---: |")
    for one in hint.served:
        numbers = f"{cost(one.query.calls)} | {cost(one.before)} | {cost(one.after)}"
        yield f"| {_code(one.query.id)} | {numbers} |"
    for one in hint.served[:MOST_PLANS]:
        yield from _plans(one)


def _plans(one: Served) -> Iterator[str]:
    yield from ("", "<details>", f"<summary>Plans of {_plain(one.query.id)}</summary>", "", "Before:", "")
    yield from _fenced(one.plan_before, "text")
    yield from ("", "After, with all advised indexes:", "", *_fenced(one.plan_after, "text"), "", "</details>")


def _fenced(text: str, language: str) -> Iterable[str]:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return (f"{fence}{language}", text, fence)


def _code(text: str) -> str:
    """Text as code; in a table a bar must be escaped even there."""
    flat = " ".join(text.split()).replace("|", "\\|")
    return f"`` {flat} ``" if "`" in flat else f"`{flat}`"


def _with_code(advice: str) -> str:
    """An advice with the statement that it ends with, if it does, as code."""
    before, statement, _ = _STATEMENT.split(advice, maxsplit=1) if _STATEMENT.search(advice) else (advice, "", "")
    return f"{_plain(before)}: {_code(statement)}" if statement else _plain(before)


def _plain(text: str) -> str:
    """Text without what Markdown or HTML would take for its own; underscores within words are safe."""
    return re.sub(r"([\\`*\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


# --- JSON ----------------------------------------------------------------------------------------------------------


def to_json(advice: Advice) -> dict[str, Any]:
    """Everything, as JSON's types."""
    return {
        "system": advice.system,
        "hints": [_hint(hint) for hint in advice.hints],
        "refusals": [asdict(one) for one in advice.refusals],
        "remarks": [asdict(one) for one in advice.remarks],
        "cost_before": advice.cost_before,
        "cost_after": advice.cost_after,
        "bytes": sum(hint.bytes for hint in advice.hints),
        "queries": advice.queries,
        "what_if_calls": advice.what_if_calls,
        "seconds": round(advice.seconds, 3),
        **({"applied": [asdict(one) for one in advice.applied]} if advice.applied else {}),
    }


def _hint(hint: Hint) -> dict[str, Any]:
    candidate = hint.candidate
    return {
        "id": hint.id,
        "name": candidate.name,
        "ddl": hint.ddl,
        "table": str(candidate.table),
        "columns": list(candidate.columns),
        "keys": [_key(key) for key in candidate.keys],
        "include": list(candidate.include),
        "where": candidate.where,
        "method": candidate.method,
        "bytes": hint.bytes,
        "build_seconds": round(hint.build_seconds, 2),
        "upkeep": hint.upkeep,
        "gain": hint.gain,
        "share": hint.share,
        "saving_seconds_per_hour": asdict(hint.saving) if hint.saving is not None else None,
        "verification": hint.verification,
        "notes": list(hint.notes),
        "queries": [_served(one) for one in hint.served],
    }


def _key(key: Key) -> dict[str, Any]:
    return {
        "sql": key.sql,
        "column": key.column,
        "descending": key.descending,
        "nulls_first": key.descending if key.nulls_first is None else key.nulls_first,
        "opclass": key.opclass,
    }


def _served(one: Served) -> dict[str, Any]:
    return {
        "id": one.query.id,
        "calls_per_hour": one.query.calls,
        "seconds_per_hour": one.query.seconds,
        "cost_before": one.before,
        "cost_without_this": one.without,
        "cost_after": one.after,
        "share_of_saving": one.share,
        "seconds_before": one.seconds_before,
        "seconds_after": one.seconds_after,
        "saving_seconds_per_hour": asdict(one.saving) if one.saving is not None else None,
        "plan_before": one.plan_before,
        "plan_after": one.plan_after,
    }
