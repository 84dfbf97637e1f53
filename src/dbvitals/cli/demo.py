"""`dbvitals demo`: watch a small shop that makes the mistakes that real services make; create the indexes it lacks."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

import dbvitals
from dbvitals import report
from dbvitals.recorder import Recorder
from dbvitals_instrumentation import semconv

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

    from dbvitals.shop.indexes import Proof
    from dbvitals_processors.hints.sources.parameters import ParameterSamples

BAD_INPUT = 2


def demo(database: str | None, redis: str | None, report_json: Path | None, *, scale: float = 1.0) -> int:
    """Run the shop under instrumentation, print the report and the missing indexes, and leave nothing behind.

    Those are created on the shop's own tables, which are dropped at the end, to be measured.

    Args:
        database: a SQLAlchemy URL; a SQLite file in a temporary folder if not given.
        redis: the URL of a Redis; an in-process one if not given.
        report_json: where the report is written as JSON, too.
        scale: the size of everything, 1 for about ten seconds.

    Returns:
        0, or 2 for input that cannot be used, with one line that says why.
    """
    missing = _missing(redis)
    if missing is not None:
        return _refuse(missing)
    from dbvitals.shop.backends import Unusable

    with tempfile.TemporaryDirectory(prefix="dbvitals-demo-") as folder:
        try:
            seen, proof = _run(database, redis, Path(folder), scale)
        except Unusable as reason:
            return _refuse(str(reason))
    from dbvitals.shop.proof import render

    console = Console()
    report.terminal.render(seen, console)
    render(proof, seen, console)
    if report_json is not None:
        report.json.write(seen, report_json)
    return 0


def _missing(redis: str | None) -> str | None:
    """What the demo needs and is not there, with what mends it."""
    if sqlalchemy.__version__.startswith("1."):
        return f"the demo's shop needs SQLAlchemy 2, this is {sqlalchemy.__version__}: pip install 'sqlalchemy>=2'"
    if redis is None and importlib.util.find_spec("fakeredis") is None:
        return "the demo's in-process Redis is missing: pip install 'dbvitals[demo]'"
    return None


def _refuse(why: str) -> int:
    print(f"dbvitals: {why}", file=sys.stderr)
    return BAD_INPUT


def _run(database: str | None, redis: str | None, folder: Path, scale: float) -> tuple[report.Report, Proof]:
    from dbvitals.shop.backends import connect_database, connect_redis, take_down
    from dbvitals.shop.cache import Cache
    from dbvitals.shop.indexes import prove

    client = connect_redis(redis)
    engine = connect_database(database, folder)
    try:
        seen, samples = _watch(engine, client, folder, scale)
        return seen, prove(engine, folder, samples)
    finally:
        take_down(engine)
        Cache(client).clear()
        client.close()


def _watch(engine: Engine, redis: Any, folder: Path, scale: float) -> tuple[report.Report, ParameterSamples]:
    from dbvitals.shop.indexes import sampled
    from dbvitals.shop.load import requests, serve
    from dbvitals.shop.seed import Size, seed

    size = Size.scaled(scale)
    planned = requests(size, scale)
    # Of our own, and without a look at the environment: the demo shows the same everywhere.
    tracer_provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource({semconv.SERVICE_NAME: "dbvitals-demo"}))
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        filling = bar.add_task("filling the shop", total=size.rows)
        serving = bar.add_task("serving requests", total=len(planned), start=False)
        seed(engine, size, lambda rows: bar.advance(filling, rows))
        bar.start_task(serving)
        recorder = Recorder(folder)
        meter_provider = recorder.attach(tracer_provider, MeterProvider())
        dbvitals.instrument(tracer_provider=tracer_provider, meter_provider=meter_provider, config=dbvitals.Config())
        try:
            with sampled(engine) as samples:
                serve(engine, redis, tracer_provider.get_tracer("shop"), planned, lambda: bar.advance(serving))
        finally:
            recorder.stop()
            dbvitals.uninstrument()
            tracer_provider.shutdown()
            if isinstance(meter_provider, MeterProvider):
                meter_provider.shutdown()
    return report.load(folder), samples
