from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from dbvitals_processors import n_plus_one
from dbvitals_processors.n_plus_one import NPlusOne


def test_a_query_repeats_from_the_threshold_on() -> None:
    counts = NPlusOne(3)
    assert [counts.repeats(1, 2, "f") for _ in range(5)] == [False, False, True, True, True]


def test_queries_under_other_parents_and_other_queries_are_counted_by_themselves() -> None:
    counts = NPlusOne(3)
    for trace_id, parent_id, fingerprint in [(1, 2, "f"), (1, 3, "f"), (1, 2, "g"), (2, 2, "f")]:
        assert counts.count(trace_id, parent_id, fingerprint) == 1
    assert counts.count(1, 2, "f") == 2


def test_queries_without_a_parent_are_never_a_loop() -> None:
    counts = NPlusOne(2)
    assert not any(counts.repeats(1, None, "INSERT") for _ in range(100))


def test_a_trace_that_is_still_asked_for_is_remembered_among_any_number_of_others() -> None:
    counts = NPlusOne(3)
    for number in range(5 * n_plus_one.MOST_TRACES):
        counts.count(1000 + number, 1, "f")
        if number % 50 == 0:
            counts.count(1, 1, "f")
    assert counts.count(1, 1, "f") == 5 * n_plus_one.MOST_TRACES // 50 + 1


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2000)), max_size=300))
def test_memory_is_bounded(seen: list[tuple[int, int]]) -> None:
    counts = NPlusOne(3)
    for trace_id, parent_id in seen:
        for step in range(20):
            counts.count(trace_id, parent_id, f"f{step}")
    generations = (counts._young, counts._old)
    assert all(len(traces) <= n_plus_one.MOST_TRACES for traces in generations)
    assert all(len(kinds) <= n_plus_one.MOST_QUERIES + 1 for traces in generations for kinds in traces.values())


def test_what_is_cleared_begins_anew() -> None:
    counts = NPlusOne(3)
    counts.count(1, 2, "f")
    counts.clear()
    assert counts.count(1, 2, "f") == 1


def test_threads_disturb_each_other_no_more_than_by_a_lost_count() -> None:
    counts = NPlusOne(5)

    def work(trace_id: int) -> None:
        for number in range(2000):
            counts.count(trace_id, number % 7, "f")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(counts.repeats(number, 1, "f") for number in range(4))
