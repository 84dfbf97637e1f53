#!/usr/bin/env python3
"""Tries the truth itself: what an expert claims in truth.json must hold on the real server, too.

    python bench/advice/verify.py --keep [NAME …]

Every index of the expert's is needed, the queries said to be helped are (and no others), and a trap brings too little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import psycopg
from database import connect, database, drop_indexes, run_sources, server
from indexes import build, upkeep
from judge import Verdict, judge
from plans import estimates, weighted
from workload import Workload, names, read

HELPED = 2.0  # times as cheap,
RARE = 1.0  # unless it runs less often an hour: then no index is made for it
SMALL = 0.005  # part of the cost of an hour that a trap may save
ENTRY = 1.0  # what a write to one index costs, in the planner's units: about a page, with its log


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="verify.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("workload", nargs="*", metavar="NAME", help=", ".join(names()))
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--database-prefix", default="advice_", metavar="PREFIX")
    options = parser.parse_args(arguments)
    faults = 0
    with server(options.keep) as url:
        for name in options.workload or names():
            workload = read(name)
            fill = run_sources(workload.sources)
            place = database(url, options.database_prefix + name, workload.sources, fill, options.keep)
            with place as (target, seconds), connect(target) as connection:
                print(f"\n{name}: " + (f"loaded in {seconds:.1f} s" if seconds else "there already"))
                faults += _verify(connection, workload)
    return int(faults > 0)


def _verify(connection: psycopg.Connection[Any], workload: Workload) -> int:
    none = estimates(connection, workload.statements)
    expert = judge(connection, workload, none, workload.truth["indexes"])
    print(f"  {expert.left:.2%} of the cost is left, {expert.built.bytes / 1e6:.1f} MB, {expert.entries:.0f} entries/h")
    faults = [f"{alarm.ddl}: {alarm.reason}" for alarm in expert.alarms]
    claimed, hourly = set(workload.truth["helped"]), weighted(workload.statements, expert.costs)
    for statement in workload.statements:
        if not statement.reads:
            continue
        before, after = none[statement.id].cost, expert.costs[statement.id].cost
        if (before / after >= HELPED and statement.calls >= RARE) != (statement.id in claimed):
            said = "helped" if statement.id in claimed else "not helped"
            faults.append(f"{statement.id}: {before:.1f} → {after:.1f}, said to be {said}")
        ratio, share = before / after, after * statement.calls / hourly
        print(f"  {statement.id:34} {statement.calls:>8g} {before:>10.1f} {after:>10.1f} {ratio:>9.1f} {share:>6.1%}")
    faults += [f"helped, but no statement: {name}" for name in sorted(claimed - none.keys())]
    for trap in workload.truth["traps"]:
        faults += _spring(connection, workload, trap, hourly, expert)
    drop_indexes(connection)
    for fault in faults:
        print(f"  FAULT {fault}")
    return len(faults)


def _spring(
    connection: psycopg.Connection[Any], workload: Workload, trap: dict[str, Any], hourly: float, expert: Verdict
) -> list[str]:
    """Builds a trap beside the expert's indexes: what it saves in an hour, and what the hour's writes to it cost."""
    if not any(trap["table"] in statement.sql for statement in workload.statements):
        return [f"trap on {trap['table']}: no statement knows the table"]
    name = f"{trap['table']} ({', '.join(trap['columns'])})"
    with connection.transaction(force_rollback=True):
        built = build(connection, [f"CREATE INDEX ON {name}"])
        saved = hourly - weighted(workload.statements, estimates(connection, workload.statements))
        all_entries = upkeep((*expert.built.indexes, *built.indexes), workload.statements)
        extra = (all_entries - expert.entries) * ENTRY
    print(f"  trap {name}: saves {saved:.0f}/h = {saved / hourly:.2%}, writes {extra:.0f}/h")
    if built.failed:
        return [f"trap {name}: {built.failed[0][1]}"]
    if saved > extra and saved / hourly > SMALL:
        return [f"trap {name} is worth it: {saved:.0f} > {extra:.0f}"]
    return []


if __name__ == "__main__":
    sys.exit(main())
