"""Thresholds: the most precise pattern wins, and what cannot be a duration is refused at start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbvitals_instrumentation.config import Config, ConfigError
from dbvitals_processors.thresholds import Thresholds

MS = 1_000_000


def thresholds(text: str = "", default: str = "0.1") -> Thresholds:
    environ = {"DBVITALS_SLOW_THRESHOLD": default, "DBVITALS_SLOW_THRESHOLDS": text}
    return Thresholds.of(Config.from_environment(environ))


def test_without_settings_a_tenth_of_a_second_is_slow() -> None:
    assert Thresholds.of(Config()).threshold("shop", "SELECT", "f") == 100 * MS


def test_one_setting_changes_it_for_all() -> None:
    assert thresholds(default="0.25").threshold("shop", "SELECT", "f") == 250 * MS


@pytest.mark.parametrize(
    "query, milliseconds",
    [
        (("shop|public", "SELECT", "beef"), 30),  # namespace and operation before namespace
        (("shop|public", "INSERT", "beef"), 50),
        (("shop|audit", "INSERT", "beef"), 60),  # what is spelled out before what is open
        (("crm|public", "SELECT", "beef"), 200),
        (("shop|public", "SELECT", "abcd01"), 1000),  # a fingerprint before all else
        (("shop|public", "SELECT", "abcdef0123456789"), 2000),
        (("crm|public", "BATCH INSERT", "beef"), 5000),
        (("crm|public", "DELETE", "beef"), 100),
        (("/tmp/shop.db", "SELECT", "beef"), 70),
    ],
)
def test_the_most_precise_pattern_wins(query: tuple[str, str, str], milliseconds: int) -> None:
    settings = (
        "SELECT=0.2,shop|*/*=0.06,shop|public/*=0.05,shop|public/SELECT=0.03,fp:abcd*=1,fp:ABCDEF0123456789=2,"
        "batch *=5,/tmp/shop.db/*=0.07"
    )
    assert thresholds(settings).threshold(*query) == milliseconds * MS


def test_of_two_patterns_that_are_as_precise_the_first_stands() -> None:
    assert thresholds("SELECT=1,select=2").threshold("", "select", "f") == 1000 * MS


def test_the_least_threshold_is_known() -> None:
    assert thresholds("SELECT=0.2,fp:ab*=0.01").least == 10 * MS
    assert thresholds("SELECT=0.2").least == 100 * MS


@pytest.mark.parametrize(
    "variable, text, line",
    [
        ("SLOW_THRESHOLD", "soon", "DBVITALS_SLOW_THRESHOLD='soon': must be a number"),
        ("SLOW_THRESHOLD", "-1", "DBVITALS_SLOW_THRESHOLD=-1.0: must be a positive number of seconds"),
        ("SLOW_THRESHOLD", "nan", "DBVITALS_SLOW_THRESHOLD=nan: must be a positive number of seconds"),
        (
            "SLOW_THRESHOLDS",
            "SELECT=inf",
            "DBVITALS_SLOW_THRESHOLDS=SELECT='inf': must be a positive number of seconds",
        ),
        (
            "SLOW_THRESHOLDS",
            "SELECT=5ms",
            "DBVITALS_SLOW_THRESHOLDS=SELECT='5ms': must be a positive number of seconds",
        ),
        ("SLOW_THRESHOLDS", "0.5", "DBVITALS_SLOW_THRESHOLDS='0.5': must be key=value pairs with commas between them"),
    ],
)
def test_what_is_no_duration_is_refused_in_one_line(variable: str, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_environment({f"DBVITALS_{variable}": text})
    assert str(error.value) == line


def test_a_field_that_is_no_duration_is_refused_where_it_is_made() -> None:
    with pytest.raises(ConfigError, match="slow_threshold=True: must be a positive number of seconds"):
        Config(slow_threshold=True)
    with pytest.raises(ConfigError, match="slow_threshold=None: must be a positive number of seconds"):
        Config(slow_threshold=None)  # type: ignore[arg-type]


@given(
    st.dictionaries(st.text("ab*?/", min_size=1, max_size=4), st.floats(0.001, 10), max_size=4),
    st.text("ab", max_size=3),
)
def test_every_query_has_a_threshold_and_it_is_one_that_was_set(patterns: dict[str, float], name: str) -> None:
    config = Config(slow_thresholds=tuple((pattern, str(seconds)) for pattern, seconds in patterns.items()))
    found = Thresholds.of(config).threshold(name, name, name)
    assert found in {100 * MS, *(max(1, round(seconds * 1e9)) for seconds in patterns.values())}
    assert found >= Thresholds.of(config).least
