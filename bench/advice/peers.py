#!/usr/bin/env python3
"""Two algorithms from the literature, made anew on HypoPG, to have somebody to compare an advisor with.

    python bench/advice/run.py --keep --advisor '{python} bench/advice/peers.py extend {url} {workload} {budget}'

`db2advis` (Valentin et al., ICDE 2000): offer the planner every index of one or two columns for one query at a time,
keep what its plan uses, take the best by benefit for size, then try exchanges for a while. `extend` (Schlosser et al.,
ICDE 2019): again and again, the new index of one column, or the further column of an index chosen before, that saves
most for its size. Both know plain B-trees only, and count no writes, as in the papers.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from database import connect
from plans import explain, indexes
from workload import Statement, read_file

COLUMNS = """
    SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    JOIN pg_type ON pg_type.oid = atttypid
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
      AND typcategory NOT IN ('A', 'R') AND typname NOT IN ('json', 'jsonb', 'tsvector')
"""
UNITS = {"": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
WORTH = 0.001  # of the cost so far: what an index must save
WIDTH = 3  # columns of an index of Extend's
EXCHANGES = 10.0  # seconds


class Index(NamedTuple):
    table: str
    columns: tuple[str, ...]

    @property
    def ddl(self) -> str:
        return f"CREATE INDEX ON {self.table} ({', '.join(self.columns)})"


class Query(NamedTuple):
    sql: str
    weight: float
    columns: tuple[tuple[str, str], ...]

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}


class WhatIf:
    """The planner's answers, each asked for once."""

    def __init__(self, connection: psycopg.Connection[Any], statements: Iterable[Statement]) -> None:
        self.connection = connection
        known = connection.execute(COLUMNS).fetchall()
        self.queries = [_query(each, known) for each in statements if each.reads]
        self._sizes: dict[Index, int] = {}
        self._costs: dict[tuple[Query, frozenset[Index]], float] = {}

    def plan(self, query: Query, chosen: Iterable[Index]) -> tuple[float, set[Index]]:
        """The cost of a query with these indexes, and those of them that its plan uses."""
        self.connection.execute("SELECT hypopg_reset()")
        names = {}
        for index in chosen:
            created = self.connection.execute("SELECT indexrelid, indexname FROM hypopg_create_index(%s)", [index.ddl])
            oid, name = created.fetchone() or (0, "")
            names[name] = index
            if index not in self._sizes:
                sized = self.connection.execute("SELECT hypopg_relation_size(%s)", [oid]).fetchone()
                self._sizes[index] = int(sized[0]) if sized else 0
        cost, plan = explain(self.connection, query.sql)
        return cost, {names[name] for name in indexes(plan) if name in names}

    def size(self, index: Index) -> int:
        if index not in self._sizes:
            self.plan(Query("SELECT 1", 0, ()), [index])
        return self._sizes[index]

    def cost(self, query: Query, chosen: Iterable[Index]) -> float:
        relevant = frozenset(index for index in chosen if index.table in query.tables)
        if (query, relevant) not in self._costs:
            self._costs[query, relevant] = query.weight * self.plan(query, relevant)[0]
        return self._costs[query, relevant]

    def total(self, chosen: Iterable[Index]) -> float:
        return sum(self.cost(query, chosen) for query in self.queries)


def _query(statement: Statement, known: Iterable[tuple[str, str]]) -> Query:
    words = set(re.findall(r"\w+", statement.sql.lower()))
    conditions = set(re.findall(r"\w+", re.split(r"\b(?:from|set)\b", statement.sql.lower(), maxsplit=1)[-1]))
    columns = tuple((table, column) for table, column in known if table in words and column in conditions)
    return Query(statement.samples[0], statement.calls, columns)


def db2advis(what_if: WhatIf, budget: float) -> list[Index]:
    benefits: dict[Index, float] = {}
    for query in what_if.queries:
        single = [Index(table, (column,)) for table, column in query.columns]
        pairs = [
            Index(a.table, a.columns + b.columns) for a, b in itertools.permutations(single, 2) if a.table == b.table
        ]
        cost, used = what_if.plan(query, single + pairs)
        saved = what_if.cost(query, ()) - cost * query.weight
        for index in used if saved > WORTH * what_if.cost(query, ()) else ():
            benefits[index] = benefits.get(index, 0) + saved
    ranked = sorted(benefits, key=lambda index: -benefits[index] / what_if.size(index))
    chosen: list[Index] = []
    for index in ranked:
        if sum(map(what_if.size, (*chosen, index))) <= budget:
            chosen.append(index)
    rest = [index for index in ranked if index not in chosen]
    dice, until, best = random.Random(1), time.monotonic() + EXCHANGES, what_if.total(chosen)
    while rest and chosen and time.monotonic() < until:
        out, put = dice.choice(chosen), dice.choice(rest)
        tried = [index for index in chosen if index != out] + [put]
        if sum(map(what_if.size, tried)) <= budget and (cost := what_if.total(tried)) < best:
            chosen, best = tried, cost
            rest = [index for index in rest if index != put] + [out]
    return chosen


def extend(what_if: WhatIf, budget: float) -> list[Index]:
    columns = sorted({column for query in what_if.queries for column in query.columns})
    chosen: list[Index] = []
    while True:
        now, room = what_if.total(chosen), budget - sum(map(what_if.size, chosen))
        best: tuple[float, list[Index]] = (0.0, [])
        steps = [(None, Index(table, (column,))) for table, column in columns]
        steps += [
            (index, Index(index.table, (*index.columns, column)))
            for index in chosen
            for table, column in columns
            if table == index.table and column not in index.columns and len(index.columns) < WIDTH
        ]
        for old, new in steps:
            growth = what_if.size(new) - (what_if.size(old) if old else 0)
            if new in chosen or growth > room:
                continue
            tried = [index for index in chosen if index != old] + [new]
            saved = now - what_if.total(tried)
            if saved > WORTH * now and saved / max(growth, 8192) > best[0]:
                best = saved / max(growth, 8192), tried
        if not best[1]:
            return chosen
        chosen = best[1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="peers.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("algorithm", choices=["db2advis", "extend"])
    parser.add_argument("url")
    parser.add_argument("workload", type=Path, help="a .jsonl file or a folder of .sql files")
    parser.add_argument("--budget", default="", metavar="SIZE", help="such as 80MB")
    options = parser.parse_args()
    number, unit = (re.fullmatch(r"(\d*)(\w*)", options.budget.upper()) or parser.error("--budget 80MB")).groups()
    with connect(options.url) as connection:
        what_if = WhatIf(connection, read_file(options.workload))
        algorithm = {"db2advis": db2advis, "extend": extend}[options.algorithm]
        chosen = algorithm(what_if, int(number) * UNITS[unit] if number else float("inf"))
    print("\n".join(f"{index.ddl};" for index in chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
