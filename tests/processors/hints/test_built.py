"""An index counts as a hint's by its name, or by what it is."""

from __future__ import annotations

import pytest

from dbvitals_processors.hints.built import index_of
from dbvitals_processors.hints.model import Candidate, Index, Key, Table, TableName

ORDERS = TableName("public", "orders")
USER = Candidate(ORDERS, (Key("user_id", "user_id"),))
STATUS = Candidate(ORDERS, (Key("status", "status"),), where="status = 'pending'")


class TestTheIndexOfAHint:
    @pytest.mark.parametrize(
        "candidate, index",
        [
            (USER, Index("orders_user_id_idx", (Key("user_id", "user_id"),))),
            (USER, Index("mine", (Key("user_id", "user_id"), Key("id", "id")))),
            (
                Candidate(ORDERS, (Key("user_id", "user_id"), Key("placed_at", "placed_at", True))),
                Index("mine", (Key("user_id", "user_id", True, True), Key("placed_at", "placed_at", False, False))),
            ),
            (
                Candidate(ORDERS, (Key("lower(email)"),)),
                Index("mine", (Key("lower((email)::text)"),)),
            ),
            (STATUS, Index("mine", (Key("status", "status"),), where="((status)::text = 'pending'::text)")),
            (STATUS, Index(STATUS.name, (Key("status", "status"),), where="(status = ANY ('{pending}'::text[]))")),
            (Candidate(ORDERS, (Key("tags", "tags"),), method="gin"), Index("g", (Key("tags", "tags"),), method="gin")),
        ],
    )
    def test_is_known_by_name_or_definition(self, candidate: Candidate, index: Index) -> None:
        assert index_of(candidate, Table(ORDERS, {}, indexes=(Index("else", (Key("id", "id"),)), index))) is index

    @pytest.mark.parametrize(
        "index",
        [
            Index("mine", (Key("id", "id"), Key("user_id", "user_id"))),
            Index("mine", (Key("user_id", "user_id"),), where="(status = 'pending')"),
            Index("mine", (Key("user_id", "user_id"),), method="hash"),
            Index("mine", (Key("user_id", "user_id", opclass="text_pattern_ops"),)),
            Index(USER.name, (Key("user_id", "user_id"),), valid=False),
        ],
    )
    def test_is_no_other(self, index: Index) -> None:
        assert index_of(USER, Table(ORDERS, {}, indexes=(index,))) is None
