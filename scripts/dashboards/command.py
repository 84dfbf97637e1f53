"""All dashboards as files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dashboards import cache, hints, overview, pipeline, pool, queries, query
from dashboards.board import Board

BOARDS: tuple[Board, ...] = (
    overview.BOARD,
    queries.BOARD,
    query.BOARD,
    pool.BOARD,
    cache.BOARD,
    hints.BOARD,
    pipeline.BOARD,
)
FOLDER = Path(__file__).resolve().parent.parent.parent / "dashboards"


def files() -> dict[str, str]:
    """Each dashboard's file, by its name."""
    return {f"{board.name}.json": board.json() for board in BOARDS}


def main(arguments: Sequence[str], folder: Path = FOLDER) -> int:
    """0, or 1 where ``--check`` finds a difference."""
    parser = argparse.ArgumentParser(prog="python scripts/dashboards", description="Write the Grafana dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name each file that differs")
    check = parser.parse_args(arguments).check
    wanted = files()
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    differing = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    for name in differing:
        if check:
            print(f"{folder.name}/{name}: {_difference(name in wanted, name in there)}")
        elif name in wanted:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return 1 if check and differing else 0


def _difference(wanted: bool, there: bool) -> str:
    if not there:
        return "is missing; run `python scripts/dashboards`"
    return "differs; run `python scripts/dashboards`" if wanted else "belongs to no dashboard"
