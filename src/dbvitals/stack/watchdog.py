"""A process that ends what this one has started, should this one die without a farewell.

The file is a program, too, run by its path with an interpreter that has nothing but the standard library. It holds the
reading end of a pipe, and when that closes without a farewell, it ends the process groups that it was told of. (Linux'
PR_SET_PDEATHSIG would do so when the *thread* ends that started the program, and other systems have no such thing.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

PATIENCE = 10.0
"""Seconds that programs have for their farewell."""

_FAREWELL = "farewell"


class Watchdog:
    """Watches over process groups until it is dismissed."""

    def __init__(self) -> None:
        reading, self._pipe = os.pipe()
        self._process = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(reading)],
            pass_fds=[reading],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        os.close(reading)

    def watch(self, group: int) -> None:
        """End this process group if we die."""
        self._tell(f"+{group}")

    def forget(self, group: int) -> None:
        """It has ended: its number may soon be another's."""
        self._tell(f"-{group}")

    def dismiss(self) -> None:
        """All is well: end nothing."""
        self._tell(_FAREWELL)
        os.close(self._pipe)
        self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody ended the watchdog
            os.write(self._pipe, f"{line}\n".encode())  # one write: threads do not mix their lines


def _watch(descriptor: int) -> None:
    """The watchdog's own life."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    with open(descriptor, encoding="ascii") as pipe:
        for line in map(str.strip, pipe):
            if line == _FAREWELL:
                return
            (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    _end(groups)


def _end(groups: Collection[int]) -> None:
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + patience
        while groups and time.monotonic() < deadline:
            groups = {group for group in groups if _signalled(group, number)}
            time.sleep(0.05)


def _signalled(group: int, number: signal.Signals) -> bool:
    """Whether somebody was there to hear it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
