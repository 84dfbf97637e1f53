"""A workload as the advisor gets it, read once more and on our own: the judge must not share the advisor's mistakes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "workloads"

_PIECE = re.compile(
    r"""(?P<text>'(?:[^']|'')*' | "(?:[^"]|"")*" | ::)"""  # a string, a quoted name, a cast: no bind in there
    r"""| %\((?P<pyformat>\w+)\)s | (?<!:):(?P<named>[a-z_]\w*) | \$(?P<number>\d+)""",
    re.VERBOSE | re.IGNORECASE,
)


class Statement(NamedTuple):
    """One kind of statement: how often an hour it runs, and its sample calls with the values written out."""

    id: str
    sql: str
    calls: float
    samples: tuple[str, ...]

    @property
    def verb(self) -> str:
        return self.sql.split(None, 1)[0].upper()

    @property
    def reads(self) -> bool:
        """Whether there are rows to find: an index can help an UPDATE or DELETE to find its own."""
        return self.verb != "INSERT"


class Workload(NamedTuple):
    """Everything in a workload's folder. `truth` is what an expert says about it."""

    name: str
    folder: Path
    statements: tuple[Statement, ...]
    truth: Mapping[str, Any]

    @property
    def file(self) -> Path:
        return self.folder / "workload.jsonl"

    @property
    def sources(self) -> tuple[str, str]:
        return (self.folder / "schema.sql").read_text(), (self.folder / "seed.sql").read_text()


def names() -> list[str]:
    return sorted(path.parent.name for path in FOLDER.glob("*/workload.jsonl"))


def read(name: str) -> Workload:
    folder = FOLDER / name
    statements = read_file(folder / "workload.jsonl")
    repeated = {each.id for each in statements if sum(other.id == each.id for other in statements) > 1}
    if repeated:
        raise ValueError(f"{name}: statements of the same name: {', '.join(sorted(repeated))}")
    truth = folder / "truth.json"
    return Workload(name, folder, statements, json.loads(truth.read_text()) if truth.exists() else {})


def read_file(path: Path) -> tuple[Statement, ...]:
    """The statements of a .jsonl file, or of a folder of .sql files with one statement each."""
    if path.is_dir():
        texts = {each.stem: each.read_text().strip().rstrip(";") for each in sorted(path.glob("*.sql"))}
        return tuple(Statement(name, text, 1.0, (text,)) for name, text in texts.items())
    return tuple(_statement(json.loads(line)) for line in path.read_text().splitlines() if line.strip())


def _statement(entry: Mapping[str, Any]) -> Statement:
    samples = tuple(inline(entry["sql"], values) for values in entry.get("parameters") or [{}])
    return Statement(entry["id"], entry["sql"], float(entry["calls"]), samples)


def inline(sql: str, values: Mapping[str, Any] | Sequence[Any]) -> str:
    """The statement with its values as literals, which is what a planner sees that makes a plan for this call."""

    def literal_of(match: re.Match[str]) -> str:
        if match["text"]:
            return match["text"]
        if isinstance(values, Mapping):
            name = match["pyformat"] or match["named"]
            return match[0] if name is None else literal(values[name])
        return match[0] if match["number"] is None else literal(values[int(match["number"]) - 1])

    return _PIECE.sub(literal_of, sql)


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        inner = ",".join("NULL" if each is None else json.dumps(each, ensure_ascii=False) for each in value)
        return literal("{" + inner + "}")
    if isinstance(value, dict):
        return literal(json.dumps(value, ensure_ascii=False))
    return "'" + str(value).replace("'", "''") + "'"
