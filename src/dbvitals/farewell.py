"""What is to be done before a process ends by a signal that it raises itself, as uvicorn's workers do on SIGTERM.

Python runs no ``atexit`` then. Of all ways to end by a signal this is the one that can be met in time without a handler
of our own, which would keep a process alive while it waits in C code.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable

from dbvitals_instrumentation import guard

PATIENCE = 2.0
"""Seconds that the process waits for us at most."""

_FATAL = frozenset({"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGABRT"})

_covered = False
_callbacks: list[Callable[[], None]] = []


def before_own_signal(callback: Callable[[], None]) -> None:
    """Call ``callback`` before this process, or one forked from it, raises a signal that ends it; the last is first."""
    global _covered
    if not _covered:
        _covered = True
        _cover()
    _callbacks.append(callback)


def forget(callback: Callable[[], None]) -> None:
    """Take ``callback`` back; does nothing where it is not known."""
    if callback in _callbacks:
        _callbacks.remove(callback)


def _cover() -> None:
    original = signal.raise_signal

    @functools.wraps(original)
    def raise_signal(signalnum: int, /) -> None:
        try:
            if signal.Signals(signalnum).name in _FATAL and signal.getsignal(signalnum) is signal.SIG_DFL:
                # In a thread: the signal may have come while this one held a lock that a callback needs.
                thread = threading.Thread(target=_say, name="dbvitals-farewell", daemon=True)
                thread.start()
                thread.join(PATIENCE)
        except Exception as error:
            guard.fault("farewell", error)
        original(signalnum)

    signal.raise_signal = raise_signal


def _say() -> None:
    for callback in reversed(_callbacks):
        try:
            callback()
        except Exception as error:
            guard.fault("farewell", error)
