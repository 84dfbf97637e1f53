"""Advice in a terminal: as wide as it is, from 80 columns on, with or without colour. Statements are never cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from dbvitals.report.advice_words import change, cost, facts, headline, meanings, ordered, outcome
from dbvitals.report.table import cut
from dbvitals.report.terminal import NARROWEST
from dbvitals.report.units import count, seconds, things
from dbvitals_processors.hints.model import Advice, Applied, Hint, Refusal, Remark

MOST_QUERIES = 5
MOST_REMARKS = 20
MOST_REFUSALS = 5
MOST_APPLIED = 20
WIDEST = 140

_ASCII = str.maketrans({"µ": "u", "·": "-", "…": "~", "–": "-", "−": "-", "→": ">"})
_NUMBERS = (("calls/h", 10), ("before", 12), ("after", 12))


def render(advice: Advice, console: Console) -> None:
    """Print advice to ``console``."""
    width = min(max(NARROWEST, console.width), WIDEST)
    for line in _lines(advice, width):
        if console.options.ascii_only:
            line.plain = line.plain.translate(_ASCII)  # one character for one, so that styles stay where they are
        console.print(line, soft_wrap=True)


def _lines(advice: Advice, width: int) -> Iterator[Text]:
    yield from _wrapped(f"{headline(advice)}.", width, "bold")
    for number, hint in enumerate(advice.hints, 1):
        yield from _hint(number, hint, width)
    if advice.hints:
        yield Text()
        for word, meaning in meanings(advice):
            yield from _wrapped(f"{word}: {meaning}", width, "dim")
    if advice.applied:
        yield from _applied(advice.applied, width)
    if advice.remarks:
        yield from _remarks(advice.remarks, width)
    if advice.refusals:
        yield from _refusals(advice.refusals, width)
    yield Text()
    yield from _wrapped(_totals(advice), width, "bold")


def _hint(number: int, hint: Hint, width: int) -> Iterator[Text]:
    yield Text()
    yield Text.assemble((f"{number:>3} ", "bold"), (f"{hint.ddl};", "green"))
    yield from _joined(facts(hint), width)
    room = min(width - 4 - sum(places for _, places in _NUMBERS), 60)
    heads = "".join(f"{title:>{places}}" for title, places in _NUMBERS)
    yield Text(f"    {'':<{room}}{heads}", "dim")
    for one in hint.served[:MOST_QUERIES]:
        line = Text.assemble("    ", (f"{cut(one.query.id, room - 1):<{room}}", "cyan"))
        for value, (_, places) in zip((one.query.calls, one.before, one.after), _NUMBERS, strict=True):
            line.append(f"{cost(value):>{places}}")
        yield line
    yield from _more(len(hint.served) - MOST_QUERIES, "query", "queries")
    for note in hint.notes:
        yield from _wrapped(note, width, "dim", "    ")


def _joined(words: Sequence[str], width: int) -> Iterator[Text]:
    """Facts with dots between them, none broken."""
    line = ""
    for word in words:
        if line and len(line) + len(word) + 7 > width:
            yield Text(f"    {line}")
            line = ""
        line = f"{line} · {word}" if line else word
    yield Text(f"    {line}")


def _applied(applied: Sequence[Applied], width: int) -> Iterator[Text]:
    yield from (Text(), Text("Applied", "bold"))
    for one in applied[:MOST_APPLIED]:
        yield Text.assemble("  ", (f"{one.ddl};", "green"))
        yield from _wrapped(outcome(one), width, "default", "    ")
    yield from _more(len(applied) - MOST_APPLIED, "index", "indexes")


def _remarks(remarks: Sequence[Remark], width: int) -> Iterator[Text]:
    yield from (Text(), Text("Beside indexes", "bold"))
    for one in remarks[:MOST_REMARKS]:
        yield Text.assemble("  ", (one.kind, "yellow"), ": ", (one.subject, "cyan"))
        yield from _wrapped(one.advice, width, "default", "    ")
    yield from _more(len(remarks) - MOST_REMARKS, "remark")


def _refusals(refusals: Sequence[Refusal], width: int) -> Iterator[Text]:
    yield from (Text(), Text("Refused", "bold"))
    for one in ordered(refusals)[:MOST_REFUSALS]:
        yield from _wrapped(f"{one.what}: {one.reason}", width, "dim", "  ")
    rest = len(refusals) - MOST_REFUSALS
    if rest > 0:
        yield Text(f"  … and {count(rest)} more: --format markdown or json has all", "dim")


def _totals(advice: Advice) -> str:
    return " · ".join(
        (
            f"cost {change(advice.cost_before, advice.cost_after)} an hour",
            things(advice.queries, "query", "queries"),
            f"{count(len(advice.refusals))} refused",
            things(advice.what_if_calls, "what-if call"),
            seconds(advice.seconds),
        )
    )


def _more(rest: int, one: str, many: str = "") -> Iterable[Text]:
    return (
        (Text(f"    … and {things(rest, f'more {one}', f'more {many}' if many else '')}", "dim"),) if rest > 0 else ()
    )


def _wrapped(text: str, width: int, style: str, indent: str = "") -> Iterator[Text]:
    for line in wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
                     break_on_hyphens=False):  # fmt: skip
        yield Text(line, style)
