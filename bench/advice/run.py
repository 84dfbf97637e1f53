#!/usr/bin/env python3
"""Judges an index advisor on the workloads of three web services, beside what an expert would create.

    python bench/advice/run.py                                        the three workloads, on a private server
    python bench/advice/run.py --keep --workload webshop              on the server of the environment; reloads nothing
    python bench/advice/run.py --advisor 'CMD --url {url} --workload {workload} {budget}'

`{budget}` becomes `--budget SIZE` or nothing. What the numbers mean: README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import psycopg
from advisor import COMMAND, Advice, ask
from database import VARIABLE, cache, connect, database, drop_indexes, run_sources, server
from judge import Unsolved, Verdict, judge, unsolved
from plans import Estimates, estimates
from workload import Workload, names, read

BORN = """
    SELECT system_identifier::text, oid::integer FROM pg_control_system(), pg_database
    WHERE datname = current_database()
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    reports = []
    with server(options.keep) as url:
        for name in options.workload or names():
            workload = read(name)
            place = database(
                url, options.database_prefix + name, workload.sources, run_sources(workload.sources), options.keep
            )
            with place as (target, seconds):
                report = _report(target, workload, options)
            report["load_seconds"] = seconds
            reports.append(report)
            if not options.json:
                _print(report, options.verbose)
    if options.json:
        json.dump(reports, sys.stdout, indent=2)
        print()
    return int(any(report["advisor"]["problem"] for report in reports if report["advisor"]))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workload", nargs="+", choices=names(), metavar="NAME", help=", ".join(names()))
    parser.add_argument("--advisor", default=COMMAND, metavar="CMD", help="with {url}, {workload} and {budget} in it")
    parser.add_argument("--budget", metavar="SIZE", help="handed to the advisor, such as 80MB")
    parser.add_argument("--expert", action="store_true", help="judge only the expert's own indexes")
    parser.add_argument("--keep", action="store_true", help=f"keep the databases, on the server that {VARIABLE} names")
    parser.add_argument("--database-prefix", default="advice_", metavar="PREFIX", help="of the databases' names")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="print all indexes of the advisor, too")
    return parser.parse_args(arguments)


def _report(url: str, workload: Workload, options: argparse.Namespace) -> dict[str, Any]:
    with connect(url) as connection:
        none = estimates(connection, workload.statements)
        expert, costs = _expert(connection, workload, none)
        report: dict[str, Any] = {
            "workload": workload.name,
            "statements": len(workload.statements),
            "helped": len(workload.truth["helped"]),
            "expert": expert,
            "advisor": None,
        }
        if options.expert:
            return report
        advice = ask(options.advisor, url, workload.file, options.budget)
        drop_indexes(connection)  # whatever it may have left behind
        advisor = judge(connection, workload, none, advice.ddl)
        drop_indexes(connection)
        report["advisor"] = _verdict(advisor, unsolved(workload, none, costs, advisor.costs), advice)
    return report


def _expert(
    connection: psycopg.Connection[Any], workload: Workload, none: Estimates
) -> tuple[dict[str, Any], dict[str, float]]:
    """The verdict on the expert's indexes and the costs with them. Building them takes longest, so it is remembered."""
    born = connection.execute(BORN).fetchone()
    sources = json.dumps([born, workload.sources, workload.statements, workload.truth], sort_keys=True)
    file = cache() / f"expert-{workload.name}-{hashlib.sha256(sources.encode()).hexdigest()[:16]}.json"
    if file.exists():
        verdict, costs = json.loads(file.read_text())
        return verdict, costs
    judged = judge(connection, workload, none, workload.truth["indexes"])
    drop_indexes(connection)
    verdict, costs = _verdict(judged, []), {name: each.cost for name, each in judged.costs.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([verdict, costs]))
    return verdict, costs


def _verdict(verdict: Verdict, missing: list[Unsolved], advice: Advice | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "left": verdict.left,
        "indexes": [index.ddl for index in verdict.built.indexes],
        "bytes": verdict.built.bytes,
        "entries_per_hour": verdict.entries,
        "false_alarms": [alarm._asdict() for alarm in verdict.alarms],
        "second_best": [each._asdict() for each in verdict.second_best],
        "unsolved": [each._asdict() for each in missing],
    }
    if advice is not None:
        told |= {"seconds": advice.seconds, "problem": advice.problem}
    return told


def _print(report: dict[str, Any], verbose: bool) -> None:
    loaded = f"loaded in {report['load_seconds']:.1f} s" if report["load_seconds"] else "there already"
    print(f"\n{report['workload']}: {report['statements']} statements, {report['helped']} that indexes help; {loaded}")
    heads = ("cost left", 9), ("solved", 8), ("false alarms", 13), ("second best", 12), ("indexes", 8), ("MB", 7)
    print(" " * 10, *(f"{head:>{width}}" for head, width in (*heads, ("entries/h", 10), ("seconds", 8))))
    for who in ("expert", "advisor"):
        if (told := report[who]) is None:
            continue
        solved = f"{report['helped'] - len(told['unsolved'])}/{report['helped']}"
        seconds = f"{told['seconds']:.1f}" if "seconds" in told else ""
        print(
            f"  {who:8} {told['left']:>9.2%} {solved:>8} {len(told['false_alarms']):>13} {len(told['second_best']):>12}"
            f" {len(told['indexes']):>8}"
            f" {told['bytes'] / 1e6:>7.1f} {told['entries_per_hour']:>10.0f} {seconds:>8}"
        )
        if told.get("problem"):
            print(f"  the advisor failed: {told['problem']}")
        for alarm in told["false_alarms"]:
            print(f"    false alarm: {alarm['ddl']}\n      {alarm['reason']}")
        for each in told["second_best"]:
            print(f"    second best: {each['ddl']}\n      {each['reason']}")
        if told["unsolved"]:
            print(f"    {'unsolved':40} {'calls/h':>8} {'none':>10} {'expert':>10} {'advisor':>10}")
        for each in told["unsolved"]:
            costs = " ".join(f"{each[key]:>10.1f}" for key in ("none", "expert", "advisor"))
            print(f"    {each['id']:40} {each['calls']:>8g} {costs}")
        if verbose and who == "advisor":
            print("\n".join(f"    {ddl}" for ddl in told["indexes"]))


if __name__ == "__main__":
    sys.exit(main())
