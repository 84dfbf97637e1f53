"""Regressions: a step is found within minutes; noise, warm-up, load, traffic and a bad minute are none."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvitals_processors.changes import ACCEPTED_AFTER, EFFECT, Baseline, Track, Window, limit, step
from dbvitals_processors.regressions import ENOUGH, Regression, Regressions
from dbvitals_processors.sketch import Sketch

MS = 1_000_000
MINUTE = 60.0
HOUR = 3600.0
KEY = ("shop", "SELECT", "f")
START = 1e9


class Course:
    """A query's calls, with a clock of their own."""

    def __init__(self, seed: int = 7, tracked: Regressions | None = None, start: float = START) -> None:
        self.rng = random.Random(seed)
        self.regressions = tracked or Regressions()
        self.now = start
        self.found: list[tuple[float, Regression]] = []

    def run(
        self,
        seconds: float,
        median: float | Callable[[float], float],
        *,
        sigma: float = 0.4,
        every: float = 0.25,
    ) -> Course:
        """Calls of ``median`` milliseconds for some time, one ``every`` so many seconds."""
        end, tick = self.now + seconds, max(5.0, every)
        while self.now < end:
            sketch = Sketch()
            middle = median(self.now - START) if callable(median) else median
            for _ in range(max(1, round(tick / every))):
                sketch.add(round(middle * MS * self.rng.lognormvariate(0, sigma)))
            self.now += tick
            regression = self.regressions.add(KEY, sketch, self.now)
            if regression is not None:
                self.found.append((self.now, regression))
        return self


def test_a_query_that_takes_twice_as_long_is_found_within_minutes() -> None:
    course = Course().run(HOUR, 5)
    changed = course.now
    (at, regression), *others = course.run(HOUR, 10).found
    assert others == []
    assert at - changed < 5 * MINUTE
    assert regression.before == pytest.approx(0.005, rel=0.1)
    assert regression.after == pytest.approx(0.010, rel=0.15)
    assert abs(regression.since - changed) < 2 * MINUTE
    assert (regression.namespace, regression.operation, regression.fingerprint) == KEY


def test_its_calls_are_slow_from_half_as_long_again_as_before() -> None:
    course = Course().run(HOUR, 5)
    assert course.regressions.limit(KEY) is None
    course.run(HOUR, 10)
    assert course.regressions.limit(KEY) == pytest.approx(EFFECT * 5 * MS, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sigma", [0.05, 0.4, 1.0])
def test_noise_is_no_regression(seed: int, sigma: float) -> None:
    assert Course(seed).run(6 * HOUR, 5, sigma=sigma).found == []


def test_cold_caches_are_no_baseline() -> None:
    course = Course().run(25, 500).run(30 * MINUTE, 5)
    assert course.run(HOUR, 10).found


def test_one_bad_minute_is_no_regression() -> None:
    assert Course().run(HOUR, 5).run(MINUTE, 50).run(HOUR, 5).found == []


def test_a_query_that_is_a_fifth_slower_is_none() -> None:
    assert Course().run(HOUR, 5).run(3 * HOUR, 6).found == []


def test_microseconds_are_none_whatever_the_factor() -> None:
    assert Course().run(HOUR, 0.05).run(HOUR, 0.5).found == []


def test_a_query_that_becomes_faster_is_none() -> None:
    assert Course().run(HOUR, 20).run(HOUR, 2).found == []


def test_the_day_s_load_is_none() -> None:
    assert Course().run(48 * HOUR, lambda t: 5 * 2 ** math.sin(2 * math.pi * t / (24 * HOUR)), every=2).found == []


def test_traffic_that_comes_and_goes_is_none() -> None:
    course = Course()
    for every in (0.05, 5, 0.05, 60, 0.05):
        course.run(HOUR, 5, every=every)
    assert course.found == []


def test_a_morning_after_a_quiet_night_may_be_slower_than_the_evening() -> None:
    course = Course().run(HOUR, 5)
    course.now += 10 * HOUR
    assert course.run(HOUR, 5 * 1.8).found == []


def test_a_rare_query_is_found_too_if_later() -> None:
    course = Course().run(24 * HOUR, 20, every=MINUTE)
    changed = course.now
    (at, _), *_others = course.run(24 * HOUR, 60, every=MINUTE).found
    assert at - changed < 3 * HOUR


def test_too_few_calls_say_nothing() -> None:
    course = Course()
    for _ in range(ENOUGH - 1):
        course.run(HOUR, 5, every=HOUR)
    assert course.regressions.baselines() == {}


def test_a_regression_that_is_mended_is_over() -> None:
    course = Course().run(HOUR, 5).run(HOUR, 15)
    assert len(course.regressions.all()) == 1
    course.run(10 * MINUTE, 5)
    assert course.regressions.all() == []
    assert course.regressions.limit(KEY) is None


def test_a_regression_that_nobody_mends_is_what_is_usual_a_day_later() -> None:
    course = Course().run(HOUR, 5, every=2).run(ACCEPTED_AFTER + HOUR, 15, every=2)
    assert course.regressions.all() == []
    assert len(course.found) == 1
    assert course.run(HOUR, 15, every=2).found[1:] == []


def test_a_release_is_compared_with_the_last_one() -> None:
    last = Course().run(HOUR, 5)
    released = Regressions()
    released.restore(last.regressions.baselines())
    (at, _), *_others = Course(tracked=released, start=last.now + MINUTE).run(HOUR, 10).found
    assert at - last.now < 6 * MINUTE


def test_a_regression_is_still_one_after_a_restart() -> None:
    before = Course().run(HOUR, 5).run(HOUR, 15)
    (known,) = before.regressions.all()
    restarted = Regressions()
    restarted.restore(before.regressions.baselines())
    (kept,) = restarted.all()
    assert (kept.since, kept.before) == (known.since, known.before)
    assert restarted.limit(KEY) == before.regressions.limit(KEY)
    assert Course(tracked=restarted, start=before.now).run(HOUR, 15).found == []


def test_what_is_known_already_is_not_overwritten_by_what_was_kept() -> None:
    course = Course().run(HOUR, 5)
    known = course.regressions.baselines()
    course.regressions.restore({KEY: (Baseline(1.0, 1.0, 0.0), None)})
    assert course.regressions.baselines() == known


def test_the_queries_that_were_not_called_for_longest_are_forgotten() -> None:
    regressions = Regressions(most=2)
    for fingerprint in "abc":
        for second in range(0, 600, 5):
            sketch = Sketch()
            for _ in range(ENOUGH):
                sketch.add(5 * MS)
            regressions.add(("", "", fingerprint), sketch, second)
    assert [fingerprint for _, _, fingerprint in regressions.baselines()] == ["b", "c"]


windows = st.builds(
    Window,
    start=st.floats(0, 1e6),
    end=st.floats(0, 1e6),
    calls=st.integers(1, 10_000),
    level=st.floats(0, 32),
    spread=st.floats(0, 3),
)


@given(st.lists(windows, max_size=40))
def test_whatever_the_windows_and_however_the_clock_jumps_a_track_stays_sound(course: list[Window]) -> None:
    track = Track()
    for window in course:
        track = step(track, window)
        assert track.proof >= 0
        assert len(track.suspects) <= 12
        assert track.baseline is None or (track.baseline.spread > 0 and math.isfinite(track.baseline.level))
        assert (limit(track) is None) == (track.since is None)
