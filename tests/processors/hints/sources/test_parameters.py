"""Samples of parameters: few, plain, fair, and only where they were asked for."""

from __future__ import annotations

import random
import threading
from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvitals_processors.hints.model import WorkloadQuery
from dbvitals_processors.hints.sources.parameters import MOST_CHARACTERS, MOST_ITEMS, ParameterSamples, plain


class Status(str, Enum):
    PENDING = "pending"


def test_only_types_are_kept_unless_values_were_asked_for() -> None:
    samples = ParameterSamples()
    samples.add("f", {"name": "Ada", "age": None}, "SELECT :name, :age")
    samples.add("f", {"name": "Bob", "age": 7}, "SELECT :name, :age")
    known = samples.get("f")
    assert known is not None
    assert (known.calls, known.types, known.sets, known.text) == (2, {"name": "str", "age": "int"}, (), "")


def test_positions_are_known_by_number() -> None:
    samples = ParameterSamples(values=True)
    samples.add("f", (1, "x"))
    known = samples.get("f")
    assert known is not None
    assert (known.types, known.sets) == ({0: "int", 1: "str"}, ([1, "x"],))


def test_every_call_is_as_likely_to_be_kept() -> None:
    kept: Counter[int] = Counter()
    for seed in range(400):
        samples = ParameterSamples(values=True, sets=5, chance=random.Random(seed).random)
        for number in range(20):
            samples.add("f", [number])
        known = samples.get("f")
        assert known is not None
        assert len(known.sets) == 5
        kept.update(values[0] for values in known.sets)
    assert all(60 <= kept[number] <= 140 for number in range(20))  # 100 each


def test_when_there_are_too_many_statements_the_rarest_are_forgotten() -> None:
    samples = ParameterSamples(fingerprints=10)
    for number in range(10):
        for _ in range(number + 1):
            samples.add(f"f{number}", [1])
    samples.add("new", [1])
    assert samples.get("f0") is None
    assert samples.get("f1") is not None
    assert samples.get("new") is not None


def test_plain_values_are_copied_and_cut() -> None:
    moment, key = datetime(2024, 1, 1), UUID(int=7)
    assert plain(
        {
            "text": "x" * 1000,
            "list": list(range(1000)),
            "enum": Status.PENDING,
            "more": (True, None, 1.5, Decimal("1.5"), moment, date(2024, 1, 1), key),
        }
    ) == {
        "text": "x" * MOST_CHARACTERS,
        "list": list(range(MOST_ITEMS)),
        "enum": "pending",
        "more": [True, None, 1.5, Decimal("1.5"), moment, date(2024, 1, 1), key],
    }
    assert type(plain([Status.PENDING])[0]) is str  # type: ignore[index]


@pytest.mark.parametrize("value", [b"bytes", object(), {"a": 1}, [[1]], 10**100, Decimal("1" * 300)])
def test_a_set_with_another_kind_of_value_is_not_kept(value: Any) -> None:
    samples = ParameterSamples(values=True)
    samples.add("f", [1, value])
    known = samples.get("f")
    assert known is not None
    assert known.sets == ()
    assert known.types[1] == type(value).__name__


def test_imports_are_passed_over() -> None:
    samples = ParameterSamples(values=True)
    samples.add("f", list(range(1000)))
    known = samples.get("f")
    assert known is not None
    assert (known.calls, known.types, known.sets) == (1, {}, ())


def test_queries_get_the_text_that_their_samples_belong_to() -> None:
    samples = ParameterSamples(values=True)
    samples.add("f", {"b": 1}, "SELECT a FROM t WHERE b = %(b)s")
    samples.add("f", {"c": 1}, "SELECT a FROM t WHERE b = %(c)s")
    one, other = WorkloadQuery("f", "SELECT a FROM t WHERE b = ?", 5), WorkloadQuery("g", "SELECT ?")
    assert samples.complete([one, other]) == [
        WorkloadQuery("f", "SELECT a FROM t WHERE b = %(b)s", 5, None, ({"b": 1},)),
        other,
    ]


def test_a_fork_begins_anew() -> None:
    samples = ParameterSamples()
    samples.add("f", [1])
    samples.lock.acquire()
    samples.clear()
    samples.add("g", [1])
    assert samples.get("f") is None


def test_many_threads_may_add() -> None:
    samples = ParameterSamples(values=True)
    threads = [threading.Thread(target=lambda: [samples.add("f", [number]) for number in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = samples.get("f")
    assert known is not None
    assert known.calls == 2000


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals() | st.dates() | st.uuids()
anything = scalars | st.binary() | st.lists(scalars) | st.dictionaries(st.text(), scalars)


@given(st.lists(st.lists(anything) | st.dictionaries(st.text() | st.integers(), anything) | st.none()))
def test_any_parameters_are_taken(many: list[Any]) -> None:
    samples = ParameterSamples(values=True, sets=2)
    for parameters in many:
        samples.add("f", parameters)
    known = samples.get("f")
    assert known is None or len(known.sets) <= 2
