"""What `pip install dbvitals` brings has the whole pipeline in it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from collectors import ROOT

from dbvitals.stack.files import assets, shipped


def build(target: str, folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's contents, as an installer lays them out."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as wheel:
        wheel.extractall(folder)
    return folder


def test_the_wheel_has_every_file_of_the_pipeline_and_no_other(installed: Path) -> None:
    packed = installed / "dbvitals/_stack"
    assert {str(path.relative_to(packed)) for path in packed.rglob("*") if path.is_file()} == set(shipped(ROOT))


def test_what_is_installed_exports_what_the_clone_has(installed: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        return subprocess.check_output(command, env=environment, cwd=tmp_path, text=True)

    assert str(installed) in run("-c", "import dbvitals; print(dbvitals.__file__)")
    run("-m", "dbvitals", "stack", "export", str(tmp_path / "pipeline"))
    for name in shipped(assets()):
        assert (tmp_path / "pipeline" / name).read_text() == (ROOT / name).read_text(), name


def test_a_wheel_can_be_built_from_what_is_published_as_source(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path / "sdist")) as source:
        names = {Path(name).relative_to(Path(name).parts[0]).as_posix() for name in source.getnames()}
    assert set(shipped(ROOT)) <= names
