"""Writes what a process sees into a folder, for the report of ``dbvitals run``.

Each process keeps one file, replaced atomically once a second while something changed, and at its end: a process that
is killed loses a second at most, and its last snapshot is not marked as final. A forked child begins a file of its own,
with empty totals; one of multiprocessing also writes when its parent is about to terminate it.

A fork copies locks as they are, so whoever forks first takes ours, lets what the SDK holds run into our totals, and
gives them back afterwards, in parent and child. The SDK's own locks may still come over locked, from a thread that the
child does not have; so only our thread waits for them, and the end of a process waits for our thread a little while.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing.util
import os
import socket
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

from dbvitals import doorbell, farewell
from dbvitals.meters import Meters
from dbvitals.snapshot import PoolTotals, Snapshot, to_json
from dbvitals_instrumentation import guard
from dbvitals_instrumentation.config import Config
from dbvitals_processors.inbox import Inbox
from dbvitals_processors.trace_rules import TraceRules
from dbvitals_processors.workload import Workload

INTERVAL = 1.0
"""Seconds between two snapshots."""
PATIENCE = 2.0
"""Seconds that a fork, or the end of a process, waits for us at most."""

_SPAWNED = frozenset({"--multiprocessing-fork", "--billiard-fork"})  # how a child that was not forked is started


class Recorder:
    """Records one process, and each child that it forks, into ``folder``.

    Args:
        folder: must exist.
        config: what counts as an N+1, and whether callers are named.
        clock: Unix time in seconds.
    """

    def __init__(self, folder: Path, *, config: Config | None = None, clock: Callable[[], float] = time.time) -> None:
        config = config or Config()
        self._folder = folder
        self._clock = clock
        self._workload = Workload()
        self._rules = TraceRules(config.n_plus_one_threshold)
        self._inbox = Inbox(self._workload, self._wake_up, config, self._rules)
        self._meters = Meters()
        self._lock = threading.RLock()
        self._running = False
        self._forked = False
        self._thread: threading.Thread
        self._bell: doorbell.Doorbell | None = None
        self._begin()

    def attach(self, tracer_provider: TracerProvider, meter_provider: MeterProvider) -> MeterProvider:
        """Begin to record what these providers get, and write the first snapshot.

        Returns:
            The meter provider that is recorded: ``meter_provider``, or a new one where that takes no more readers
            (an SDK of before ``add_metric_reader``, no SDK at all). Only what is measured with it is recorded.
        """
        if hasattr(tracer_provider, "add_span_processor"):
            tracer_provider.add_span_processor(self._inbox)
        if hasattr(meter_provider, "add_metric_reader"):
            meter_provider.add_metric_reader(self._meters)
        else:
            meter_provider = SdkMeterProvider([self._meters])
        self._running = True
        _recorders.add(self)
        atexit.register(self._at_exit)
        farewell.before_end(self.finish)
        multiprocessing.util.register_after_fork(self, Recorder._in_child)  # billiard's is the same
        if _SPAWNED.intersection(sys.orig_argv):
            self._in_child()
        doorbell.before_terminate(_ring)
        self.write()
        self._thread.start()
        return meter_provider

    def stop(self) -> None:
        """Write a last snapshot; nothing is written afterwards."""
        self.write(final=True)
        self._running = False
        self._wake.set()
        _recorders.discard(self)
        atexit.unregister(self._at_exit)
        farewell.forget(self.finish)

    def finish(self) -> None:
        """Have the thread write what may be the last snapshot, as the process ends."""
        if self._running and self._thread.is_alive():
            self._finished.clear()
            self._finishing = True
            self._wake.set()
            self._finished.wait(PATIENCE)
        else:
            self.write(final=True)

    def write(self, *, final: bool = False) -> None:
        """Write a snapshot if something has changed since the last one, or if it may be the last; never raises."""
        try:
            with self._lock:
                if self._running:
                    self._write(final or self._ending)
        except Exception as error:
            guard.fault("recorder.write", error)

    def snapshot(self, *, final: bool = False) -> Snapshot:
        """What this process has seen."""
        with self._lock:
            self._look()
            self._judge()
            if final:
                self._rules.finish()
            pools = {name: _with_certain_peak(pool) for name, pool in self._meters.pools.items()}
            queries, caches, faults = tuple(self._workload.totals()), dict(self._meters.caches), guard.faults()
            return Snapshot(
                os.getpid(),
                self._started,
                self._clock(),
                queries,
                pools,
                caches,
                faults,
                final,
                tuple(self._rules.findings()),
                self._inbox.lost,
            )

    def _look(self) -> None:
        try:
            self._meters.look()
        except Exception as error:  # what was seen of queries is still worth writing
            guard.fault("recorder.meters", error)

    def _judge(self) -> None:
        """Take what has come in to the rules."""
        for span, query in self._inbox.take():
            self._rules.see(span, query)
        self._rules.expire()

    def _wake_up(self) -> None:
        self._wake.set()

    def _begin(self) -> None:
        self._started = self._clock()
        self._file = self._folder / f"{os.getpid()}-{round(self._started * 1000)}.json"
        self._wake = threading.Event()
        self._finished = threading.Event()
        self._finishing = self._ending = False
        self._thread = threading.Thread(target=self._run, args=(self._wake,), name="dbvitals-recorder", daemon=True)
        self._written: object = None

    def _write(self, final: bool) -> None:
        snapshot = self.snapshot(final=final)
        state = (
            sum(query.calls for query in snapshot.queries),
            snapshot.pools,
            snapshot.caches,
            snapshot.faults,
            sum(finding.occurrences for finding in snapshot.findings),
        )
        if (state == self._written and not final) or (self._forked and snapshot.idle):
            return  # the last snapshot says until when; a child that never asks anything of a database leaves no file
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(_dump(to_json(snapshot)), encoding="utf-8")
        temporary.replace(self._file)
        self._written = state

    # --- the thread, and the ends of processes ------------------------------------------------------------------

    def _run(self, wake: threading.Event) -> None:
        due = time.monotonic() + INTERVAL
        while self._running:
            wake.wait(max(0.0, due - time.monotonic()))
            wake.clear()
            finishing, self._finishing = self._finishing, False
            if finishing or time.monotonic() >= due:
                self.write(final=finishing)
                due = time.monotonic() + INTERVAL
            else:  # much has come in
                self._read()
            if finishing:
                self._finished.set()

    def _read(self) -> None:
        try:
            with self._lock:
                self._judge()
        except Exception as error:
            guard.fault("recorder.read", error)

    def _at_exit(self) -> None:
        self._ending = True
        self.finish()

    def _in_child(self) -> None:
        """In a child of multiprocessing, however it was started: its parent may terminate it."""
        if self._running and hasattr(socket, "AF_UNIX"):
            try:
                self._bell = doorbell.Doorbell(self.door(os.getpid()), farewell.say)
            except OSError:  # then its last second may be missing, and the report says so
                pass
            except Exception as error:
                guard.fault("recorder.in_child", error)

    def door(self, pid: int) -> Path:
        """Where the bell of a process is, if it has one."""
        return self._folder / f"{pid}.bell"

    # --- forks --------------------------------------------------------------------------------------------------

    def before_fork(self) -> bool:
        """Take the locks, with everything measured so far in our totals; false where they cannot be had."""
        if not self._lock.acquire(timeout=PATIENCE):
            return False
        self._look()
        self._workload.lock.acquire()
        return True

    def after_fork_in_parent(self) -> None:
        """Give them back."""
        self._workload.lock.release()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew."""
        self._lock = threading.RLock()
        self._workload.clear()
        self._inbox.clear()
        self._rules.clear()
        self._meters.clear()
        try:
            self._begin()
            self._forked = True
            if self._bell is not None:
                self._bell.close()
                self._bell = None
            self._thread.start()
        except Exception as error:
            guard.fault("recorder.after_fork", error)


def _with_certain_peak(pool: PoolTotals) -> PoolTotals:
    """Between two looks, more may have been in use than at either: one for a checkout, all for a time-out."""
    certain = (pool.most or 1) if pool.timeouts else 1 if pool.waits.count else 0
    return replace(pool, peak=max(pool.peak, certain))


def _dump(snapshot: dict[str, Any]) -> str:
    """JSON, made query by query, so that other threads run in between."""
    queries = ",\n".join(json.dumps(query, separators=(",", ":")) for query in snapshot["queries"])
    rest = json.dumps({name: value for name, value in snapshot.items() if name != "queries"}, separators=(",", ":"))
    return f'{rest[:-1]},"queries":[\n{queries}\n]}}\n'


_recorders: WeakSet[Recorder] = WeakSet()
_forking = threading.Lock()
_forked: list[tuple[Recorder, bool]] = []  # and whether its locks are ours


def _ring(pid: int) -> None:
    for recorder in list(_recorders):
        doorbell.ring(recorder.door(pid))


def _before_fork() -> None:
    _forking.acquire()
    if _recorders:
        doorbell.before_terminate(_ring)  # billiard may have come
    _forked[:] = [(recorder, recorder.before_fork()) for recorder in _recorders]


def _after_fork_in_parent() -> None:
    for recorder, locked in _forked:
        if locked:
            recorder.after_fork_in_parent()
    _forked.clear()
    _forking.release()


def _after_fork_in_child() -> None:
    global _forking
    _forking = threading.Lock()
    for recorder, _ in _forked:
        recorder.after_fork_in_child()
    _forked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
