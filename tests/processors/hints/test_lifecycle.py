"""A hint is open, is applied once its index is there, and then says what it has saved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dbvitals_processors.hints.impact import UNIT_OF_WRITES
from dbvitals_processors.hints.lifecycle import FORGOTTEN_AFTER, GRACE, MOST_KEPT, Life, advance, applied
from dbvitals_processors.hints.model import (
    Advice,
    Candidate,
    Catalogue,
    Hint,
    Index,
    Key,
    Saving,
    Served,
    Table,
    TableName,
    WorkloadQuery,
)

ORDERS = TableName("public", "orders")
USER = Candidate(ORDERS, (Key("user_id", "user_id"),))
STATUS = Candidate(ORDERS, (Key("status", "status"),), where="status = 'pending'")


def hint(candidate: Candidate = USER, *queries: tuple[str, float], upkeep: float = 0.0) -> Hint:
    found = tuple(
        Served(WorkloadQuery(name, "", 100.0), 900.0, 900.0, 9.0, "", "", share)
        for name, share in queries or (("page", 1.0),)
    )
    saving = Saving(5.0, 3.0, 8.0)
    return Hint(candidate, candidate.ddl(), found, 8192, 1.0, upkeep, 1.0, 0.5, saving, "hypothetical")


def advice(*hints: Hint) -> Advice:
    return Advice("postgresql", hints, (), (), 1.0, 1.0, 1, 1, 0.1)


def catalogue(*indexes: Index, table: TableName = ORDERS) -> Catalogue:
    return Catalogue("postgresql", {table: Table(table, {}, indexes=indexes)})


def took(milliseconds: float, name: str = "page", calls: float = 100.0) -> WorkloadQuery:
    return WorkloadQuery(name, "", calls, calls * milliseconds / 1000)


def built(candidate: Candidate = USER, **more: Any) -> Index:
    return Index(**{"name": candidate.name, "keys": candidate.keys, "where": candidate.where, **more})


def look(lives: tuple[Life, ...], now: float, *hints: Hint, indexes: tuple[Index, ...] = (), **more: Any) -> Any:
    queries = more.pop("queries", [took(50)])
    return advance(lives, "shop", advice(*hints), catalogue(*indexes), queries, now, **more)


class TestAHint:
    def test_is_open_from_its_first_sight_on(self) -> None:
        (life,) = look(look((), 100.0, hint()), 200.0, hint())
        assert (life.state, life.first_seen, life.since, life.seen) == ("open", 100.0, 100.0, 200.0)
        assert life.effects[0].before == 0.05
        assert life.measured is None

    def test_is_applied_when_its_index_is_there_and_says_what_it_saves(self) -> None:
        lives = look((), 100.0, hint(upkeep=1000.0))
        (life,) = look(lives, 200.0, indexes=(built(),), queries=[took(2)])
        assert (life.state, life.first_seen, life.since) == ("applied", 100.0, 200.0)
        assert life.predicted == Saving(5.0, 3.0, 8.0)
        assert life.measured == pytest.approx(100 * 0.048 - 1000 * UNIT_OF_WRITES)

    def test_is_measured_again_at_each_look_and_at_the_calls_that_were_predicted_for(self) -> None:
        lives = look(look((), 100.0, hint()), 200.0, indexes=(built(),), queries=[took(40)])
        (life,) = look(lives, 300.0, indexes=(built(),), queries=[took(2, calls=9_000)])
        assert life.since == 200.0
        assert life.measured == pytest.approx(100 * 0.048)

    def test_keeps_what_was_measured_where_its_query_is_not_asked_for_a_while(self) -> None:
        lives = look(look((), 100.0, hint()), 200.0, indexes=(built(),), queries=[took(2)])
        (life,) = look(lives, 300.0, indexes=(built(),), queries=[])
        assert life.measured == pytest.approx(100 * 0.048)

    def test_is_measured_by_the_recent_part_of_the_workload(self) -> None:
        lives = look((), 100.0, hint())
        (life,) = look(lives, 200.0, indexes=(built(),), queries=[took(45)], recent=[took(2)])
        assert life.measured == pytest.approx(100 * 0.048)

    def test_without_measurements_has_no_measured_saving(self) -> None:
        lives = look((), 100.0, hint(), queries=[WorkloadQuery("page", "", 100.0)])
        (life,) = look(lives, 200.0, indexes=(built(),), queries=[took(2)])
        assert life.measured is None
        assert applied([life], "shop")[0].queries == 0

    def test_is_withdrawn_when_it_is_not_advised_for_a_day(self) -> None:
        lives = look((), 100.0, hint())
        assert look(lives, 100.0 + GRACE - 1)[0].state == "open"
        gone = look(lives, 100.0 + GRACE + 1)
        assert gone[0].state == "withdrawn"
        assert look(gone, gone[0].since + FORGOTTEN_AFTER + 1) == ()

    @pytest.mark.parametrize(
        "now_advised, state",
        [
            (replace(USER, include=("total",)), "withdrawn"),
            (replace(USER, keys=(*USER.keys, *STATUS.keys)), "withdrawn"),
            (replace(USER, keys=(*STATUS.keys, *USER.keys)), "open"),
            (replace(USER, where="status = 'pending'"), "open"),
            (replace(USER, table=TableName("public", "customers")), "open"),
        ],
        ids=["included columns", "more keys", "other keys first", "a part of the rows", "another table"],
    )
    def test_is_withdrawn_at_once_when_an_index_that_does_its_work_is_advised(
        self, now_advised: Candidate, state: str
    ) -> None:
        found = {life.candidate: life.state for life in look(look((), 100.0, hint()), 101.0, hint(now_advised))}
        assert found == {USER: state, now_advised: "open"}

    def test_is_withdrawn_when_its_table_is_gone(self) -> None:
        (life,) = advance(look((), 1.0, hint()), "shop", advice(), catalogue(table=TableName("", "else")), [], 2.0)
        assert life.state == "withdrawn"

    def test_that_comes_back_is_the_same_one(self) -> None:
        gone = look(look((), 100.0, hint()), 100.0 + 2 * GRACE)
        (life,) = look(gone, 100.0 + 3 * GRACE, hint())
        assert (life.state, life.first_seen, life.since) == ("open", 100.0, 100.0 + 3 * GRACE)

    def test_whose_index_was_dropped_again_begins_anew(self) -> None:
        lives = look(look((), 100.0, hint()), 200.0, indexes=(built(),))
        assert look(lives, 300.0)[0].state == "withdrawn"
        assert look(lives, 300.0, hint())[0].first_seen == 300.0

    def test_of_another_database_is_left_alone(self) -> None:
        other = replace(look((), 100.0, hint())[0], namespace="else")
        found = look((other,), 100.0 + 2 * GRACE, hint())
        assert {(life.namespace, life.state) for life in found} == {("else", "open"), ("shop", "open")}
        assert applied(found, "shop") == ()


class TestSeveralHintsOfOneQuery:
    def test_divide_what_was_measured_when_they_are_applied_together(self) -> None:
        hints = hint(USER, ("page", 0.75)), hint(STATUS, ("page", 0.25))
        found = look(look((), 1.0, *hints), 2.0, indexes=(built(USER), built(STATUS)), queries=[took(2)])
        measured = {life.candidate: life.measured for life in found}
        assert measured == {USER: pytest.approx(0.75 * 4.8), STATUS: pytest.approx(0.25 * 4.8)}

    def test_leave_all_of_it_to_the_one_that_is_applied_alone(self) -> None:
        first, second = hint(USER, ("page", 0.75)), hint(STATUS, ("page", 0.25))
        lives = look((), 1.0, first, second)
        lives = look(lives, 2.0, hint(STATUS, ("page", 1.0)), indexes=(built(USER),), queries=[took(20)])
        measured = {life.candidate: life.measured for life in lives}
        assert measured == {USER: pytest.approx(3.0), STATUS: None}
        lives = look(lives, 3.0, indexes=(built(USER), built(STATUS)), queries=[took(5)])
        assert {life.candidate: life.measured for life in lives} == {
            USER: pytest.approx(3.0),  # as it was before the other one came
            STATUS: pytest.approx(1.5),
        }

    def test_that_serve_the_searches_of_a_delete_are_measured_by_it(self) -> None:
        hints = (
            hint(USER, ("gone: foreign key a", 1.0), ("gone: foreign key b", 1.0)),
            hint(STATUS, ("gone: foreign key c", 1.0)),
        )
        lives = look((), 1.0, *hints, queries=[took(50, "gone")])
        assert [[effect.query for effect in life.effects] for life in lives] == [["gone"], ["gone"]]
        lives = look(lives, 2.0, indexes=(built(USER), built(STATUS)), queries=[took(5, "gone")])
        assert {life.candidate: life.measured for life in lives} == {
            USER: pytest.approx(3.0),
            STATUS: pytest.approx(1.5),
        }


def test_there_are_never_too_many() -> None:
    lives = [
        replace(look((), float(n), hint())[0], namespace=f"shop {n}", state="withdrawn") for n in range(MOST_KEPT + 5)
    ]
    assert len(look(tuple(lives), 1000.0, hint())) == MOST_KEPT
