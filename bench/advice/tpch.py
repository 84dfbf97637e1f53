#!/usr/bin/env python3
"""Judges an index advisor on TPC-H, as papers on index selection do, but with the indexes really built.

    python bench/advice/tpch.py                      generates the data, on a private server
    python bench/advice/tpch.py --keep --no-times    on the environment's server; seconds from the second run on

Queries 17 and 20 count for nothing: without an index their cost is so high that they alone would decide.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
from advisor import COMMAND, ask, calls
from database import cache, connect, database, drop_indexes, server
from indexes import build
from plans import explain
from workload import HERE

FOLDER = HERE / "tpch"
TABLES = ("region", "nation", "supplier", "part", "partsupp", "customer", "orders", "lineitem")
LEFT_OUT = {"q17", "q20"}
BUDGETS = ("80MB", "380MB", "none")
PATIENCE = 120  # seconds for one query


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tpch.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--advisor", default=COMMAND, metavar="CMD", help="with {url}, {workload} and {budget} in it")
    parser.add_argument("--budget", nargs="+", default=BUDGETS, metavar="SIZE", help=", ".join(BUDGETS))
    parser.add_argument("--scale", default="0.5", help="scale factor")
    parser.add_argument("--no-times", dest="times", action="store_false", help="costs only")
    parser.add_argument("--runs", type=int, default=3, help="of which the fastest counts, after one to warm up")
    parser.add_argument("--data", type=Path, default=cache(), metavar="DIR", help="where generated data are kept")
    parser.add_argument("--keep", action="store_true", help="keep the database")
    parser.add_argument("--database-prefix", default="advice_", metavar="PREFIX")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    schema = (HERE / "tpch.sql").read_text()

    def fill(connection: psycopg.Connection[Any]) -> None:
        connection.execute(schema)
        _copy(connection, _generated(options.data, options.scale))

    with (
        server(options.keep) as url,
        database(url, f"{options.database_prefix}tpch", [schema, options.scale], fill, options.keep) as place,
    ):
        target, seconds = place
        if not options.json:
            print(
                f"TPC-H, scale factor {options.scale}; "
                + (f"loaded in {seconds:.1f} s" if seconds else "there already")
            )
        reports = _reports(target, options)
    if options.json:
        json.dump(reports, sys.stdout, indent=2)
        print()
    return int(any(report["problem"] for report in reports))


def _reports(url: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    queries = {path.stem: path.read_text().rstrip().rstrip(";") for path in sorted(FOLDER.glob("q*.sql"))}
    counted = {name: query for name, query in queries.items() if name not in LEFT_OUT}
    reports = []
    with connect(url) as connection:
        for budget in (None, *options.budget):
            report: dict[str, Any] = {"budget": budget or "no indexes", "ddl": [], "problem": None, "bytes": 0}
            if budget is not None:
                given = None if budget == "none" else budget
                advice = ask(options.advisor, url, FOLDER, given)
                drop_indexes(connection)  # whatever it may have left behind
                built = build(connection, advice.ddl)
                report |= {"ddl": advice.ddl, "seconds": advice.seconds, "problem": advice.problem}
                report |= {"bytes": built.bytes, "failed": built.failed}
                report["what_if_calls"] = calls(options.advisor, url, FOLDER, given) if not advice.problem else None
            connection.execute("VACUUM (ANALYZE)")
            report["costs"] = {name: explain(connection, query)[0] for name, query in counted.items()}
            report["times"] = _times(connection, counted, options.runs) if options.times else {}
            drop_indexes(connection)
            reports.append(report)
            if not options.json:
                _print(report, reports[0])
    return reports


def _times(connection: psycopg.Connection[Any], queries: Mapping[str, str], runs: int) -> dict[str, float]:
    """Seconds of each query, the fastest of its runs; one that takes too long counts as that long."""
    connection.execute(f"SET statement_timeout = '{PATIENCE}s'")
    times = {}
    for name, query in queries.items():
        taken = [float(PATIENCE)]
        try:
            for _ in range(1 + runs):
                started = time.perf_counter()
                connection.execute(query).fetchall()
                taken.append(time.perf_counter() - started)
        except psycopg.errors.QueryCanceled:
            pass
        times[name] = min(taken[2:] or taken)
    connection.execute("SET statement_timeout = 0")
    return times


def _print(report: Mapping[str, Any], bare: Mapping[str, Any]) -> None:
    cost, seconds = sum(report["costs"].values()), sum(report["times"].values())
    share = cost / sum(bare["costs"].values())
    print(f"\n  {report['budget']}: {len(report['ddl'])} indexes, {report['bytes'] / 1e6:.1f} MB")
    print(f"    cost {cost:.0f} = {share:.2%}" + (f", time {seconds:.2f} s" if report["times"] else ""))
    if "seconds" in report:
        print(f"    advisor: {report['seconds']:.1f} s, what-if calls: {report['what_if_calls'] or 'not told'}")
        for statement, reason in report["failed"]:
            print(f"    fails: {statement}: {reason}")
        print("".join(f"    {statement}\n" for statement in report["ddl"]), end="")
    if report["problem"]:
        print(f"    the advisor failed: {report['problem']}")


def _generated(home: Path, scale: str) -> Path:
    folder = home / f"tpch-{scale}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([_generator(home), "csv", "-s", scale, f"--output-dir={folder}"], check=True, stdout=sys.stderr)
        (folder / "complete").touch()
    return folder


def _generator(home: Path) -> str:
    """tpchgen-cli from PATH, or from PyPI into the cache: no environment is changed for a benchmark."""
    tools = home / "tools"
    if found := shutil.which("tpchgen-cli") or shutil.which("tpchgen-cli", path=str(tools / "bin")):
        return found
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tools), "tpchgen-cli"]
    subprocess.run(install, check=True, stdout=sys.stderr)
    return str(tools / "bin" / "tpchgen-cli")


def _copy(connection: psycopg.Connection[Any], folder: Path) -> None:
    for table in TABLES:
        copy = f"COPY {table} FROM STDIN WITH (FORMAT csv, HEADER)"
        with open(folder / f"{table}.csv", "rb") as file, connection.cursor().copy(copy) as target:
            while block := file.read(1 << 20):
                target.write(block)


if __name__ == "__main__":
    sys.exit(main())
