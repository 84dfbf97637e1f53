#!/usr/bin/env python3
"""How long after a query has ended Prometheus knows of it, on the pipeline of `dbvitals stack local`.

    python bench/freshness.py            40 queries, each at another moment of the exports and scrapes

A service under `dbvitals run` asks SQLite one query at a time and says when it ended. From then on Prometheus is asked,
again and again, until the query is in `db_client_operation_duration_seconds_count`: so the figures hold the export,
the Collector, the scrape, and half of the time between two questions.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dbvitals.doctor.web import get_json
from dbvitals.stack.local import LocalStack
from dbvitals.stack.ports import Ports

SERVICE = """
import sys, time
from sqlalchemy import create_engine, text
engine = create_engine("sqlite://")
for _ in sys.stdin:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1 AS freshness")).all()
    print(time.time(), flush=True)
"""
COUNT = 'sum(db_client_operation_duration_seconds_count{service_name="freshness"})'
GIVE_UP = 30.0  # seconds


def count(prometheus: str) -> int:
    found = get_json(f"{prometheus}/api/v1/query", timeout=5, query=COUNT)["data"]["result"]
    return int(float(found[0]["value"][1])) if found else 0


def measure(stack: LocalStack, samples: int) -> list[float]:
    """Seconds from the end of a query to when Prometheus counts it."""
    environment = {**os.environ, **stack.service_environment(), "OTEL_SERVICE_NAME": "freshness"}
    command = [sys.executable, "-m", "dbvitals", "run", "--", sys.executable, "-c", SERVICE]
    chance = random.Random(1)
    took = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        for number in range(samples):
            time.sleep(chance.random() * 0.5)
            service.stdin.write("\n")
            service.stdin.flush()
            ended = float(service.stdout.readline())
            while count(stack.prometheus_url) <= number:
                time.sleep(0.01)
                assert time.time() - ended < GIVE_UP, f"the query is not there after {GIVE_UP:.0f} s"
            took.append(time.time() - ended)
        service.stdin.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LocalStack(Path(folder) / "stack", Ports.free()) as stack:
        stack.wait_until_scraped()  # as `dbvitals stack local` does before it says that it is ready
        took = sorted(measure(stack, options.samples))
    p95 = statistics.quantiles(took, n=20)[-1]
    print(
        f"query end → value in Prometheus, {len(took)} samples: p50 {statistics.median(took) * 1e3:.0f} ms, "
        f"p95 {p95 * 1e3:.0f} ms, slowest {took[-1] * 1e3:.0f} ms; quickest {took[0] * 1e3:.0f} ms"
    )


if __name__ == "__main__":
    main()
