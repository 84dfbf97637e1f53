"""What it costs to watch a query: bare SQLAlchemy beside dbvitals and its peers, in one run.

    python bench/overhead.py [--rounds 7] [--queries 4000] [--only bare,dbvitals,ddtrace] [--json FILE]

Each contestant has a process of its own; rounds are interleaved. In a round each runs three loops on SQLite:

    core      a Core SELECT by key on one open connection, SQLite in memory
    orm       Session.get with an empty identity map, SQLite in memory
    checkout  engine.connect(), one query, close, with a QueuePool on a file

A figure is the process's CPU time (all its threads, so exporters count), in microseconds a query: the median over the
rounds, what it adds to bare's median, its spread over the rounds (quartiles of what each round adds to the same
round's bare), and its ratio to ddtrace. 100 % of the spans are sampled.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from contestants import EVERY

LOOPS = ("core", "orm", "checkout")
ROWS = 1000


def worker(name: str, queries: int) -> None:
    """Be one contestant: run the loop that each line of standard input names, and answer with its cost."""
    around = EVERY[name]()
    with tempfile.TemporaryDirectory() as folder:
        loops = make_loops(Path(folder))
        for loop in loops.values():
            with around():
                loop(300)
        print("ready", flush=True)
        for line in sys.stdin:
            before = time.process_time()
            with around():
                loops[line.strip()](queries)
            print((time.process_time() - before) / queries * 1e6, flush=True)
    os._exit(0)


def make_loops(folder: Path) -> dict[str, Any]:
    """The three loops over tables of :data:`ROWS` rows."""
    import sqlalchemy as sa
    from sqlalchemy.orm import Session, declarative_base
    from sqlalchemy.pool import QueuePool, StaticPool

    base: Any = declarative_base()

    class Item(base):  # type: ignore[misc]
        __tablename__ = "item"
        id = sa.Column(sa.Integer, primary_key=True)
        name = sa.Column(sa.String)
        price = sa.Column(sa.Float)

    memory = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    pooled = sa.create_engine(f"sqlite:///{folder}/bench.db", poolclass=QueuePool, pool_size=5)
    for engine in (memory, pooled):
        base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all([Item(id=n, name=f"n{n}", price=n / 7) for n in range(ROWS)])
            session.commit()
    by_key = sa.text("SELECT id, name, price FROM item WHERE id = :id")

    def core(times: int) -> None:
        with memory.connect() as connection:
            for n in range(times):
                connection.execute(by_key, {"id": n % ROWS}).fetchall()

    def orm(times: int) -> None:
        with Session(memory) as session:
            for n in range(times):
                session.get(Item, n % ROWS)
                session.expunge_all()

    def checkout(times: int) -> None:
        for n in range(times):
            with pooled.connect() as connection:
                connection.execute(by_key, {"id": n % ROWS}).fetchall()

    return {"core": core, "orm": orm, "checkout": checkout}


def compete(names: list[str], rounds: int, queries: int) -> dict[str, dict[str, list[float]]]:
    """Microseconds of each contestant, loop and round."""
    processes = {}
    for name in names:
        command = [sys.executable, __file__, "--worker", name, "--queries", str(queries)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if answer(process) != "ready":
            raise SystemExit(f"{name} did not start")
        processes[name] = process
    costs: dict[str, dict[str, list[float]]] = {name: {loop: [] for loop in LOOPS} for name in names}
    for number in range(rounds):
        for loop in LOOPS:
            order = names if number % 2 == 0 else names[::-1]
            for name in order:
                ask(processes[name], loop)
                costs[name][loop].append(float(answer(processes[name])))
    for process in processes.values():
        process.communicate()
    return costs


def ask(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def summarise(costs: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """The figures of each contestant and loop: median, added to bare with quartiles, ratio to what ddtrace adds."""
    out: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, loops in costs.items():
        out[name] = {}
        for loop, values in loops.items():
            added = [value - bare for value, bare in zip(values, costs["bare"][loop], strict=True)]
            low, _, high = statistics.quantiles(added, n=4)
            median_added = statistics.median(values) - statistics.median(costs["bare"][loop])
            rival = costs.get("ddtrace", {}).get(loop)
            ratio = (
                median_added / (statistics.median(rival) - statistics.median(costs["bare"][loop])) if rival else None
            )
            out[name][loop] = {
                "median": statistics.median(values),
                "added": median_added,
                "low": low,
                "high": high,
                "ratio": ratio,
            }
    return out


def show(figures: dict[str, dict[str, dict[str, float | None]]]) -> None:
    print(f"{'µs a query':16}" + "".join(f"{loop:>10} {'added':>7} {'quartiles':>13} {'/dd':>5}" for loop in LOOPS))
    for name, loops in figures.items():
        cells = ""
        for loop in LOOPS:
            f = loops[loop]
            ratio = "" if f["ratio"] is None else f"{f['ratio']:.2f}"
            cells += f"{f['median']:10.1f} {f['added']:7.1f} {f['low']:6.1f}–{f['high']:<6.1f} {ratio:>5}"
        print(f"{name:16}{cells}")


class Sink(BaseHTTPRequestHandler):
    """Reads what an OTLP exporter posts, and forgets it."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--only", default=",".join(EVERY))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.queries)
        return
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    os.environ["BENCH_SINK"] = f"http://127.0.0.1:{sink.server_port}"
    names = list(dict.fromkeys(["bare", *options.only.split(",")]))
    costs = compete(names, options.rounds, options.queries)
    figures = summarise(costs)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps({"microseconds": costs, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
