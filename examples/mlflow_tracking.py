"""An MLflow tracking server on a database, and a client that logs runs to it and searches them.

    pip install dbvitals mlflow 'psycopg[binary]'
    dbvitals run -- python examples/mlflow_tracking.py --database postgresql+psycopg://user:password@localhost/empty

The database must exist; MLflow makes its tables there. Nothing in here knows of dbvitals.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import mlflow


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def tracking_server(database: str, artifacts: str, workers: int) -> Iterator[str]:
    """The address of a server that answers; it is ended as an orchestrator ends it, by SIGTERM."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", database, "--artifacts-destination", artifacts, "--workers", str(workers)]
    server = subprocess.Popen(command)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/health", server)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        print(f"the server ended with exit code {server.wait(30)}")


def wait_for(address: str, server: subprocess.Popen[bytes], patience: float = 120.0) -> None:
    deadline = time.monotonic() + patience
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(address, timeout=5).close()
            return
        time.sleep(0.2)
    raise SystemExit(f"{address} does not answer")


def log_and_search(address: str, runs: int) -> None:
    """What a training job and the person who reads it do."""
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    mlflow.set_tracking_uri(address)
    experiment = mlflow.set_experiment("paraboloid")
    for number in range(runs):
        with mlflow.start_run(run_name=f"run-{number}"):
            mlflow.log_params({"rate": 0.1 / (number + 1), "depth": number % 5, "seed": number})
            for step in range(3):
                mlflow.log_metrics({"loss": 1 / (number + step + 1), "accuracy": number / runs}, step=step)
            mlflow.set_tag("stage", "odd" if number % 2 else "even")
    client = mlflow.MlflowClient()
    found = client.search_runs([experiment.experiment_id], order_by=["metrics.loss ASC"], max_results=runs)
    good = client.search_runs([experiment.experiment_id], "metrics.accuracy > 0.5 and params.depth = '3'")
    history = client.get_metric_history(found[0].info.run_id, "loss")
    print(
        f"{runs} runs logged, {len(found)} found, {len(good)} of them good; the best has {len(history)} steps of loss"
    )


def main() -> None:
    """Serve, log, search."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--database", metavar="URL", required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as artifacts,
        tracking_server(options.database, artifacts, options.workers) as address,
    ):
        log_and_search(address, options.runs)


if __name__ == "__main__":
    main()
