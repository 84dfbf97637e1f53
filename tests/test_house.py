"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import dbvitals

ROOT = Path(__file__).parent.parent
PACKAGES = ("instrumentation", "processors", "optimizers", "src")
NAME = re.compile(r"(dbvitals|db|server|network|error|code)\.[a-z_]+(\.[a-z_.]+)?")
NO_NAMES = {
    "db.py",  # file names
    "error.args",
}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


def strings(tree: ast.AST) -> Iterator[str]:
    """Every string of a module but its docstrings."""
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def modules() -> set[str]:
    """The names of our own modules, which look like attributes."""
    return {
        ".".join(path.relative_to(ROOT / package).with_suffix("").parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_of_telemetry_live_in_semconv_alone(path: Path) -> None:
    if path.name == "semconv.py":
        return
    spelled = {
        text
        for text in strings(ast.parse(path.read_text()))
        if NAME.fullmatch(text) and text not in NO_NAMES and text not in modules()
    }
    assert spelled == set()


def test_the_readme_lists_all_that_users_import() -> None:
    listed = re.search(r"What users import is ([^;]*);", (ROOT / "README.md").read_text())
    assert listed is not None
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == sorted(dbvitals.__all__)


def test_every_public_name_is_documented() -> None:
    for name in dbvitals.__all__:
        assert getattr(dbvitals, name).__doc__, name


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") < 250
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / target).exists(), target


def test_every_metric_and_attribute_that_is_documented_exists() -> None:
    from dbvitals_instrumentation import semconv

    known = {value for value in vars(semconv).values() if isinstance(value, str)}
    page = (ROOT / "docs" / "telemetry.md").read_text()
    for name in re.findall(
        r"`(dbvitals\.(?:query|pool|cache|connection|index_hint|reason|site|faults)[a-z_.]*)`", page
    ):
        assert name in known or name == "dbvitals.reason", name
