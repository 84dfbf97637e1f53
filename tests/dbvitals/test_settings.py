from __future__ import annotations

from pathlib import Path

import pytest

from dbvitals.settings import NAME, Settings, find, load
from dbvitals_instrumentation.config import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / NAME
    path.write_text(text, encoding="utf-8")
    return path


def test_dismissed_hints_are_read_with_their_reasons(tmp_path: Path) -> None:
    path = written(tmp_path, '[advise]\ndismiss = [{ id = "ab12", reason = "archived\\n in May" }, { id = "cd34" }]\n')
    assert load(path) == Settings((("ab12", "archived in May"), ("cd34", "")))


def test_entries_may_be_tables_of_their_own(tmp_path: Path) -> None:
    path = written(tmp_path, '[[advise.dismiss]]\nid = "ab12"\nreason = "x"\n\n[[advise.dismiss]]\nid = "cd34"\n')
    assert [one for one, _ in load(path).dismissed] == ["ab12", "cd34"]


def test_no_file_and_an_empty_one_dismiss_nothing(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert load(start=tmp_path) == Settings()
    assert load(written(tmp_path, "")) == Settings()
    assert load(written(tmp_path, "[other]\nx = 1\n")) == Settings()


def test_the_nearest_file_up_to_the_repository_s_root_is_found(tmp_path: Path) -> None:
    outside = written(tmp_path, "")
    inner = tmp_path / "repository" / "package" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    assert find(inner) is None
    root = written(tmp_path / "repository", "")
    assert find(inner) == root
    nearer = written(tmp_path / "repository" / "package", "")
    assert find(inner) == nearer
    assert find(tmp_path) == outside


def test_outside_a_repository_only_the_folder_itself_counts(tmp_path: Path) -> None:
    written(tmp_path, "")
    (tmp_path / "below").mkdir()
    assert find(tmp_path / "below") is None


@pytest.mark.parametrize(
    "text, line, words",
    [
        ("[advise]\ndismiss = [\n", 3, "Invalid value"),
        ("[advise]\n\ndismiss = 3\n", 3, "expected is dismiss = [{"),
        ("[advise]\n# dismis\ndismis = []\n", 3, "no setting dismis; it has dismiss"),
        ("\nadvise = 3\n", 2, "[advise] is a table"),
        ('[advise]\ndismiss = [\n  { id = "a{" },\n  { reason = "x" },\n]\n', 4, "the id in quotes"),
        ("[advise]\ndismiss = [\n  { id = 17 }\n]\n", 3, "the id in quotes"),
        ('[advise]\ndismiss = ["ab12"]\n', 2, "the id in quotes"),
        ('[advise]\ndismiss = [{ id = "a", because = "x" }]\n', 2, "has id and reason, no because"),
        ('[advise]\ndismiss = [{ id = "a", reason = 3 }]\n', 2, "the reason is text"),
        ('[[advise.dismiss]]\nid = "a"\n\n[[advise.dismiss]]\nid = ""\n', 4, "the id in quotes"),
    ],
)
def test_what_cannot_be_understood_is_named_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load(path)
    assert str(error.value).startswith(f"{path}:{line}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes("# ä".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.toml: cannot be read: UTF-8 is expected"):
        load(tmp_path / "latin.toml")
