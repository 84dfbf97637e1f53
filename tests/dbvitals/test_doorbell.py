from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dbvitals import doorbell
from dbvitals_instrumentation import guard


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    guard.reset()
    monkeypatch.setattr(doorbell, "_left", doorbell.PATIENCE_IN_ALL)


def test_whoever_rings_goes_on_when_the_answer_was_given(tmp_path: Path) -> None:
    answers: list[int] = []
    bell = doorbell.Doorbell(tmp_path / "bell", lambda: answers.append(len(answers)))
    for number in range(3):
        doorbell.ring(tmp_path / "bell")
        assert len(answers) == number + 1
    bell.close()


def test_an_answer_that_fails_is_a_fault_of_ours(tmp_path: Path) -> None:
    bell = doorbell.Doorbell(tmp_path / "bell", lambda: [][0])
    doorbell.ring(tmp_path / "bell")
    assert guard.faults() == {"doorbell.answer": 1}
    bell.close()


def test_an_answer_that_does_not_come_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorbell, "PATIENCE", 0.01)
    never = threading.Event()

    def answer() -> None:
        never.wait()

    bell = doorbell.Doorbell(tmp_path / "bell", answer)
    doorbell.ring(tmp_path / "bell")
    assert doorbell._left == pytest.approx(doorbell.PATIENCE_IN_ALL - 0.01)
    never.set()
    bell.close()


def test_where_nobody_is_at_home_nothing_happens(tmp_path: Path) -> None:
    doorbell.ring(tmp_path / "nothing")
    bell = doorbell.Doorbell(tmp_path / "bell", lambda: None)
    bell.close()
    (tmp_path / "file").touch()
    doorbell.ring(tmp_path / "file")
    assert doorbell._left == doorbell.PATIENCE_IN_ALL


def test_a_path_that_is_too_long_for_a_bell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="path too long"):
        doorbell.Doorbell(tmp_path / ("x" * 120), lambda: None)
