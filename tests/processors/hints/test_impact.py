"""From cost to time: learnt where it was measured, assumed where it was not, and never surer than it can be."""

from __future__ import annotations

import random
from math import exp

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbvitals_processors.hints import impact
from dbvitals_processors.hints.impact import Curve, Model, Point, calibrate, learn, total
from dbvitals_processors.hints.model import Saving, Served, WorkloadQuery


def query(name: str, calls: float = 100.0, seconds: float | None = None) -> WorkloadQuery:
    return WorkloadQuery(name, "SELECT 1", calls, seconds)


def served(name: str, before: float, without: float, after: float, calls: float = 100.0) -> Served:
    return Served(query(name, calls), before, without, after, "", "")


def points(number: int = 60, *, unit: float = 5e-6, exponent: float = 1.0, noise: float = 0.3) -> list[Point]:
    chance = random.Random(7)
    costs = [10 ** chance.uniform(0.5, 5) for _ in range(number)]
    return [Point(cost, (150e-6 + unit * cost**exponent) * exp(chance.gauss(0, noise))) for cost in costs]


class TestTheCurve:
    def test_is_found_again_in_measurements_that_scatter(self) -> None:
        curve = calibrate(points())
        for cost in (300.0, 3_000.0, 30_000.0):
            assert curve.seconds(cost) == pytest.approx(150e-6 + 5e-6 * cost, rel=0.35)
        assert 0.9 < curve.exponent < 1.1
        assert curve.overhead == pytest.approx(150e-6, rel=0.5)
        assert curve.measured == 60

    def test_is_not_bent_by_queries_that_the_planner_misjudges(self) -> None:
        wrong = [Point(4.0 + n, 0.5) for n in range(6)] + [Point(80_000.0 + n, 0.002) for n in range(6)]
        curve = calibrate([*points(), *wrong])
        assert curve.seconds(10_000.0) == pytest.approx(5e-2, rel=0.5)

    def test_learns_another_exponent_within_reason(self) -> None:
        assert calibrate(points(exponent=0.9)).exponent == pytest.approx(0.9, abs=0.1)
        assert calibrate(points(exponent=3.0)).exponent == impact.EXPONENTS[1]

    def test_of_few_measurements_tells_the_server_s_speed_alone(self) -> None:
        curve = calibrate([Point(1_000.0, 0.020), Point(4_000.0, 0.080)])
        assert curve.exponent == 1.0
        assert curve.seconds(2_000.0) == pytest.approx(0.040, rel=0.05)
        assert curve.spread > 0.6

    def test_without_any_is_the_one_that_was_measured_here(self) -> None:
        assert calibrate([]) == Curve()
        assert Curve().seconds(10_000.0) == pytest.approx(impact.OVERHEAD + 10_000 * impact.UNIT)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.builds(Point, st.floats(0, 1e12), st.floats(0, 1e6)), max_size=40))
    def test_is_a_curve_for_whatever_was_measured(self, measured: list[Point]) -> None:
        curve = calibrate(measured)
        assert 0 < curve.seconds(0.0) <= curve.seconds(100.0) <= curve.seconds(1e6) < float("inf")
        assert curve.spread >= impact.LEAST_SPREAD


class TestAMeasuredQuery:
    MODEL = Model(Curve(overhead=100e-6, scale=5e-6), {"slow": 0.5})

    def test_saves_what_it_takes_less_what_it_will_take(self) -> None:
        (one,), saving = self.MODEL.priced({"a": [served("slow", 10_000, 10_000, 10)]}, {})["a"]
        assert one.seconds_before == 0.5
        assert one.seconds_after is not None
        assert 100e-6 < one.seconds_after < 0.002
        assert saving is not None
        assert saving.seconds == pytest.approx(100 * 0.4995, rel=0.01)
        assert 0 < saving.low < saving.seconds < saving.high

    def test_keeps_a_quarter_of_its_distance_from_the_curve(self) -> None:
        (one,), _ = self.MODEL.priced({"a": [served("slow", 10_000, 10_000, 1_000)]}, {})["a"]
        assert one.seconds_after == pytest.approx(0.0051 * (0.5 / 0.0501) ** 0.25)

    def test_is_known_better_than_one_that_was_not(self) -> None:
        queries = [served(name, 10_000, 10_000, 10) for name in ("slow", "unknown")]
        (known, unknown), _ = self.MODEL.priced({"a": queries}, {})["a"]
        assert known.saving is not None
        assert unknown.saving is not None
        assert known.saving.high / known.saving.low < unknown.saving.high / unknown.saving.low
        assert unknown.saving.seconds == pytest.approx(100 * 0.05, rel=0.05)

    def test_never_takes_longer_with_the_index(self) -> None:
        model = Model(Curve(overhead=100e-6, scale=5e-6), {"slow": 20e-6})
        (one,), saving = model.priced({"a": [served("slow", 1_000, 1_000, 900)]}, {})["a"]
        assert one.seconds_after == one.seconds_before
        assert saving is not None
        assert saving.seconds == 0


class TestSeveralHints:
    def test_divide_what_a_query_saves(self) -> None:
        queries = {"a": [served("join", 1_000, 800, 10)], "b": [served("join", 1_000, 208, 10)]}
        found = Model().priced(queries, {})
        (a,), (b,) = found["a"][0], found["b"][0]
        assert (a.share, b.share) == (pytest.approx(0.8, abs=0.01), pytest.approx(0.2, abs=0.01))
        (alone,), _ = Model().priced({"a": [served("join", 1_000, 1_000, 10)]}, {})["a"]
        assert alone.saving is not None
        both = [saving.seconds for _, saving in found.values() if saving is not None]
        assert sum(both) == pytest.approx(alone.saving.seconds)

    def test_are_less_sure_each_than_all_of_them(self) -> None:
        one = Saving(10.0, 6.0, 16.0)
        four = total([(one, 1.0)] * 4)
        assert four.seconds == 40.0
        assert 24.0 < four.low < 32.0
        assert total([(one, 0.5)]).low == 3.0

    def test_pay_for_writes(self) -> None:
        queries = {"a": [served("page", 1_000, 1_000, 10)]}
        free, paid = (Model().priced(queries, {"a": units})["a"][1] for units in (0.0, 10_000.0))
        assert free is not None
        assert paid is not None
        assert free.seconds - paid.seconds == pytest.approx(10_000 * impact.UNIT_OF_WRITES)
        assert free.low - paid.low == pytest.approx(10_000 * impact.UNIT_OF_WRITES)


class TestAWorkload:
    def test_is_learnt_from_its_measured_queries(self) -> None:
        model = learn([(query("a", 10, 0.5), 10_000.0), (query("b", 10), 20_000.0), (query("c", 0.5, 0.0), 5.0)])
        assert model.anchors == {"a": 0.05}
        assert model.curve is not None
        assert model.curve.measured == 1

    def test_shares_the_time_of_a_delete_with_the_searches_of_its_foreign_keys(self) -> None:
        found = learn([(query("gone", 10, 2.0), 10.0), (query("gone: foreign key orders_fk", 10), 990.0)])
        assert found.anchors["gone"] == pytest.approx(0.002)
        assert found.anchors["gone: foreign key orders_fk"] == pytest.approx(0.198)

    def test_of_a_database_whose_units_nobody_knows_has_no_times(self) -> None:
        model = learn([(query("a"), 10_000.0)], "mysql")
        assert model.priced({"a": [served("a", 100, 100, 1)]}, {})["a"][1] is None
        measured = learn([(query("a", 10, 0.5), 10_000.0)], "mysql")
        assert measured.priced({"a": [served("a", 100, 100, 1)]}, {})["a"][1] is not None
