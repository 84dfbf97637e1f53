"""The report in a terminal: as wide as it is, from 80 columns on, with or without colour; never a literal value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from dbvitals.report.model import Error, Pool, Query, Report
from dbvitals.report.table import WIDE, Cell, Column, Row, table
from dbvitals.report.units import count, percent, seconds, things
from dbvitals_processors.findings import Finding
from dbvitals_processors.query_span import Caller

MOST_QUERIES = 12
MOST_OTHERS = 8
MOST_FINDINGS = 8
NARROWEST = 80

_KINDS = {
    "n_plus_one": "N+1",
    "join_or_selectinload": "N+1",
    "duplicate": "Asked twice",
    "too_many_rows": "Too many rows",
    "idle_in_transaction": "Idle in transaction",
    "checkout_wait": "Waits for",
}
_ASCII = str.maketrans({"µ": "u", "·": "-", "…": "~", "–": "-", "×": "x"})


_QUERY_COLUMNS = (
    Column("calls", 7),
    Column("total", 8),
    Column("mean", 8),
    Column("p95", 8),
    Column("share", 6),
    Column("rows", 7),
    Column("errors", 7),
)
_POOL_COLUMNS = (
    Column("max", 5),
    Column("peak", 5),
    Column("checkouts", 10),
    Column("waited", 8),
    Column("p95 wait", 9),
    Column("timeouts", 9),
)
_CACHE_COLUMNS = (
    Column("requests", 9),
    Column("hits", 8),
    Column("misses", 8),
    Column("errors", 7),
    Column("hit ratio", 10),
)
_FINDING_COLUMNS = (Column("times", 6), Column("queries", 8), Column("wasted", 8))
_ERROR_COLUMNS = (Column("calls", 7),)


def render(report: Report, console: Console) -> None:
    """Print the report to ``console``."""
    width = max(NARROWEST, console.width)
    for line in _lines(report, width):
        if console.options.ascii_only:
            line.plain = line.plain.translate(_ASCII)  # one character for one, so that styles stay where they are
        console.print(line, soft_wrap=True)


def _lines(report: Report, width: int) -> Iterable[Text]:
    yield Text(_nothing(report)) if report.empty else _header(report)
    if report.findings:
        yield from _findings(report.findings, width)
    if report.queries:
        yield from _queries(report.queries, width)
    if report.pools:
        yield from _pools(report.pools, width)
    if report.caches:
        yield from table(
            "Caches",
            _CACHE_COLUMNS,
            [
                Row(
                    f"{cache.name} ({cache.tier})" if cache.tier else cache.name,
                    (
                        Cell(count(cache.requests)),
                        Cell(count(cache.hits)),
                        Cell(count(cache.misses)),
                        _alarm(cache.errors),
                        _ratio(cache.hit_ratio),
                    ),
                )
                for cache in report.caches[:MOST_OTHERS]
            ],
            width,
        )
        yield from _more(report.caches)
    if report.errors:
        yield from _errors(report.errors, width)
    if report.faults:
        sites = ", ".join(f"{site} {number}×" for site, number in sorted(report.faults.items()))
        yield Text.assemble("\n", ("Faults of dbvitals itself, please report them: ", "bold red"), sites)
    if report.unjudged:
        yield Text(f"\n{things(report.unjudged, 'span')} came too fast to be looked at for findings.", "dim")
    if report.killed:
        were = f"{things(report.killed, 'process was', 'processes were')} killed"
        did = "it" if report.killed == 1 else "they"
        yield Text(f"\n{were}; up to a second of what {did} did may be missing.", "dim")
    if report.unreadable:
        yield Text(f"\n{things(report.unreadable, 'snapshot')} could not be read and are not in here.", "yellow")


def _header(report: Report) -> Text:
    facts = [seconds(report.duration), things(report.processes, "process", "processes")]
    if report.queries:
        facts.append(f"{things(report.calls, 'query', 'queries')} in {seconds(report.total)}")
    if report.failed:
        facts.append(f"{count(report.failed)} failed")
    return Text.assemble(("dbvitals", "bold"), "".join(f" · {fact}" for fact in facts))


def _nothing(report: Report) -> str:
    if not report.watched:
        return (
            "dbvitals saw nothing: no Python process loaded it. Start the program with the Python that dbvitals is "
            "installed in, without -I, -S or -E, and leave PYTHONPATH as it finds it."
        )
    return (
        f"dbvitals saw nothing: it watched {things(report.watched, 'process', 'processes')} for "
        f"{seconds(report.duration)}, and none sent a query through SQLAlchemy or read a key through redis-py. "
        "Give the program some work (a request, a job) before it ends."
    )


def _findings(findings: Sequence[Finding], width: int) -> Iterable[Text]:
    told_better = {finding.key[1:] for finding in findings if finding.rule == "join_or_selectinload"}
    found = [one for one in findings if one.rule != "n_plus_one" or one.key[1:] not in told_better]
    rows = []
    for finding in found[:MOST_FINDINGS]:
        cells = (Cell(count(finding.occurrences)), Cell(count(finding.queries)), Cell(seconds(finding.wasted), "bold"))
        place = [_place(finding.caller)] if finding.caller else [""] if width >= WIDE else []
        rows.append(Row(f"{_KINDS[finding.rule]}: {finding.summary}", cells, [*place, finding.advice]))
    yield from table("Findings by time wasted", _FINDING_COLUMNS, rows, width, beside="called from")
    yield from _more(found, MOST_FINDINGS)


def _queries(queries: Sequence[Query], width: int) -> Iterable[Text]:
    shown = queries[:MOST_QUERIES]
    summaries = Counter(query.summary for query in shown)
    rows = []
    for query in shown:
        cells = (
            Cell(count(query.calls)),
            Cell(seconds(query.total), "bold"),
            Cell(seconds(query.mean)),
            Cell(seconds(query.p95)),
            Cell(percent(query.share)),
            Cell(count(query.rows)),
            _alarm(query.errors),
        )
        notes = [_place(query.caller)] if query.caller else []
        if summaries[query.summary] > 1 and query.text:  # the summary alone does not tell them apart
            notes.append(_essence(query.text))
        rows.append(Row(query.summary, cells, notes))
    yield from table("Queries by total time", _QUERY_COLUMNS, rows, width, beside="called from")
    rest = queries[MOST_QUERIES:]
    if rest:
        total = sum(query.total for query in rest)
        yield Text(f"… and {things(len(rest), 'more query', 'more queries')}, {seconds(total)} in total", "dim")


def _pools(pools: Sequence[Pool], width: int) -> Iterable[Text]:
    rows = []
    for pool in pools[:MOST_OTHERS]:
        full = pool.most is not None and pool.peak >= pool.most
        cells = (
            Cell("–" if pool.most is None else count(pool.most)),
            Cell(count(pool.peak), "yellow" if full else "default"),
            Cell(count(pool.checkouts)),
            Cell(seconds(pool.waited)),
            Cell(seconds(pool.p95_wait)),
            _alarm(pool.timeouts),
        )
        name = f"{pool.name} × {pool.processes}" if pool.processes > 1 else pool.name
        more = [things(pool.created, "connection") + " made"]
        if pool.invalidations:
            more.append(f"{count(pool.invalidations)} invalidated")
        more.append(f"longest wait {seconds(pool.longest_wait)}")
        rows.append(Row(name, cells, [", ".join(more)]))
    yield from table("Connection pools", _POOL_COLUMNS, rows, width)
    yield from _more(pools)


def _errors(errors: Sequence[Error], width: int) -> Iterable[Text]:
    rows = []
    for error in errors[:MOST_OTHERS]:
        others = f" and {things(error.queries - 1, 'other')}" if error.queries > 1 else ""
        place = f", {_place(error.caller)}" if error.caller else ""
        rows.append(Row(error.type, (_alarm(error.calls),), [f"{error.summary}{others}{place}"]))
    yield from table("Errors by type", _ERROR_COLUMNS, rows, width)
    yield from _more(errors)


def _more(everything: Sequence[object], most: int = MOST_OTHERS) -> Iterable[Text]:
    rest = len(everything) - most
    if rest > 0:
        yield Text(f"… and {count(rest)} more", "dim")


def _alarm(number: int) -> Cell:
    return Cell(count(number), "bold red" if number else "dim")


def _ratio(ratio: float | None) -> Cell:
    return Cell("–") if ratio is None else Cell(percent(ratio), "yellow" if ratio < 0.5 else "green")


def _place(caller: Caller) -> str:
    """``shop/pages.py:41 (list_orders)``: the file with its folder, which is how people know it."""
    file = "/".join(caller.file.replace("\\", "/").split("/")[-2:])
    function = caller.function.partition(".<locals>")[0]  # a comprehension, a lambda: the function that it is in
    return f"{file}:{caller.line} ({function})"


def _essence(text: str) -> str:
    """A statement from where it differs from others on the same table: behind the columns of a SELECT."""
    flat = " ".join(text.split())
    at = flat.upper().find(" FROM ")
    return f"… {flat[at + 1 :]}" if flat[:6].upper() == "SELECT" and at > 0 else flat
