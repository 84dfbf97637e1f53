from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from dbvitals.report.advice import as_json, as_markdown, as_sql, as_table
from dbvitals_processors.hints.model import (
    Advice,
    Candidate,
    Hint,
    Key,
    Refusal,
    Remark,
    Saving,
    Served,
    TableName,
    WorkloadQuery,
)

ORDERS = TableName("public", "orders")


def served(name: str, before: float, after: float, calls: float = 400) -> Served:
    query = WorkloadQuery(name, "SELECT 'never shown'", calls, 3.5)
    return Served(query, before, before, after, f"Seq Scan on orders  (cost {before})", f"Index Scan  (cost {after})")


def hint(*keys: Key, **more: Any) -> Hint:
    candidate = Candidate(ORDERS, keys)
    values: dict[str, Any] = {
        "ddl": candidate.ddl(concurrently=True),
        "served": (served("orders_of_user", 18_057.55, 4.25),),
        "bytes": 36_000_000,
        "build_seconds": 12.4,
        "upkeep": 1_700.0,
        "gain": 7_000_000.0,
        "share": 0.62,
        "saving": Saving(840.0, 310.0, 1500.0),
        "verification": "hypothetical",
    }
    return Hint(candidate, **{**values, **more})


FIRST = hint(Key("user_id", "user_id"), Key("placed_at", "placed_at", True))
SECOND = hint(
    Key("lower(note)"),
    served=(served("notes", 2_000, 20), *(served(f"other_{n}", 2_000, 900) for n in range(6))),
    upkeep=0.0,
    saving=None,
    share=0.002,
    verification="heuristic",
    notes=("run ANALYZE orders after building it",),
    build_seconds=0.2,
)
ADVICE = Advice(
    "postgresql",
    (FIRST, SECOND),
    (
        *(Refusal(f"orders (c{n})", "the planner would not use it: cost 812 → 812") for n in range(7)),
        Refusal("broken", "the SQL cannot be parsed", "broken"),
    ),
    (Remark("unused index", "public.orders_old_idx", "Drop it: DROP INDEX CONCURRENTLY orders_old_idx"),),
    11_000_000.0,
    290_000.0,
    40,
    312,
    1.234,
)
NOTHING = replace(ADVICE, hints=(), refusals=(), remarks=(), cost_after=11_000_000.0)


def shown(advice: Advice, width: int = 100, **more: Any) -> str:
    return as_table(advice, Console(file=io.StringIO(), width=width, **more))


class TestSQL:
    def test_has_one_statement_a_line(self) -> None:
        lines = as_sql(ADVICE).splitlines()
        assert lines == [f"{FIRST.ddl};", f"{SECOND.ddl};"]

    def test_is_a_comment_where_nothing_is_missing(self) -> None:
        assert as_sql(NOTHING) == ("-- Nothing is missing: of 40 queries, none would be much cheaper by another index")


class TestTheTable:
    def test_says_of_each_hint_what_it_saves_and_costs(self) -> None:
        text = shown(ADVICE)
        assert f"  1 {FIRST.ddl};\n" in text
        assert "saves 62% of all cost · saves 14.0 min an hour (5.2 min – 25.0 min) · 36 MB" in text
        assert "built in about 12 s" in text
        assert "writes pay 1,700 an hour" in text
        assert f"id {FIRST.id}" in text
        line = next(line for line in text.splitlines() if "orders_of_user" in line)
        assert line.split() == ["orders_of_user", "400", "18,058", "4.2"]
        assert "no write pays for it" in text
        assert "run ANALYZE orders" in text

    def test_explains_the_words_that_it_uses_once(self) -> None:
        text = shown(ADVICE)
        assert text.count("hypothetical: the database's planner chose") == 1
        assert text.count("heuristic: from statistics alone") == 1
        assert "explain:" not in text

    def test_shows_a_few_of_many_and_how_many_more_there_are(self) -> None:
        text = shown(ADVICE)
        assert "… and 2 more queries" in text
        assert "… and 3 more: --format markdown or json has all" in text

    def test_names_refused_queries_before_refused_indexes(self) -> None:
        text = shown(ADVICE)
        assert text.index("broken: the SQL cannot be parsed") < text.index("orders (c0)")

    def test_closes_with_the_totals(self) -> None:
        last = shown(ADVICE).splitlines()[-1]
        assert last == ("cost 11.0M → 290k (−97%) an hour · 40 queries · 8 refused · 312 what-if calls · 1.23 s")

    @pytest.mark.parametrize("width", [80, 100, 200])
    def test_fits_the_terminal_but_for_statements(self, width: int) -> None:
        lines = [line for line in shown(ADVICE, width).splitlines() if not line.endswith(";")]
        assert max(map(len, lines)) <= width

    def test_is_plain_where_nobody_looks_and_coloured_in_a_terminal(self) -> None:
        assert "\x1b" not in shown(ADVICE)
        assert "\x1b[" in shown(ADVICE, force_terminal=True, color_system="standard", legacy_windows=False)

    def test_is_ascii_where_the_terminal_is(self) -> None:
        file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        text = as_table(ADVICE, Console(file=file, width=100))
        assert text.isascii()
        assert "11.0M > 290k (-97%)" in text

    def test_says_clearly_that_nothing_is_missing(self) -> None:
        assert shown(NOTHING).startswith("Nothing is missing: of 40 queries, none would be much cheaper")

    def test_says_that_nothing_could_be_planned(self) -> None:
        assert shown(replace(NOTHING, queries=0)).startswith("No query could be planned, so there is no advice")


class TestMarkdown:
    def test_has_everything_with_the_plans_in_fences(self) -> None:
        text = as_markdown(ADVICE)
        assert f"### 1. `{FIRST.candidate.name}`\n\n```sql\n{FIRST.ddl};\n```\n" in text
        assert "| `orders_of_user` | 400 | 18,058 | 4.2 |" in text
        assert "Before:\n\n```text\nSeq Scan on orders  (cost 18057.55)\n```" in text
        assert "```text\nIndex Scan  (cost 4.25)\n```" in text
        assert text.count("| `other_") == 6
        assert text.count("- `orders (c") == 7
        assert "- **unused index** `public.orders_old_idx`: Drop it: `DROP INDEX CONCURRENTLY orders_old_idx`" in text
        assert text.count("<details>") == text.count("</details>")

    def test_does_not_vary_with_the_time_it_took(self) -> None:
        assert as_markdown(replace(ADVICE, seconds=99.0)) == as_markdown(ADVICE)
        assert as_sql(replace(ADVICE, seconds=99.0)) == as_sql(ADVICE)

    def test_escapes_what_markdown_takes_for_its_own(self) -> None:
        odd = replace(FIRST, served=(served("a|b", 10, 1),), notes=("x < y * z",))
        text = as_markdown(replace(ADVICE, hints=(odd,)))
        assert "| `a\\|b` | 400 | 10 | 1 |" in text
        assert "x &lt; y \\* z" in text

    def test_says_clearly_that_nothing_is_missing(self) -> None:
        assert as_markdown(NOTHING).splitlines() == [
            "## Index advice",
            "",
            "Nothing is missing: of 40 queries, none would be much cheaper by another index.",
        ]


class TestJSON:
    def test_keeps_its_keys(self) -> None:
        data = json.loads(as_json(ADVICE))
        assert list(data) == [
            "system", "hints", "refusals", "remarks", "cost_before", "cost_after", "bytes", "queries", "what_if_calls",
            "seconds",
        ]  # fmt: skip
        assert data["seconds"] == 1.234
        assert len(data["refusals"]) == 8
        assert data["remarks"][0]["kind"] == "unused index"

    def test_has_all_of_a_hint(self) -> None:
        first, second = json.loads(as_json(ADVICE))["hints"]
        assert first["id"] == FIRST.id
        assert first["keys"][1] == {
            "sql": "placed_at", "column": "placed_at", "descending": True, "nulls_first": True, "opclass": "",
        }  # fmt: skip
        assert first["saving_seconds_per_hour"] == {"seconds": 840.0, "low": 310.0, "high": 1500.0}
        assert first["queries"][0]["cost_after"] == 4.25
        assert second["saving_seconds_per_hour"] is None
        assert second["verification"] == "heuristic"


def test_no_form_shows_a_query_s_text() -> None:
    for text in (as_sql(ADVICE), shown(ADVICE), as_markdown(ADVICE), as_json(ADVICE)):
        assert "never shown" not in text
