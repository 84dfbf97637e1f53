"""The shop as a service of its own, for `dbvitals run` and `opentelemetry-instrument` to watch.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 dbvitals run -- python -m dbvitals.shop --seconds 60

It serves day after day, and drops its tables at the end.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry import trace
from sqlalchemy import Engine

from dbvitals.shop.backends import Unusable, connect_database, connect_redis, take_down
from dbvitals.shop.cache import Cache
from dbvitals.shop.load import requests, serve
from dbvitals.shop.seed import Size, seed

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the time is up or somebody asks for the end; 2 for a database or Redis that cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m dbvitals.shop", description="A small shop with real mistakes.")
    parser.add_argument("--database", metavar="URL", help="a SQLAlchemy URL; tables named shop_… are made and dropped")
    parser.add_argument("--redis", metavar="URL", help="for example redis://localhost:6379/0")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to serve, 60 if not given")
    parser.add_argument("--scale", type=float, default=0.3, help="the size of the shop and of its day")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the tables are to be dropped
    with tempfile.TemporaryDirectory(prefix="dbvitals-shop-") as folder:
        try:
            redis = connect_redis(options.redis)
            engine = connect_database(options.database, Path(folder))
        except Unusable as reason:
            print(f"dbvitals: {reason}", file=sys.stderr)
            return BAD_INPUT
        try:
            serve_for(options.seconds, engine, redis, options.scale)
        except KeyboardInterrupt:
            pass
        finally:
            take_down(engine)
            Cache(redis).clear()
            redis.close()
    return 0


def serve_for(seconds: float, engine: Engine, redis: Any, scale: float) -> None:
    """Fill the shop, then serve day after day until ``seconds`` have passed; the last one to its end."""
    size = Size.scaled(scale)
    seed(engine, size, lambda _rows: None)
    tracer = trace.get_tracer("shop")
    ends = time.monotonic() + seconds
    for day in itertools.count():
        if time.monotonic() >= ends:
            break
        serve(engine, redis, tracer, requests(size, scale, day), lambda: None)


if __name__ == "__main__":
    sys.exit(main())
