"""Writes what a process sees into a folder, for the report of ``dbvitals run``.

Each process keeps one file, replaced atomically once a second while something changed, and at its end: a process that
is killed loses a second at most. A forked child begins a file of its own, with empty totals.

A fork copies locks as they are, so whoever forks first takes ours, lets what the SDK holds run into our totals, and
gives them back afterwards, in parent and child.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing.util
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.trace import TracerProvider

from dbvitals.meters import Meters
from dbvitals.snapshot import Snapshot, to_json
from dbvitals_instrumentation import guard
from dbvitals_processors.workload import Workload, WorkloadProcessor

INTERVAL = 1.0
"""Seconds between two snapshots."""

_MULTIPROCESSING = ("multiprocessing.util", "billiard.util")  # billiard is celery's


class Recorder:
    """Records one process, and each child that it forks, into ``folder``.

    Args:
        folder: must exist.
        clock: Unix time in seconds.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._workload = Workload()
        self._meters = Meters()
        self._lock = threading.RLock()
        self._running = False
        self._forked = False
        self._registered: set[str] = set()
        self._begin()

    def attach(self, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> MeterProvider:
        """Begin to record what these providers get, and write the first snapshot.

        Returns:
            The meter provider that is recorded: ``meter_provider``, or a new one where that takes no more readers
            (an SDK of before ``add_metric_reader``, no SDK at all). Only what is measured with it is recorded.
        """
        if hasattr(tracer_provider, "add_span_processor"):
            tracer_provider.add_span_processor(WorkloadProcessor(self._workload))
        if hasattr(meter_provider, "add_metric_reader"):
            meter_provider.add_metric_reader(self._meters)
        else:
            meter_provider = SdkMeterProvider([self._meters])
        self._running = True
        _recorders.add(self)
        atexit.register(self.write)
        self._at_exit_of_children()
        self.write()
        self._start_thread()
        return meter_provider

    def stop(self) -> None:
        """Write a last snapshot; nothing is written afterwards."""
        self.write()
        self._running = False
        self._wake.set()
        _recorders.discard(self)
        atexit.unregister(self.write)

    def write(self) -> None:
        """Write a snapshot if something has changed since the last one; never raises."""
        try:
            with self._lock:
                if self._running:
                    self._write()
        except Exception as error:
            guard.fault("recorder.write", error)

    def snapshot(self) -> Snapshot:
        """What this process has seen."""
        with self._lock:
            self._look()
            pools = {
                name: replace(pool, peak=max(pool.peak, pool.most or 0)) if pool.timeouts else pool
                for name, pool in self._meters.pools.items()
            }
            queries, caches, faults = tuple(self._workload.totals()), dict(self._meters.caches), guard.faults()
            return Snapshot(os.getpid(), self._started, self._clock(), queries, pools, caches, faults)

    def _look(self) -> None:
        try:
            self._meters.look()
        except Exception as error:  # what was seen of queries is still worth writing
            guard.fault("recorder.meters", error)

    def _begin(self) -> None:
        self._started = self._clock()
        self._file = self._folder / f"{os.getpid()}-{round(self._started * 1000)}.json"
        self._wake = threading.Event()
        self._written: object = None

    def _write(self) -> None:
        snapshot = self.snapshot()
        state = (sum(query.calls for query in snapshot.queries), snapshot.pools, snapshot.caches, snapshot.faults)
        if state == self._written or (self._forked and snapshot.idle):
            return  # a child that never asks anything of a database leaves no file
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(_dump(to_json(snapshot)), encoding="utf-8")
        temporary.replace(self._file)
        self._written = state

    # --- the thread, and the ends of processes ------------------------------------------------------------------

    def _start_thread(self) -> None:
        threading.Thread(target=self._run, args=(self._wake,), name="dbvitals-recorder", daemon=True).start()

    def _run(self, wake: threading.Event) -> None:
        while not wake.wait(INTERVAL):
            self.write()

    def _at_exit_of_children(self) -> None:
        """Children of multiprocessing end without ``atexit``: their own finalizers are set when they begin."""
        for name in _MULTIPROCESSING:
            util: Any = sys.modules.get(name)
            if util is not None and name not in self._registered:
                self._registered.add(name)
                util.register_after_fork(self, _finalize_with(util))

    # --- forks --------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Take the locks, with everything measured so far in our totals."""
        self._lock.acquire()
        self._look()
        self._workload.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Give them back."""
        self._workload.lock.release()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew."""
        self._lock = threading.RLock()
        self._workload.clear()
        self._meters.clear()
        try:
            self._begin()
            self._forked = True
            self._at_exit_of_children()
            self._start_thread()
        except Exception as error:
            guard.fault("recorder.after_fork", error)


def _finalize_with(util: Any) -> Callable[[Recorder], None]:
    def finalize(recorder: Recorder) -> None:
        util.Finalize(None, recorder.write, exitpriority=0)

    return finalize


def _dump(snapshot: dict[str, Any]) -> str:
    """JSON, made query by query, so that other threads run in between."""
    queries = ",\n".join(json.dumps(query, separators=(",", ":")) for query in snapshot["queries"])
    rest = json.dumps({name: value for name, value in snapshot.items() if name != "queries"}, separators=(",", ":"))
    return f'{rest[:-1]},"queries":[\n{queries}\n]}}\n'


_recorders: WeakSet[Recorder] = WeakSet()
_forking = threading.Lock()
_held: list[Recorder] = []


def _before_fork() -> None:
    _forking.acquire()
    _held[:] = _recorders
    for recorder in _held:
        recorder.before_fork()


def _after_fork_in_parent() -> None:
    for recorder in _held:
        recorder.after_fork_in_parent()
    _held.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    global _forking
    _forking = threading.Lock()
    for recorder in _held:
        recorder.after_fork_in_child()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
