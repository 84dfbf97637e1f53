"""FastAPI with SQLModel and asyncpg in two uvicorn workers, under a small load.

    pip install dbvitals fastapi sqlmodel asyncpg 'sqlalchemy[asyncio]' uvicorn
    dbvitals run -- python examples/fastapi_uvicorn/run.py --database postgresql://user:password@localhost/name

A table `fastapi_notes` is made there. Nothing in here knows of dbvitals; a server of your own is watched in the same
way, `dbvitals run -- uvicorn app:app --workers 2`.
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
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(HERE), "--port", str(port)]
    command += ["--workers", str(workers), "--log-level", "warning"]
    database = "postgresql+asyncpg://" + database.partition("://")[2]
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
    note = ask(f"{address}/notes", {"title": f"note {number}", "stars": number % 5})
    assert ask(f"{address}/notes/{note['id']}")["title"] == f"note {number}"
    ask(f"{address}/notes?limit=5")
    ask(f"{address}/summary")
    return int(pid)


def main() -> None:
    """Serve, and visit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", metavar="URL", required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--visits", type=int, default=100)
    options = parser.parse_args()
    with server(options.database, options.workers) as address, ThreadPoolExecutor(8) as visitors:
        pids = Counter(visitors.map(lambda number: visit(address, number), range(options.visits)))
        print(f"{options.visits} visits of 5 requests, answered by {len(pids)} processes")


if __name__ == "__main__":
    main()
