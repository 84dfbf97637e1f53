"""Flask with Flask-SQLAlchemy in three gunicorn workers, forked from a master that has loaded the application.

    pip install dbvitals flask flask-sqlalchemy 'psycopg[binary]' gunicorn
    dbvitals run -- python examples/flask_gunicorn/run.py --database postgresql://user:password@localhost/name

Tables `flask_guests` and `flask_entries` are made there. Nothing in here knows of dbvitals; a server of your own is
watched in the same way, `dbvitals run -- gunicorn --preload --workers 3 app:app`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def server(database: str, workers: int) -> Iterator[str]:
    """The address of a server that answers; it is ended as an orchestrator ends it, by SIGTERM."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "gunicorn", "app:app", "--chdir", str(HERE), "--bind", f"127.0.0.1:{port}"]
    command += ["--preload", "--workers", str(workers), "--log-level", "warning"]
    database = "postgresql+psycopg://" + database.partition("://")[2]
    process = subprocess.Popen(command, env={**os.environ, "DATABASE_URL": database})
    try:
        wait_for(address, process)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        print(f"the server ended with exit code {process.wait(30)}")


def wait_for(address: str, process: subprocess.Popen[bytes], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.1)
    raise SystemExit(f"{address} does not answer")


def ask(address: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def visit(address: str, number: int) -> int:
    """A few requests, as a visitor makes them; returns who answered the first one."""
    pid = ask(address)["pid"]
    ask(f"{address}/entries", {"name": f"guest {number % 7}", "text": f"entry {number}"})
    assert ask(f"{address}/entries")
    return int(pid)


def main() -> None:
    """Serve, and visit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", metavar="URL", required=True)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--visits", type=int, default=100)
    options = parser.parse_args()
    with server(options.database, options.workers) as address, ThreadPoolExecutor(8) as visitors:
        pids = Counter(visitors.map(lambda number: visit(address, number), range(options.visits)))
        print(f"{options.visits} visits of 3 requests, answered by {len(pids)} processes")


if __name__ == "__main__":
    main()
