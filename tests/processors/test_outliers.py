"""Outliers: few false alarms whatever the tail, none before enough is known, and the past is forgotten."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvitals_processors.outliers import ENOUGH, FLOOR, LEAST_RATIO, WINDOW, Outliers
from dbvitals_processors.sketch import Sketch

MS = 1_000_000


def sketch(*milliseconds: float) -> Sketch:
    made = Sketch()
    for one in milliseconds:
        made.add(round(one * MS))
    return made


def test_nothing_is_said_before_enough_calls_are_known() -> None:
    outliers = Outliers()
    assert outliers.add("q", sketch(*[20] * (ENOUGH - 1)), 0) is None
    assert outliers.limit("q") is None
    assert outliers.add("q", sketch(20), 1) is not None


def test_a_steady_query_may_take_three_times_its_median() -> None:
    limit = Outliers().add("q", sketch(*[20] * 200), 0)
    assert limit == pytest.approx(LEAST_RATIO * 20 * MS, rel=0.02)


def test_nothing_short_is_an_outlier() -> None:
    assert Outliers().add("q", sketch(*[0.05] * 200), 0) == FLOOR


DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "steady": lambda r: 20 * r.lognormvariate(0, 0.1),
    "log-normal": lambda r: 20 * r.lognormvariate(0, 0.5),
    "wide log-normal": lambda r: 20 * r.lognormvariate(0, 1.0),
    "Pareto": lambda r: 20 * r.paretovariate(2),
    "exponential": lambda r: 20 * r.expovariate(1) + 5,
    "two habits": lambda r: (400 if r.random() < 0.05 else 20) * r.lognormvariate(0, 0.3),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_false_alarms_are_rare_whatever_the_tail(name: str) -> None:
    draw, rng, outliers = DISTRIBUTIONS[name], random.Random(7), Outliers()
    alarms = 0
    for second in range(200):
        calls = [draw(rng) for _ in range(100)]
        limit = outliers.limit("q")
        alarms += sum(limit is not None and call * MS >= limit for call in calls)
        outliers.add("q", sketch(*calls), second)
    assert alarms <= 10  # of 20,000


def test_a_call_that_takes_twenty_times_as_long_is_an_outlier_of_a_log_normal_query() -> None:
    rng, outliers = random.Random(7), Outliers()
    limit = outliers.add("q", sketch(*[5 * rng.lognormvariate(0, 0.5) for _ in range(1000)]), 0)
    assert limit is not None
    assert limit < 20 * 5 * MS


def test_a_query_that_has_become_slower_for_good_has_a_new_limit_two_windows_later() -> None:
    outliers = Outliers()
    outliers.add("q", sketch(*[20] * 200), 0)
    outliers.add("q", sketch(*[200] * 200), WINDOW)
    limit = outliers.add("q", sketch(*[200] * 200), 2 * WINDOW)
    assert limit == pytest.approx(LEAST_RATIO * 200 * MS, rel=0.02)


def test_a_rare_query_keeps_what_it_has_until_there_is_enough_new() -> None:
    outliers = Outliers()
    outliers.add("q", sketch(*[20] * ENOUGH), 0)
    for day in range(1, 10):
        assert outliers.add("q", sketch(20), day * 86400.0) is not None


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    outliers = Outliers()
    outliers.add("q", sketch(*[20] * 200), 10_000)
    assert outliers.add("q", sketch(*[20] * 200), 0) is not None


def test_the_query_that_was_not_called_for_longest_is_forgotten() -> None:
    outliers = Outliers(most=2)
    for key in ("a", "b", "a", "c"):
        outliers.add(key, sketch(*[20] * ENOUGH), 0)
    assert outliers.limit("b") is None
    assert None not in (outliers.limit("a"), outliers.limit("c"))


@given(st.lists(st.lists(st.floats(0, 1e6), max_size=30), max_size=30))
def test_a_limit_is_never_below_the_floor_nor_below_what_is_usual(seconds: list[list[float]]) -> None:
    outliers = Outliers()
    for now, calls in enumerate(seconds):
        limit = outliers.add("q", sketch(*calls), now)
        assert limit is None or limit >= FLOOR
