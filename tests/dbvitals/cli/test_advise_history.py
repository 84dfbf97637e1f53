"""``dbvitals advise`` remembers its hints where it may, and says what became of those that were applied."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dbvitals.cli.main import main
from dbvitals.report.advice import as_markdown, as_table
from dbvitals_processors.hints.model import Advice, Applied, Saving


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("shop.db")) as shop:
        shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INTEGER, note TEXT)")
        shop.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) "
            "INSERT INTO orders SELECT i, i % 5000, 'note ' || i FROM n"
        )
        shop.execute("ANALYZE")
        shop.commit()


def advised(capsys: pytest.CaptureFixture[str], seconds: float) -> Any:
    query = {"id": "of_user", "sql": "SELECT * FROM orders WHERE user_id = ?", "calls": 900, "total_seconds": seconds}
    Path("workload.jsonl").write_text(json.dumps(query))
    command = ["advise", "--database", "sqlite:///shop.db", "--workload", "workload.jsonl", "--format", "json"]
    assert main(command) == 0
    return json.loads(capsys.readouterr().out)


def test_the_saving_is_measured_once_the_index_is_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBVITALS_HINTS_FILE", "hints.json")
    first = advised(capsys, 27.0)
    (hint,) = first["hints"]
    assert "applied" not in first
    with closing(sqlite3.connect("shop.db")) as shop:
        shop.execute(hint["ddl"])
    second = advised(capsys, 0.9)
    assert second["hints"] == []
    (applied,) = second["applied"]
    assert applied["measured"] == pytest.approx(26.1)
    assert applied["predicted"] == hint["saving_seconds_per_hour"]
    low, high = applied["predicted"]["low"], applied["predicted"]["high"]
    assert low < 26.1 < high


def test_nothing_is_written_unless_a_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().iterdir())
    assert "applied" not in advised(capsys, 27.0)
    assert [path for path in Path().iterdir() if path not in before] == [Path("workload.jsonl")]


APPLIED = (
    Applied("6243bca8b88d", "CREATE INDEX a ON orders (user_id)", 100.0, Saving(5.0, 3.0, 8.0), 4.2, 2),
    Applied("aa43bca8b88d", "CREATE INDEX b ON orders (note)", 100.0, Saving(0.001, -0.002, 0.004), -0.003, 1),
    Applied("bb43bca8b88d", "CREATE INDEX c ON orders (id)", 100.0, None, None, 0),
)
ADVICE = Advice("postgresql", (), (), (), 10.0, 10.0, 3, 7, 0.2, APPLIED)


def test_the_table_has_measured_beside_predicted() -> None:
    lines = as_table(ADVICE, Console(width=120, force_terminal=False)).splitlines()
    start = lines.index("Applied")
    assert lines[start + 1 : start + 7] == [
        "  CREATE INDEX a ON orders (user_id);",
        "    saves 4.20 s an hour, measured in 2 queries; predicted 5.00 s an hour (3.00 s – 8.00 s) · id 6243bca8b88d",
        "  CREATE INDEX b ON orders (note);",
        "    saves −3.00 ms an hour, measured in 1 query; predicted 1.00 ms an hour (−2.00 ms – 4.00 ms) "
        "· id aa43bca8b88d",
        "  CREATE INDEX c ON orders (id);",
        "    its queries were not measured before and after; nothing was predicted · id bb43bca8b88d",
    ]


def test_markdown_has_it_too() -> None:
    text = as_markdown(ADVICE)
    assert "### Applied\n\n- `CREATE INDEX a ON orders (user_id)`: saves 4.20 s an hour" in text
    assert "Applied" not in as_markdown(Advice("postgresql", (), (), (), 10.0, 10.0, 3, 7, 0.2))


def test_a_saving_says_where_it_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["advise", "--database", "sqlite:///shop.db", "--workload", "workload.jsonl"]
    (hint,) = advised(capsys, 27.0)["hints"]
    assert 0 < hint["saving_seconds_per_hour"]["seconds"] <= 27.0
    assert main(command) == 0
    assert "saves … an hour: learnt from the times in this workload" in capsys.readouterr().out


def test_a_unit_that_nobody_knows_is_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    (hint,) = advised(capsys, 0.0)["hints"]
    assert hint["saving_seconds_per_hour"] is None
    assert main(["advise", "--database", "sqlite:///shop.db", "--workload", "workload.jsonl"]) == 0
    assert "an hour:" not in capsys.readouterr().out
