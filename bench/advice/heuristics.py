#!/usr/bin/env python3
"""Compares what we work out without HypoPG with what PostgreSQL's planner says with it, query by query.

    python bench/advice/heuristics.py                            a private server
    python bench/advice/heuristics.py --keep --verbose           the server that the environment names

For each query: the indexes that the planner chose with HypoPG, priced by both; then what each would choose by itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from math import exp, log
from typing import NamedTuple

from database import VARIABLE, database, run_sources, server
from sqlalchemy.engine import make_url
from workload import names, read

from dbvitals_processors.hints.advise import read as read_query
from dbvitals_processors.hints.explain.postgres import PostgresPlanner, connect
from dbvitals_processors.hints.model import Unplannable, WorkloadQuery
from dbvitals_processors.hints.study import study


class Compared(NamedTuple):
    """One query: costs without indexes, with the chosen ones by HypoPG and by us; and whether each used them."""

    workload: str
    id: str
    before: float
    hypopg: float
    ours: float
    used: bool
    used_ours: bool
    same: bool
    free: float
    """By HypoPG, with the indexes that our own model would choose from all."""


def compare(workload: str, url: str) -> list[Compared]:
    found = []
    with connect(make_url(url)) as one, connect(make_url(url)) as other:
        asked, ours = PostgresPlanner(one), PostgresPlanner(other)
        ours.__dict__["_hypopg"] = ""
        catalogue = asked.catalogue()
        for line in (read(workload).file).read_text().splitlines():
            entry = json.loads(line)
            query = WorkloadQuery(entry["id"], entry["sql"], entry["calls"], None, tuple(entry.get("parameters") or ()))
            try:
                studied = study(query, read_query(query, catalogue), asked, catalogue)
                indexes = studied.packages[0] if studied.packages else frozenset()
                if not studied.possible:
                    continue
                first, second = asked.estimate(query, indexes), ours.estimate(query, indexes)
                chosen = ours.estimate(query, studied.possible).used
                free = asked.estimate(query, chosen).cost
            except Unplannable as reason:
                print(f"{query.id}: {reason}", file=sys.stderr)
                continue
            found.append(
                Compared(workload, query.id, studied.before, first.cost, second.cost, bool(first.used),
                         bool(second.used) if indexes else bool(chosen), first.used == second.used, free)
            )  # fmt: skip
    return found


def report(found: Sequence[Compared], *, verbose: bool) -> None:
    helped = [one for one in found if one.used]
    ratios = sorted(log(max(one.ours, 0.01) / max(one.hypopg, 0.01)) for one in helped)
    cuts = statistics.quantiles(ratios, n=10)
    agreed = sum(1 for one in found if one.used == one.used_ours)
    left = sum(log(max(one.free, 0.01) / max(one.hypopg, 0.01)) for one in helped) / len(helped)
    print(f"{len(found)} queries with candidates, {len(helped)} of them helped by indexes with HypoPG")
    print(f"  cost, ours / HypoPG's: median {exp(statistics.median(ratios)):.2f}, "
          f"from {exp(cuts[0]):.2f} to {exp(cuts[-1]):.2f} in eight of ten")  # fmt: skip
    print(f"  both agree whether indexes help: {agreed / len(found):.0%}; use the very same set: "
          f"{sum(one.same for one in helped) / len(helped):.0%}")  # fmt: skip
    print(f"  HypoPG's cost of what we would choose: {exp(left):.2f} times that of its own choice (geometric mean)")
    for one in sorted(found, key=lambda one: -abs(log(max(one.ours, 0.01) / max(one.hypopg, 0.01)))) if verbose else ():
        words = f"{one.before:>11,.1f} {one.hypopg:>11,.1f} {one.ours:>11,.1f} {one.free:>11,.1f}"
        print(f"  {one.workload:9} {one.id:36} {words} {'' if one.used == one.used_ours else 'DISAGREE'}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="heuristics.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workload", nargs="+", choices=names(), metavar="NAME", help=", ".join(names()))
    parser.add_argument("--keep", action="store_true", help=f"keep the databases, on the server that {VARIABLE} names")
    parser.add_argument("--database-prefix", default="heur_", metavar="PREFIX", help="of the databases' names")
    parser.add_argument("--verbose", action="store_true", help="each query, the worst first")
    options = parser.parse_args(arguments)
    found = []
    with server() as url:
        for name in options.workload or names():
            sources = read(name).sources
            with database(url, options.database_prefix + name, sources, run_sources(sources), options.keep) as place:
                found += compare(name, place[0])
    report(found, verbose=options.verbose)
    return 0


if __name__ == "__main__":
    sys.exit(main())
