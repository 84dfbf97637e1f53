"""A daemon thread that works now and then, also in forked children, and never twice at the same time."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

from dbvitals_instrumentation import guard


class Worker:
    """Calls ``work`` every ``interval`` seconds, earlier when it is woken, and when somebody flushes.

    The thread begins with :meth:`start`, so that processes that never need it have none, and ends with :meth:`stop` or
    with the last reference to the worker.

    Args:
        work: may raise: that is a fault of ours, at the site ``name``.
        name: of the thread and the site.
        in_child: called in a forked child before anything else, to drop what is the parent's to tell of.
    """

    def __init__(
        self,
        work: Callable[[], None],
        name: str,
        *,
        interval: float,
        in_child: Callable[[], None],
    ) -> None:
        self._work = work
        self._name = name
        self._interval = interval
        self._in_child = in_child
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self.running = False
        _workers.add(self)

    def start(self) -> None:
        """Begin, once."""
        with self._starting:
            if self.running:
                return
            self.running = True
            self._wake = threading.Event()  # a thread that was stopped, and has not ended yet, has another one
        self._begin()

    def wake(self) -> None:
        """Have the thread work now: much is waiting."""
        self._wake.set()

    def flush(self, seconds: float) -> bool:
        """Work on this thread; false where another one was at it for longer than ``seconds``."""
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            return False
        try:
            self._work()
        except Exception as error:
            guard.fault(self._name, error)
        finally:
            self._lock.release()
        return True

    def stop(self, seconds: float = 2.0) -> None:
        """Work a last time, on this thread; nothing is done afterwards unless it is started again."""
        self.running = False
        self._wake.set()
        self.flush(seconds)

    def _begin(self) -> None:
        thread = threading.Thread(
            target=_run,
            args=(weakref.ref(self), self._wake, self._interval),
            name=f"dbvitals-{self._name}",
            daemon=True,
        )
        thread.start()

    def after_fork(self) -> None:
        """In a child: another thread may have held our locks, and ours is not there."""
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._wake = threading.Event()
        try:
            self._in_child()
            if self.running:
                self._begin()
        except Exception as error:
            guard.fault(self._name, error)


def _run(reference: weakref.ref[Worker], wake: threading.Event, interval: float) -> None:
    while True:
        wake.wait(interval)
        wake.clear()
        worker = reference()
        if worker is None or not worker.running or worker._wake is not wake:
            return
        worker.flush(interval)
        del worker  # so that nobody but its owner keeps it


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


def _after_fork() -> None:
    for worker in list(_workers):
        worker.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
