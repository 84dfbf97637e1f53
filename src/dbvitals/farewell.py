"""What is to be done before a process ends without ``atexit``.

That is by ``os._exit``, as the children of multiprocessing and of celery do, or by a signal that it sends to itself, as
uvicorn's workers do on SIGTERM. Both are covered where they are called, since what else there is does not hold:
celery's children leave out the finalizers of multiprocessing, and a signal handler of our own would keep a process
alive while it waits in C code.
"""

from __future__ import annotations

import _thread
import functools
import os
import signal
from collections.abc import Callable
from typing import NoReturn

from dbvitals_instrumentation import guard

PATIENCE = 2.0
"""Seconds that the process waits for us at most."""

_FATAL = frozenset({"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGABRT"})

_covered = False
_callbacks: list[Callable[[], None]] = []


def before_end(callback: Callable[[], None]) -> None:
    """Call ``callback`` before this process, or one forked from it, ends without ``atexit``; the last is first.

    It is called in a thread of its own, and again where the process does not end after all.
    """
    global _covered
    if not _covered:
        _covered = True
        _cover()
    _callbacks.append(callback)


def forget(callback: Callable[[], None]) -> None:
    """Take ``callback`` back; does nothing where it is not known."""
    if callback in _callbacks:
        _callbacks.remove(callback)


def say() -> None:
    """Call every callback now: the process may end at any moment."""
    for callback in reversed(_callbacks):
        try:
            callback()
        except Exception as error:
            guard.fault("farewell", error)


def _cover() -> None:
    exit_at_once, raise_signal, kill = os._exit, signal.raise_signal, os.kill

    @functools.wraps(exit_at_once)
    def _exit(status: int) -> NoReturn:
        try:
            _say_in_time()
        finally:
            exit_at_once(status)

    @functools.wraps(raise_signal)
    def raise_signal_(signalnum: int, /) -> None:
        try:
            if _ends(signalnum):
                _say_in_time()
        finally:
            raise_signal(signalnum)

    @functools.wraps(kill)
    def kill_(pid: int, signalnum: int, /) -> None:
        try:
            if pid == os.getpid() and _ends(signalnum):
                _say_in_time()
        finally:
            kill(pid, signalnum)

    os._exit, signal.raise_signal, os.kill = _exit, raise_signal_, kill_


def _ends(number: int) -> bool:
    """Whether this process ends by the signal."""
    try:
        return signal.Signals(number).name in _FATAL and signal.getsignal(number) is signal.SIG_DFL
    except (ValueError, TypeError):  # no signal: whom it is given to says so
        return False


def _say_in_time() -> None:
    """In a thread: a signal may have come while this one held a lock that a callback needs.

    Not one of ``threading``, whose own locks may be among them.
    """
    try:
        said = _thread.allocate_lock()
        said.acquire()
        _thread.start_new_thread(_say_and_release, (said,))
        said.acquire(timeout=PATIENCE)
    except Exception as error:
        guard.fault("farewell", error)


def _say_and_release(said: _thread.LockType) -> None:
    try:
        say()
    finally:
        said.release()
