"""Settings come from fields or from the environment, and what cannot be read is said in one line."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

import configuration_table
import dbvitals
from dbvitals import Config, ConfigError


def test_every_field_can_be_set_by_its_variable() -> None:
    examples = {bool: "false", int: "77", float: "0.7", tuple: "team=3,tier=4", str: None}
    environ = {}
    for item in fields(Config):
        text = "engine" if item.name == "advise_database" else examples[type(item.default)]
        environ[f"DBVITALS_{item.name.upper()}"] = text or (item.metadata["choices"] or ("some text",))[-1]
    config = Config.from_environment(environ)
    for item in fields(Config):
        values = {bool: False, int: 77, float: 0.7, tuple: (("team", "3"), ("tier", "4"))}
        expected = values.get(type(item.default), (item.metadata["choices"] or ("some text",))[-1])
        expected = "engine" if item.name == "advise_database" else expected
        assert getattr(config, item.name) == expected


def test_variables_that_are_unset_or_empty_leave_the_defaults() -> None:
    assert Config.from_environment({"DBVITALS_POOL": " "}) == Config()


@pytest.mark.parametrize(
    "variable, text, line",
    [
        ("DBVITALS_POOL", "maybe", "DBVITALS_POOL='maybe': must be true or false"),
        ("DBVITALS_MAX_FINGERPRINTS", "many", "DBVITALS_MAX_FINGERPRINTS='many': must be a whole number"),
        ("DBVITALS_MAX_FINGERPRINTS", "0", "DBVITALS_MAX_FINGERPRINTS=0: must be a whole number of at least 1"),
        ("DBVITALS_ADVISE", "-1", "DBVITALS_ADVISE=-1.0: must be a positive number of seconds"),
        (
            "DBVITALS_ADVISE",
            "3600",
            "DBVITALS_ADVISE_DATABASE=…: with advise, it must be the URL of a database, or engine for the "
            "application's own",
        ),
        ("DBVITALS_QUERY_SPANS", "all", "DBVITALS_QUERY_SPANS='all': must be one of auto, official, off"),
        (
            "DBVITALS_SQLCOMMENTER_TAGS",
            "team",
            "DBVITALS_SQLCOMMENTER_TAGS='team': must be key=value pairs with commas between them",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_it(variable: str, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_environment({variable: text})
    assert str(error.value) == line


def test_a_wrong_field_is_refused_where_it_is_made() -> None:
    with pytest.raises(ConfigError, match="pool='yes': must be true or false"):
        Config(pool="yes")  # type: ignore[arg-type]


def test_a_configuration_cannot_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().pool = False  # type: ignore[misc]


def test_the_page_lists_every_setting_as_the_code_has_it() -> None:
    written = configuration_table.PAGE.read_text()
    assert configuration_table.page_with(configuration_table.table()) == written


def test_instrument_reads_the_environment_and_raises_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBVITALS_REDIS", "x")
    with pytest.raises(ConfigError):
        dbvitals.instrument()


def test_disabled_means_that_nothing_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy.engine import Engine

    before = Engine.raw_connection
    monkeypatch.setenv("DBVITALS_ENABLED", "false")
    dbvitals.instrument()
    assert Engine.raw_connection is before


def test_something_that_is_no_engine_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a SQLAlchemy Engine or AsyncEngine, not str"):
        dbvitals.instrument("postgresql://")
