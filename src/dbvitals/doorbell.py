"""A bell at the door of a child: its parent rings before it terminates it, and waits until the child has answered.

``with multiprocessing.Pool() as pool`` terminates its workers as soon as the last result is there, microseconds after
the last query; nothing that a worker does by itself, however often, is in time for that.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbvitals_instrumentation import guard

PATIENCE = 0.5
"""Seconds that whoever rings waits for one child at most."""
PATIENCE_IN_ALL = 2.0
"""And for all children, as long as none of them answers."""

_PROCESSES = ("multiprocessing.process", "billiard.process")  # celery's is made after the other
_covered: list[Any] = []
_left = PATIENCE_IN_ALL


class Doorbell:
    """Calls ``answer``, in a thread of its own, each time that it rings at ``door``.

    Raises:
        OSError: there can be no bell, for instance since the path is too long for a socket.
    """

    def __init__(self, door: Path, answer: Callable[[], None]) -> None:
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            door.unlink(missing_ok=True)  # of a process that had this number before
            self._socket.bind(str(door))
            self._socket.listen()
        except OSError:
            self._socket.close()
            raise
        threading.Thread(target=self._listen, name="dbvitals-doorbell", daemon=True).start()

    def close(self) -> None:
        """Let go of it in a child, to whose parent it belongs."""
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return
            with caller:  # that it is closed is the answer
                try:
                    self._answer()
                except Exception as error:
                    guard.fault("doorbell.answer", error)


def ring(door: Path) -> None:
    """Ring, and wait for the answer; does nothing where there is no bell."""
    global _left
    if not hasattr(socket, "AF_UNIX") or not door.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(max(0.001, min(PATIENCE, _left)))
        try:
            caller.connect(str(door))
            caller.recv(1)
            _left = PATIENCE_IN_ALL
        except TimeoutError:
            _left -= PATIENCE
        except OSError:  # it is gone
            pass


def before_terminate(callback: Callable[[int], None]) -> None:
    """Call ``callback`` with the process id before a process of multiprocessing, or of billiard, is terminated.

    Call it again when billiard may have come to be imported; it is not imported from here.
    """
    for name in _PROCESSES:
        process = getattr(sys.modules.get(name), "BaseProcess", None)
        if process is not None and process not in _covered:
            _covered.append(process)
            _cover(process, callback)


def _cover(process: Any, callback: Callable[[int], None]) -> None:
    original = process.terminate

    @functools.wraps(original)
    def terminate(self: Any) -> None:
        try:
            popen = getattr(self, "_popen", None)
            if popen is not None and popen.returncode is None and self._parent_pid == os.getpid():
                callback(popen.pid)
        except Exception as error:
            guard.fault("doorbell.terminate", error)
        return original(self)  # type: ignore[no-any-return]

    process.terminate = terminate
