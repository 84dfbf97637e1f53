"""The Collector that these tests need, built while others run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from collectors import MANIFEST, ROOT

from dbvitals.stack.binaries import COLLECTOR, find

HERE = Path(__file__).parent

building: list[subprocess.Popen[str]] = []


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to build a Collector that is missing: it takes minutes, and these tests are the last ones."""
    wanted = any(HERE in item.path.parents for item in session.items)
    if wanted and not session.config.option.collectonly and find(COLLECTOR, MANIFEST) is None:
        command: Sequence[str] = ("nice", "-n", "19", sys.executable, str(ROOT / "scripts" / "collector.py"), "build")
        building.append(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )


def pytest_sessionfinish() -> None:
    for process in building:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # so that it clears up
            process.communicate()


@pytest.fixture(scope="session", autouse=True)
def a_collector() -> None:
    """Wait until it is built."""
    for process in building:
        _, said = process.communicate()
        if process.returncode != 0:
            pytest.fail((said or "").strip().splitlines()[-1], pytrace=False)
