"""The worker: one at a time, from the first need to the last reference, and in children, too."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from dbvitals_instrumentation import guard
from dbvitals_processors.worker import Worker

LONG = 3600.0


def nothing() -> None:
    pass


def test_it_works_when_it_is_woken() -> None:
    worked = threading.Event()
    worker = Worker(worked.set, "test", interval=LONG, in_child=nothing)
    worker.start()
    worker.wake()
    assert worked.wait(10)
    worker.stop()


def test_it_works_every_so_often() -> None:
    rounds: list[int] = []
    enough = threading.Event()

    def work() -> None:
        rounds.append(1)
        if len(rounds) == 3:
            enough.set()

    worker = Worker(work, "test", interval=0.001, in_child=nothing)
    worker.start()
    assert enough.wait(10)
    worker.stop()


def test_it_starts_once_and_works_a_last_time_when_it_is_stopped() -> None:
    rounds: list[int] = []
    before = threading.active_count()
    worker = Worker(lambda: rounds.append(1), "test", interval=LONG, in_child=nothing)
    worker.start()
    worker.start()
    assert threading.active_count() == before + 1
    worker.stop()
    assert not worker.running
    assert rounds


def test_one_that_was_stopped_may_start_again_and_has_one_thread() -> None:
    before = set(threading.enumerate())
    worker = Worker(nothing, "test", interval=LONG, in_child=nothing)
    worker.start()
    (first,) = set(threading.enumerate()) - before
    worker.stop()
    worker.start()
    first.join(10)
    assert len(set(threading.enumerate()) - before) == 1
    worker.stop()


def test_work_is_never_done_twice_at_the_same_time() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        leave.wait(10)

    worker = Worker(work, "test", interval=LONG, in_child=nothing)
    thread = threading.Thread(target=worker.flush, args=(LONG,))
    thread.start()
    assert inside.wait(10)
    assert not worker.flush(0)
    leave.set()
    thread.join()
    assert worker.flush(10)


def test_a_fault_is_counted_and_the_work_goes_on() -> None:
    def work() -> None:
        raise RuntimeError

    guard.reset()
    worker = Worker(work, "test.work", interval=LONG, in_child=nothing)
    assert worker.flush(1)
    assert worker.flush(1)
    assert guard.faults() == {"test.work": 2}
    guard.reset()


def test_nobody_but_its_owner_keeps_it() -> None:
    worker = Worker(nothing, "test", interval=0.001, in_child=nothing)
    threads = set(threading.enumerate())
    worker.start()
    (thread,) = set(threading.enumerate()) - threads
    reference = weakref.ref(worker)
    del worker
    gc.collect()
    thread.join(10)
    assert reference() is None
    assert not thread.is_alive()


@pytest.mark.parametrize("fault", [False, True])
def test_a_child_drops_what_is_the_parents_and_has_a_thread_of_its_own(fault: bool) -> None:
    guard.reset()
    dropped: list[int] = []
    worked = threading.Event()

    def in_child() -> None:
        dropped.append(1)
        if fault:
            raise RuntimeError

    worker = Worker(worked.set, "test.work", interval=LONG, in_child=in_child)
    worker.start()
    worker._lock.acquire()  # as another thread of the parent might have, while it forks
    threads = threading.active_count()
    worker.after_fork()  # what the child calls
    assert dropped == [1]
    assert threading.active_count() == threads + (not fault)
    assert guard.faults() == ({"test.work": 1} if fault else {})
    worker.wake()
    assert fault or worked.wait(10)
    worker.stop()
    guard.reset()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # that is what is tested
def test_a_forked_child_works() -> None:
    read, write = os.pipe()
    worker = Worker(nothing, "test", interval=LONG, in_child=lambda: os.write(write, b"child"))
    worker.start()
    child = os.fork()
    if child == 0:
        os._exit(0 if worker.flush(5) and worker.running else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert os.read(read, 5) == b"child"
    worker.stop()
    os.close(read)
    os.close(write)
