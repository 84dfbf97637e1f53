"""The shop's missing indexes in a terminal: what was advised, what it was to save, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from rich.console import Console
from rich.text import Text

from dbvitals.report.advice_words import change
from dbvitals.report.model import Query, Report
from dbvitals.report.table import Cell, Column, Row, table
from dbvitals.report.terminal import NARROWEST
from dbvitals.report.units import count, percent, seconds, things
from dbvitals.shop.indexes import CALLS, Proof
from dbvitals_processors.hints.amounts import size
from dbvitals_processors.hints.model import Advice, Hint, Saving

FASTER = 0.9
"""A query that takes more than this share of its former time is not faster."""

_COLUMNS = (Column("before", 8), Column("after", 8), Column("saved", 6), Column("predicted", 10))
_ASCII = str.maketrans({"µ": "u", "·": "-", "…": "~", "–": "-", "−": "-", "→": ">"})


def render(proof: Proof, report: Report, console: Console) -> None:
    """Print it, for the workload that ``report`` tells of."""
    queries = {query.fingerprint: query for query in report.queries}
    for line in _lines(proof, queries, max(NARROWEST, console.width)):
        if console.options.ascii_only:
            line.plain = line.plain.translate(_ASCII)
        console.print(line, soft_wrap=True)  # a statement is never cut


def _lines(proof: Proof, queries: dict[str, Query], width: int) -> Iterator[Text]:
    yield Text.assemble("\n", ("Missing indexes", "bold"), _headline(proof.advice))
    if proof.advice is not None:
        for hint in proof.advice.hints:
            yield from _hint(hint, queries)
        rows = list(_rows(proof, proof.advice, queries))
        if rows:
            yield from table(f"Created here; median of {CALLS} calls", _COLUMNS, rows, width)
    if proof.trouble:
        yield Text(proof.trouble, "yellow")


def _headline(advice: Advice | None) -> str:
    if advice is None:
        return " could not be looked for:"
    if not advice.hints:
        return f": none; of {things(advice.queries, 'query', 'queries')}, none would be much cheaper by one"
    total = change(advice.cost_before, advice.cost_after)
    return f": {len(advice.hints)}, found in {seconds(advice.seconds)}; all cost {total} an hour"


def _hint(hint: Hint, queries: dict[str, Query]) -> Iterator[Text]:
    yield Text(f"{hint.ddl};", "green")
    for one in hint.served:
        numbers = f"{count(round(one.query.calls))} calls/h, cost {change(one.before, one.after)}"
        yield Text.assemble("  ", (_name(one.query.id, queries), "cyan"), f": {numbers}")
    saved = f"saves {percent(hint.share)} of all cost{_time(hint.saving)}"
    yield Text(f"  {saved} · {size(hint.bytes)} · {hint.verification}", "dim")


def _time(saving: Saving | None) -> str:
    """The time that it saves, as far as that can be told from nothing."""
    if saving is None or saving.high <= 0:
        return ""
    low = max(0.0, saving.low)
    if saving.seconds <= low:
        return f", up to {seconds(saving.high)} an hour"
    return f", {seconds(saving.seconds)} an hour ({seconds(low) if low else '0'} – {seconds(saving.high)})"


def _rows(proof: Proof, advice: Advice, queries: dict[str, Query]) -> Iterator[Row]:
    served = {one.query.id: one for hint in advice.hints if hint.id in proof.created for one in hint.served}
    for id_, one in served.items():
        if id_ in proof.measured:
            before, after = proof.measured[id_].before, proof.measured[id_].after
            faster = after < FASTER * before
            cells = (
                Cell(seconds(before)),
                Cell(seconds(after), "bold"),
                Cell(percent(max(0.0, 1 - after / before)), "green" if faster else "yellow"),
                Cell(percent(1 - one.after / one.before)),
            )
            yield Row(f"{'confirmed' if faster else 'no faster'}: {_name(id_, queries)}", cells)


def _name(id_: str, queries: dict[str, Query]) -> str:
    """The query's summary, and the line that it comes from: several have the same summary."""
    query = queries.get(id_)
    if query is None:
        return id_
    return f"{query.summary}, {PurePath(query.caller.file).name}:{query.caller.line}" if query.caller else query.summary
