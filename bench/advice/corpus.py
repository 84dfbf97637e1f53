#!/usr/bin/env python3
"""Reads a large corpus of SQL as the advisor would, and counts what it makes of it: nothing may raise or hang.

    python bench/advice/corpus.py FOLDER_OR_FILE [...]                      *.sql, and SQL in strings of *.py
    python bench/advice/corpus.py --system mysql FOLDER                     postgresql, mysql or sqlite
    python bench/advice/corpus.py MIRROR.git::src/test/regress/sql          a folder of a git repository's newest commit

PostgreSQL's own regression tests (src/test/regress/sql) and SQLAlchemy's (test/**/*.py) are what the bar is measured
on; nothing of them is kept here. Each statement is split at its binds, parsed, read and searched for candidates, once
with an empty catalogue and once with one that has the tables and columns that it names. Ends with 1 if anything raised
or hung.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import multiprocessing
import re
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlglot import exp

from dbvitals_processors.hints import parsing
from dbvitals_processors.hints.candidates import candidates
from dbvitals_processors.hints.model import Catalogue, Column, Table, TableName, Unplannable
from dbvitals_processors.hints.sources.sql import Unreadable, is_workload, split

HUNG = 10.0
SLOW = 1.0
_TYPES = (
    "bigint",
    "text",
    "timestamp with time zone",
    "jsonb",
    "character varying(40)",
    "boolean",
    "text[]",
    "numeric",
)
_SQL = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|WITH|MERGE|REPLACE|VALUES|\(SELECT)\s", re.IGNORECASE)
_COPY = re.compile(r"^copy\b.*\bfrom\s+stdin\b.*?;[^\n]*\n.*?^\\\.$", re.IGNORECASE | re.MULTILINE | re.DOTALL)
_OF_PSQL = re.compile(r"^\\.*$|\\(?:g|gset|gexec|gdesc|crosstabview|bind|parse)\b.*$", re.MULTILINE)


class Text(NamedTuple):
    """A file of the corpus."""

    name: str
    text: str


class Outcome(NamedTuple):
    """What became of one statement; ``detail`` is a reason, or a fault's last line with where it was."""

    kind: str
    detail: str
    seconds: float
    name: str
    sql: str
    data: bool


class HungUp(BaseException):
    """The time limit."""


# --- the corpus ------------------------------------------------------------------------------------------------------


def texts(place: str) -> Iterator[Text]:
    """The files of a folder, or of a folder of a git repository's newest commit."""
    where, _, under = place.partition("::")
    root = Path(where)
    if "::" in place or (root / "HEAD").is_file():
        listed = _git(root, "ls-tree", "-r", "--name-only", "HEAD", *([under] if under else []))
        for name in listed.splitlines():
            if name.endswith((".sql", ".py")):
                yield Text(name, _git(root, "show", f"HEAD:{name}"))
        return
    for path in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix in (".sql", ".py")):
        yield Text(str(path), path.read_text(encoding="utf-8", errors="replace"))


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, check=True)
    return done.stdout.decode("utf-8", errors="replace")


def statements(text: Text, system: str) -> list[str]:
    """The statements of a file; of Python the strings that begin as SQL does."""
    if text.name.endswith(".py"):
        return list(dict.fromkeys(one for one in _strings(text.text) if _SQL.match(one)))
    plain = _OF_PSQL.sub(";", _COPY.sub("", text.text.replace("\\;", ";")))
    with contextlib.suppress(Unreadable):
        return [piece.sql for piece in split(plain, system)]
    return [one for one in re.split(r";[ \t]*(?:--[^\n]*)?\n", plain) if one.strip()]  # something that is meant to fail


def _strings(source: str) -> Iterator[str]:
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


# --- one statement ---------------------------------------------------------------------------------------------------


def looked_at(sql: str, name: str, system: str) -> Outcome:
    """All that the advisor does with a text before it asks a database."""
    began = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, HUNG)
    try:
        kind, detail = _looked_at(sql, system)
    except HungUp:
        kind, detail = "hung", traceback.format_exc(limit=-1).splitlines()[-2].strip()
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind, detail = "raised", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        data = is_workload(sql, system)
    except Exception:  # the sources' own matter
        data = False
    return Outcome(kind, detail.partition("\n")[0], time.perf_counter() - began, name, sql, data)


def _looked_at(sql: str, system: str) -> tuple[str, str]:
    try:
        tree = parsing.parse(sql, system)
        parsing.read(tree, Catalogue(system, {}))
        known = catalogue_of(tree, system)
        reading = parsing.read(tree, known)
        found = [one.definition for access in reading.accesses for one in candidates(access, known)]
    except Unplannable as reason:
        return "refused", str(reason)
    words = reading.kind
    if reading.kind == "select" and not reading.accesses:
        words = "select without a table"
    return "parsed", words if not found else f"{words}, with candidates"


def catalogue_of(tree: exp.Expression, system: str) -> Catalogue:
    """Large tables of all names in a statement, each with all columns in it, of types in turn."""
    schema = "public" if system == "postgresql" else ""
    columns = {
        name: Column(name, _TYPES[number % len(_TYPES)], distinct=5_000 if number % 3 else 4, common=(("1", 0.1),))
        for number, name in enumerate(dict.fromkeys(one.name for one in tree.find_all(exp.Column)))
    }
    tables = {
        name: Table(name, columns, 1e6, 20_000)
        for name in (TableName(one.db or schema, one.name) for one in tree.find_all(exp.Table))
    }
    return Catalogue(system, tables, (schema,), frozenset({"pg_trgm"}))


# --- all of them -----------------------------------------------------------------------------------------------------


def _of_file(work: tuple[Text, str]) -> list[Outcome]:
    def hang_up(*_: object) -> None:
        raise HungUp

    signal.signal(signal.SIGALRM, hang_up)
    text, system = work
    return [looked_at(sql, text.name, system) for sql in statements(text, system)]


def report(outcomes: Sequence[Outcome], most: int) -> None:
    """The counts, the reasons, and what is to be mended."""
    for words, some in (("all", outcomes), ("SELECT and what changes rows", [one for one in outcomes if one.data])):
        counts = Counter(one.kind for one in some)
        total = max(1, len(some))
        parts = "  ".join(f"{kind} {counts[kind]:,} ({counts[kind] / total:.2%})" for kind in KINDS)
        slow = sum(one.seconds > SLOW for one in some)
        print(f"{words}: {len(some):,} statements  {parts}  slow {slow}")
    for kind in ("parsed", "refused"):
        print(f"\n{kind}:")
        details = (_LINE.sub("", one.detail) for one in outcomes if one.kind == kind)
        for detail, number in Counter(details).most_common(most):
            print(f"  {number:>7,}  {detail[:140]}")
    print("\nto mend:")
    for one in [one for one in outcomes if one.kind in ("raised", "hung") or one.seconds > SLOW][:most]:
        print(
            f"  {one.kind} {one.seconds:.1f} s  {one.name}: {one.detail[:140]}\n    {' '.join(one.sql.split())[:300]}"
        )


_LINE = re.compile(r" in line \d+")
KINDS = ("parsed", "refused", "raised", "hung")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+")
    parser.add_argument("--system", default="postgresql", choices=("postgresql", "mysql", "sqlite"))
    parser.add_argument("--most", type=int, default=15, metavar="N", help="reasons and faults to print")
    parser.add_argument("--refused", metavar="WORDS", help="print the statements that are refused for such a reason")
    given = parser.parse_args()
    work = [(text, given.system) for place in given.places for text in texts(place)]
    with multiprocessing.Pool() as pool:
        outcomes = [one for some in pool.imap(_of_file, work, chunksize=1) for one in some]
    if given.refused is not None:
        for one in outcomes:
            if one.kind == "refused" and given.refused in one.detail and one.data:
                print(f"{one.name}: {' '.join(one.sql.split())[:400]}")
    report(outcomes, given.most)
    return int(any(one.kind in ("raised", "hung") for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
