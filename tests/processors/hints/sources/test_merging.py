"""Sightings of one statement are one query."""

from __future__ import annotations

from dbvitals_processors.hints.model import WorkloadQuery
from dbvitals_processors.hints.sources.merging import costliest_first, merge, per_hour


def test_calls_and_seconds_are_added_up_in_order_of_appearance() -> None:
    merged = merge([WorkloadQuery("b", "B", 1, 2.0), WorkloadQuery("a", "A"), WorkloadQuery("b", "B", 3, None)])
    assert merged == [WorkloadQuery("b", "B", 4, 2.0), WorkloadQuery("a", "A")]


def test_seconds_stay_unknown_where_nobody_measured() -> None:
    assert merge([WorkloadQuery("a", "A"), WorkloadQuery("a", "A")]) == [WorkloadQuery("a", "A", 2)]


def test_samples_of_another_text_are_left_out_for_their_binds_may_differ() -> None:
    one, other = WorkloadQuery("a", "x = :a", parameters=({"a": 1},)), WorkloadQuery("a", "x = $1", parameters=([2],))
    assert merge([one, other, one])[0].parameters == ({"a": 1}, {"a": 1})


def test_a_rate_is_taken_over_a_minute_at_least() -> None:
    assert per_hour(7200) == 0.5
    assert per_hour(0) == 60


def test_the_costliest_comes_first_and_ties_are_stable() -> None:
    queries = [
        WorkloadQuery("c", "", 1),
        WorkloadQuery("b", "", 1),
        WorkloadQuery("a", "", 1, 5.0),
        WorkloadQuery("d", "", 2),
    ]
    assert [query.id for query in costliest_first(queries)] == ["a", "d", "b", "c"]
