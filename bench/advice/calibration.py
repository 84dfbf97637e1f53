#!/usr/bin/env python3
"""Compares the time that advised indexes are predicted to save with the time that they do save.

    python bench/advice/calibration.py                        the three workloads, on a private server
    python bench/advice/calibration.py --keep --times DIR     the environment's server; times that are in DIR stay

Every statement that finds rows is timed twice without indexes, by turns. The first times go to `dbvitals advise`; the
indexes that it advises are built, and all is timed again. What is saved counts from the second times. Predictions are

    measured   as the advisor makes them, from the times that it got;
    own        from costs alone, with the curve that is learnt from the workload's times, as for what is not measured;
    others     from costs alone, with a curve learnt from the other workloads' times;
    costs      from costs alone, with the curve that is used where nothing was measured.

An error is the logarithm of predicted to measured saving. What the numbers mean: README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from math import log
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import psycopg
from advisor import PROGRAM
from database import VARIABLE, connect, database, drop_indexes, run_sources, server
from indexes import build
from plans import estimates
from workload import Statement, Workload, names, read

from dbvitals_processors.hints.checks import checked_by
from dbvitals_processors.hints.impact import Curve, Model, Point, calibrate
from dbvitals_processors.hints.model import Saving, Served, WorkloadQuery

PATIENCE = 30.0  # seconds for one call
PASSES = 2
SHORT = 0.5  # seconds for one sample, once it ran three times
LITTLE = 1e-4  # seconds a call; a query that saves less than a tenth of a millisecond is noise
NINE_OF_TEN, BAR = 0.9, 0.4


class Compared(NamedTuple):
    """One query or hint: seconds an hour that it saves, as predicted and as measured."""

    workload: str
    name: str
    predicted: Saving
    measured: float

    @property
    def error(self) -> float:
        return abs(log(max(self.predicted.seconds, 1e-9) / self.measured)) if self.measured > 0 else float("inf")

    @property
    def within(self) -> bool:
        return self.predicted.low <= self.measured <= self.predicted.high


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    found: dict[str, Any] = {}
    with server() as url:
        for name in options.workload or names():
            kept = options.times / f"{name}.json" if options.times else None
            if kept is not None and kept.exists():
                found[name] = json.loads(kept.read_text())
                continue
            workload = read(name)
            sources = workload.sources
            place = database(url, options.database_prefix + name, sources, run_sources(sources), options.keep)
            with place as (target, _):
                found[name] = _measured(target, workload, options.runs)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(found[name]))
    curves = {
        "own": {name: calibrate(_points(times)) for name, times in found.items()},
        "others": {
            one: calibrate([p for other in found if other != one for p in _points(found[other])]) for one in found
        },
        "costs": dict.fromkeys(found, Curve()),
    }
    for way in ("measured", "own", "others", "costs"):
        queries: list[Compared] = []
        hints: list[Compared] = []
        for name, times in found.items():
            served = _served(times["advice"]) if way == "measured" else _priced(times["advice"], curves[way][name])
            asked, said = _compared(name, times, served)
            queries, hints = queries + asked, hints + said
        _print(way, queries, hints, options.verbose)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="calibration.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workload", nargs="+", choices=names(), metavar="NAME", help=", ".join(names()))
    parser.add_argument(
        "--runs", type=int, default=3, help="of each sample in each pass, of which the fastest counts, after one"
    )
    parser.add_argument("--times", type=Path, metavar="DIR", help="where times are kept, and taken from")
    parser.add_argument("--keep", action="store_true", help=f"keep the databases, on the server that {VARIABLE} names")
    parser.add_argument("--database-prefix", default="impact_", metavar="PREFIX", help="of the databases' names")
    parser.add_argument("--verbose", action="store_true", help="print each hint, and each query that is far off")
    return parser.parse_args(arguments)


# --- measuring -----------------------------------------------------------------------------------------------------


def _measured(url: str, workload: Workload, runs: int) -> dict[str, Any]:
    with connect(url) as connection:
        connection.execute("VACUUM (ANALYZE)")
        costs = {name: one.cost for name, one in estimates(connection, workload.statements).items()}
        first, second = _passes(connection, workload.statements, runs, 2)
        advice = _ask(url, workload, first)
        built = build(connection, [hint["ddl"] for hint in advice["hints"]])
        connection.execute("VACUUM (ANALYZE)")
        (after,) = _passes(connection, workload.statements, runs, 1)
        drop_indexes(connection)
    failed = [list(one) for one in built.failed]
    return {"costs": costs, "first": first, "second": second, "after": after, "advice": advice, "failed": failed}


def _ask(url: str, workload: Workload, seconds: Mapping[str, float]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "workload.jsonl")
        with file.open("w") as lines:
            for line in workload.file.read_text().splitlines():
                entry = json.loads(line)
                if entry["id"] in seconds:
                    entry["total_seconds"] = seconds[entry["id"]] * entry["calls"]
                print(json.dumps(entry), file=lines)
        command = [str(PROGRAM), "advise", "--database", url, "--workload", str(file), "--format", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the advisor failed: {done.stderr.strip()[-600:]}")
    return json.loads(done.stdout)


def _passes(
    connection: psycopg.Connection[Any], statements: Sequence[Statement], runs: int, number: int
) -> list[dict[str, float]]:
    """Measurements of the same, each the mean of passes that take turns: a machine is not as fast all the time."""
    passes = [_times(connection, statements, runs) for _ in range(PASSES * number)]
    return [{name: mean(one[name] for one in passes[start::number]) for name in passes[0]} for start in range(number)]


def _times(connection: psycopg.Connection[Any], statements: Iterable[Statement], runs: int) -> dict[str, float]:
    """Seconds that one call takes: of each sample the fastest of its runs, of the samples the mean."""
    connection.execute(f"SET statement_timeout = '{PATIENCE}s'")
    found = {
        one.id: mean(_seconds(connection, sample, runs) for sample in one.samples) for one in statements if one.reads
    }
    connection.execute("SET statement_timeout = 0")
    return found


def _seconds(connection: psycopg.Connection[Any], sample: str, runs: int) -> float:
    taken: list[float] = []
    while len(taken) <= runs and (len(taken) < 3 or sum(taken) < SHORT):
        started = time.perf_counter()
        try:
            with connection.transaction(force_rollback=True):
                started = time.perf_counter()
                cursor = connection.execute(sample)
                if cursor.description is not None:
                    cursor.fetchall()
                taken.append(time.perf_counter() - started)
        except psycopg.errors.QueryCanceled:
            return PATIENCE
        except psycopg.errors.IntegrityError:  # found out at the end of the statement: all its work is done
            taken.append(time.perf_counter() - started)
    return min(taken[1:])


# --- comparing -----------------------------------------------------------------------------------------------------


def _points(times: Mapping[str, Any]) -> list[Point]:
    return [Point(times["costs"][name], seconds) for name, seconds in times["first"].items()]


def _served(advice: Mapping[str, Any]) -> dict[str, list[Served]]:
    """Of each hint what the advisor said of its queries."""
    return {hint["id"]: [_one(query) for query in hint["queries"]] for hint in advice["hints"]}


def _one(query: Mapping[str, Any]) -> Served:
    said = query["saving_seconds_per_hour"]
    return Served(
        WorkloadQuery(query["id"], "", query["calls_per_hour"]),
        query["cost_before"],
        query["cost_without_this"],
        query["cost_after"],
        "",
        "",
        query["share_of_saving"],
        query["seconds_before"],
        query["seconds_after"],
        Saving(**said) if said else None,
    )


def _priced(advice: Mapping[str, Any], curve: Curve) -> dict[str, list[Served]]:
    """The same, predicted by another curve and without anything measured."""
    return {name: list(served) for name, (served, _) in Model(curve).priced(_served(advice), {}).items()}


def _compared(
    workload: str, times: Mapping[str, Any], hints: Mapping[str, Sequence[Served]]
) -> tuple[list[Compared], list[Compared]]:
    """Queries, a DELETE being one with the searches that it makes; and hints."""
    groups: dict[str, dict[str, Served]] = {}
    for one in (one for served in hints.values() for one in served if one.saving is not None):
        groups.setdefault(checked_by(one.query.id) or one.query.id, {})[one.query.id] = one
    queries, measured = [], {}
    for name, group in groups.items():
        if name not in times["second"]:
            continue  # an INSERT
        saved = (times["second"][name] - times["after"][name]) * next(iter(group.values())).query.calls
        predicted = _sum([(one.saving, 1.0) for one in group.values()])
        if abs(saved) / next(iter(group.values())).query.calls >= LITTLE:
            queries.append(Compared(workload, name, predicted, saved))
        for query, one in group.items():
            measured[query] = (
                saved * one.saving.seconds / predicted.seconds if one.saving and predicted.seconds else 0.0
            )
    found = []
    for hint in times["advice"]["hints"]:
        served = [one for one in hints[hint["id"]] if one.query.id in measured]
        if served:
            predicted = _sum([(one.saving, one.share) for one in served])
            found.append(
                Compared(workload, hint["ddl"], predicted, sum(one.share * measured[one.query.id] for one in served))
            )
    return queries, found


def _sum(savings: Sequence[tuple[Saving | None, float]]) -> Saving:
    from dbvitals_processors.hints.impact import total

    return total([(saving, share) for saving, share in savings if saving is not None])


def _print(way: str, queries: Sequence[Compared], hints: Sequence[Compared], verbose: bool) -> None:
    print(f"\n{way:10} {'':8} {'number':>7} {'median error':>13} {'nine of ten':>12} {'within':>8} {'width':>6}")
    for kind, all_of_them in (("queries", queries), ("hints", hints)):
        for name in (*dict.fromkeys(one.workload for one in all_of_them), "all"):
            some = sorted((one for one in all_of_them if name in (one.workload, "all")), key=lambda one: one.error)
            within = mean(one.within for one in some)
            middle, most = median(one.error for one in some), some[int(NINE_OF_TEN * (len(some) - 1))].error
            wide = median(one.predicted.high / max(one.predicted.low, 1e-3 * one.predicted.high) for one in some)
            mark = "" if middle < BAR and within >= NINE_OF_TEN else "  misses the bar"
            print(f"  {name:8} {kind:8} {len(some):>7} {middle:>13.3f} {most:>12.2f} {within:>8.0%} {wide:>6.1f}{mark}")
        if verbose:
            for one in all_of_them:
                if kind == "hints" or not one.within or one.error > BAR:
                    said = one.predicted
                    print(
                        f"    {'' if one.within else '!'} {one.measured:9.2f}  {said.seconds:9.2f}"
                        f" ({said.low:.2f} – {said.high:.2f})  {one.workload}: {one.name[:90]}"
                    )


if __name__ == "__main__":
    sys.exit(main())
