from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.pool import NullPool

from dbvitals.cli.main import BAD_INPUT, main

FORMATS = ("table", "sql", "json", "markdown")
NAME = "advised_orders"
SECRETS = ("hush-hush", "4711", "sotto voce")
WORKLOAD = (
    {
        "id": "of_user", "sql": f"SELECT * FROM {NAME} WHERE user_id = :user", "calls": 900,
        "parameters": [{"user": 4711}, {"user": 3}],
    },
    {"id": "by_id", "sql": f"SELECT note FROM {NAME} WHERE id = 4711", "calls": 9000},
    {"id": "inside", "sql": f"SELECT id FROM {NAME} WHERE note LIKE '%hush-hush%'", "calls": 3},
    {"id": "page", "sql": f"SELECT id FROM {NAME} WHERE note <> 'sotto voce' ORDER BY id OFFSET 4711", "calls": 3},
)  # fmt: skip


@pytest.fixture
def connection(postgresql_url: str) -> Iterator[Connection]:
    """A connection on which a small table without the index that it needs has been made."""
    url = make_url(postgresql_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP TABLE IF EXISTS {NAME}"))
        connection.execute(
            text(
                f"CREATE TABLE {NAME} AS SELECT i AS id, i % 5000 AS user_id, 'note ' || i AS note "
                "FROM generate_series(1, 20000) AS i"
            )
        )
        connection.execute(text(f"ALTER TABLE {NAME} ADD PRIMARY KEY (id)"))
        connection.execute(text(f"ANALYZE {NAME}"))
        yield connection
        connection.execute(text(f"DROP TABLE {NAME}"))


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "workload.jsonl"
    path.write_text("\n".join(map(json.dumps, WORKLOAD)), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No dbvitals.toml of the checkout counts."""
    monkeypatch.chdir(tmp_path)


def objects(connection: Connection) -> list[tuple[str, ...]]:
    rows = connection.execute(text("SELECT relname, relkind::text FROM pg_class WHERE relnamespace > 10000 ORDER BY 1"))
    more = connection.execute(text("SELECT extname, '' FROM pg_extension ORDER BY 1"))
    own = connection.execute(
        text("SELECT n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
             "WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2")
    )  # fmt: skip
    return [tuple(row) for found in (rows, more, own) for row in found]


@pytest.mark.postgresql
class TestOnARealDatabase:
    def test_the_missing_index_is_found_in_every_format(
        self, postgresql_url: str, connection: Connection, workload: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        statement = f"CREATE INDEX CONCURRENTLY {NAME}_user_id_idx ON {NAME} (user_id)"
        for form in FORMATS:
            assert main(["advise", "--database", postgresql_url, "--workload", str(workload), "--format", form]) == 0
            out, err = capsys.readouterr()
            assert statement in out
            assert not [secret for secret in SECRETS if secret in out + err], form
            if form == "sql":
                assert out == f"{statement};\n"
            if form == "json":
                data = json.loads(out)
                assert [one["id"] for one in data["hints"][0]["queries"]] == ["of_user"]
                assert data["cost_after"] < data["cost_before"]
                assert {(one["kind"], one["subject"]) for one in data["remarks"]} >= {
                    ("pattern", "inside"),
                    ("deep OFFSET", "page"),
                }

    def test_nothing_is_created(
        self, postgresql_url: str, connection: Connection, workload: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = objects(connection)
        assert main(["advise", "--database", postgresql_url, "--workload", str(workload)]) == 0
        assert objects(connection) == before

    def test_a_dismissed_hint_is_refused_with_its_reason(
        self,
        postgresql_url: str,
        connection: Connection,
        workload: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        arguments = ["advise", "--database", postgresql_url, "--workload", str(workload), "--format", "json"]
        main(arguments)
        hint = json.loads(capsys.readouterr().out)["hints"][0]["id"]
        (tmp_path / "dbvitals.toml").write_text(f'[advise]\ndismiss = [{{ id = "{hint}", reason = "archived" }}]\n')
        assert main(arguments) == 0
        data = json.loads(capsys.readouterr().out)
        assert hint not in [one["id"] for one in data["hints"]]
        assert {"what": hint, "reason": "dismissed: archived", "query": ""} in data["refusals"]
        (tmp_path / "other.toml").write_text("")
        assert main([*arguments, "--config", str(tmp_path / "other.toml")]) == 0
        assert json.loads(capsys.readouterr().out)["hints"][0]["id"] == hint

    def test_a_workload_that_lacks_nothing_says_so(
        self, postgresql_url: str, connection: Connection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "w.sql").write_text(f"SELECT note FROM {NAME} WHERE id = 3;")
        assert main(["advise", "--database", postgresql_url, "--workload", str(tmp_path / "w.sql")]) == 0
        assert capsys.readouterr().out.startswith("Nothing is missing: of 1 query, none would be much cheaper")

    def test_a_workload_that_cannot_be_read_is_refused(
        self, postgresql_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "w.jsonl").write_text("nonsense\n")
        for name in ("w.jsonl", "nowhere.jsonl"):
            refused(capsys, ["--database", postgresql_url, "--workload", str(tmp_path / name)], name)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--database", "nonsense"], "this is no SQLAlchemy URL"),
        (["--database", "postgresql://host:port/name"], "this is no SQLAlchemy URL"),
        (["--database", "abacus://host/name"], "SQLAlchemy knows no abacus"),
        (["--database", "oracle://host/name"], "the advisor knows PostgreSQL"),
        (["--database", "postgresql+pg8000://host/name"], "the driver pg8000 is not installed"),
        (["--database", "postgresql://me:hush-hush@127.0.0.1:1/name"], "127.0.0.1"),
        (["--database", "postgresql://h/n", "--budget", "three"], "--budget three: a size such as 500MB"),
        (["--database", "postgresql://h/n", "--min-gain", "500%"], "--min-gain 500%: a share such as 5%"),
        (["--database", "postgresql://h/n", "--max", "0"], "--max 0: at least 1"),
        (["--database", "postgresql://h/n", "--config", "nowhere.toml"], "nowhere.toml: cannot be read"),
    ],
)
def test_input_that_cannot_be_used_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    refused(capsys, arguments, words)


def test_a_malformed_file_of_settings_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "dbvitals.toml").write_text("[advise]\ndismiss = [\n")
    refused(capsys, ["--database", "postgresql://h/n"], "dbvitals.toml:3: ")


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["advise", *arguments]) == BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dbvitals: ")
    assert words in err
    assert err.count("\n") == 1
    assert "hush-hush" not in err
    assert "Traceback" not in err
