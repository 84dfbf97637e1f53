"""Hints as metrics, and by the queries that they serve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dbvitals_instrumentation import semconv
from dbvitals_processors.hints.lifecycle import Effect, Life
from dbvitals_processors.hints.model import Candidate, Key, Saving, TableName
from dbvitals_processors.hints.publish import MOST_IDS, MOST_PUBLISHED, Board


def life(column: str = "user_id", schema: str = "public") -> Life:
    candidate = Candidate(TableName(schema, "orders"), (Key(column, column), Key("id", "id")))
    return Life(
        "shop",
        candidate,
        candidate.ddl(),
        "hypothetical",
        "open",
        100.0,
        100.0,
        100.0,
        Saving(5.0, 3.0, 8.0),
        effects=(Effect("3fa9", 10.0), Effect("bb01", 10.0)),
    )


def test_an_open_hint_has_its_predicted_saving_and_when_it_was_first_seen() -> None:
    board = Board()
    board.publish([life()])
    (saving,), (first,) = board.saving(), board.first_seen()
    named = {
        semconv.INDEX_HINT_ID: life().id,
        semconv.DB_NAMESPACE: "shop|public",
        semconv.DB_COLLECTION_NAME: "orders",
    }
    assert (first.value, first.attributes) == (100.0, named)
    assert saving.value == 5.0
    assert saving.attributes == {
        **named,
        semconv.INDEX_HINT_COLUMNS: "user_id, id",
        semconv.INDEX_HINT_DDL: "CREATE INDEX orders_user_id_id_idx ON orders (user_id, id)",
        semconv.INDEX_HINT_VERIFICATION: "hypothetical",
        semconv.INDEX_HINT_STATE: "open",
    }


def test_an_applied_one_is_shown_and_names_no_query_any_more() -> None:
    board = Board()
    board.publish([replace(life(), state="applied"), life("status"), replace(life("total"), state="withdrawn")])
    assert [one.attributes[semconv.INDEX_HINT_STATE] for one in board.saving() if one.attributes] == ["applied", "open"]
    assert board.ids == {"3fa9": (life("status").id,), "bb01": (life("status").id,)}


def test_one_without_a_prediction_is_only_known_to_be_there() -> None:
    board = Board()
    board.publish([replace(life(), predicted=None)])
    assert (len(board.saving()), len(board.first_seen())) == (0, 1)


def test_the_namespace_is_that_of_spans() -> None:
    board = Board()
    board.publish([life(schema=""), life(schema="shop")])
    assert [one.attributes[semconv.DB_NAMESPACE] for one in board.saving() if one.attributes] == ["shop", "shop"]


@pytest.mark.parametrize(
    "where, shown",
    [
        ("status = 'it''s' AND is_paid", "status = ? AND is_paid"),
        ("col2 IN (4711, -3.5) AND NOT done", "col2 IN (?, ?) AND NOT done"),
        ("deleted_at IS NULL", "deleted_at IS NULL"),
    ],
)
def test_values_of_a_predicate_are_not_exported(where: str, shown: str) -> None:
    candidate = replace(life().candidate, where=where)
    board = Board()
    board.publish([replace(life(), candidate=candidate, ddl=candidate.ddl())])
    (saving,) = board.saving()
    assert saving.attributes is not None
    assert str(saving.attributes[semconv.INDEX_HINT_DDL]).endswith(f"(user_id, id) WHERE {shown}")


def test_there_are_never_too_many() -> None:
    board = Board()
    board.publish([life(f"c{number}") for number in range(MOST_PUBLISHED + 50)])
    assert len(board.saving()) == MOST_PUBLISHED
    assert len(board.ids["3fa9"]) == MOST_IDS
    board.clear()
    assert (board.saving(), board.ids) == ([], {})
