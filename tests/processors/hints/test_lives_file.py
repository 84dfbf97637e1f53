"""The history of hints outlives the process, and a broken file costs a line and the history."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from dbvitals_processors.hints.lifecycle import Effect, Life
from dbvitals_processors.hints.lives_file import LivesFile, place
from dbvitals_processors.hints.model import Candidate, Key, Saving, TableName

LIFE = Life(
    "shop",
    Candidate(
        TableName("public", "orders"),
        (Key("user_id", "user_id"), Key("lower(note)", None, True, False, "text_ops")),
        ("total",),
        "status = 'pending'",
        "btree",
        (Key("status", "status"),),
    ),
    "CREATE INDEX x ON orders (user_id)",
    "hypothetical",
    "applied",
    100.0,
    200.0,
    150.0,
    Saving(5.0, 3.0, 8.0),
    0.25,
    (Effect("3fa9", 100.0, 0.05, 0.002, 0.5), Effect("bb01", 3.0)),
)


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    bare = Life("else", Candidate(TableName("", "t"), (Key("a", "a"),)), "", "explain", "open", 1.0, 1.0, 1.0)
    assert LivesFile(tmp_path / "hints.json").save([LIFE, bare])
    assert LivesFile(tmp_path / "hints.json").load() == (LIFE, bare)
    assert [file.name for file in tmp_path.iterdir()] == ["hints.json"]


def test_no_file_is_no_history(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert LivesFile(tmp_path / "none.json").load() == ()
    assert not caplog.records


def broken() -> list[str]:
    def changed(**more: object) -> str:
        data = {"version": 1, "hints": [json.loads(text)]}
        data["hints"][0] |= more  # type: ignore[index]
        return json.dumps(data)

    import dataclasses

    text = json.dumps(dataclasses.asdict(LIFE))
    return [
        "",
        "[]",
        "{",
        '{"version": 2, "hints": []}',
        '{"version": 1}',
        changed(state="lost"),
        changed(since="soon"),
        changed(first_seen=float("nan")),
        changed(candidate={}),
        changed(effects=[{}]),
        changed(predicted=[]),
    ]


@pytest.mark.parametrize("text", broken())
def test_a_broken_file_is_one_line_and_a_fresh_start(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "hints.json"
    path.write_text(text)
    file = LivesFile(path)
    with caplog.at_level(logging.WARNING, "dbvitals"):
        assert file.load() == file.load() == ()
    assert [record.getMessage().partition(" could")[0] for record in caplog.records] == [
        f"dbvitals: the hints in {path}"
    ]
    assert file.save([LIFE])
    assert file.load() == (LIFE,)


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = LivesFile(tmp_path / "missing" / "hints.json")
    with caplog.at_level(logging.WARNING, "dbvitals"):
        assert not file.save([LIFE])
        assert not file.save([LIFE])
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "hints_file, baseline_file, found",
    [
        ("", "", None),
        ("/var/h.json", "/var/b.json", Path("/var/h.json")),
        ("", "/var/baselines.json", Path("/var/baselines.hints.json")),
        ("", "redis://localhost", None),
    ],
)
def test_its_place_is_named_or_beside_the_baselines(hints_file: str, baseline_file: str, found: Path | None) -> None:
    assert place(hints_file, baseline_file) == found
