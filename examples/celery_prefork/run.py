"""A Celery worker that forks two processes, with Redis as broker and the results in a database.

    pip install dbvitals 'celery[redis]' sqlalchemy 'psycopg[binary]'
    dbvitals run -- python examples/celery_prefork/run.py \
        --database postgresql://user:password@localhost/name --redis redis://localhost:6379/0

Celery makes its tables `celery_taskmeta` and `celery_tasksetmeta` there. Nothing in here knows of dbvitals; a worker of
your own is watched in the same way, `dbvitals run -- celery -A tasks worker --concurrency 2`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


@contextlib.contextmanager
def worker(concurrency: int) -> Iterator[None]:
    """A worker, ended as an orchestrator ends it, by SIGTERM: it finishes what it has begun."""
    command = [sys.executable, "-m", "celery", "--app", "tasks", "--workdir", str(HERE), "--quiet", "worker"]
    process = subprocess.Popen([*command, "--concurrency", str(concurrency), "--loglevel", "warning"])
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        print(f"the worker ended with exit code {process.wait(60)}")


def main() -> None:
    """Send tasks and wait for what comes back."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", metavar="URL", required=True)
    parser.add_argument("--redis", metavar="URL", required=True)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=40)
    options = parser.parse_args()
    queue = f"words-{uuid.uuid4().hex[:8]}"
    os.environ.update(DATABASE_URL=options.database, REDIS_URL=options.redis, QUEUE=queue)
    sys.path.insert(0, str(HERE))
    from tasks import app, ask_for_a_missing_table, count_words

    with worker(options.concurrency):
        sent = [count_words.delay("the quick brown fox " * (number + 1)) for number in range(options.tasks)]
        counted = [task.get(timeout=60) for task in sent]
        failed = [ask_for_a_missing_table.delay() for _ in range(3)]
        kinds = {task.get(timeout=60) for task in failed}
    app.close()
    pids = {pid for _, pid in counted}
    print(f"{len(counted)} tasks counted {sum(words for words, _ in counted):,} words in {len(pids)} processes")
    print(f"{len(failed)} tasks asked for a missing table and got {', '.join(kinds)}")


if __name__ == "__main__":
    main()
