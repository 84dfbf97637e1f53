"""`dbvitals stack export`: all configuration, as files that the real programs accept."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dbvitals.stack.export import export
from dbvitals.stack.files import assets, shipped
from dbvitals_instrumentation.config import ConfigError

WEBHOOK = "http://127.0.0.1:9/token-in-here"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    folder = tmp_path / "pipeline"
    export(folder, "local", environ={"DBVITALS_ALERT_WEBHOOK_URL": WEBHOOK})
    return folder


def test_the_real_programs_accept_what_is_exported(exported: Path) -> None:
    subprocess.run(["promtool", "check", "config", exported / "stack/prometheus.yml"], check=True)
    subprocess.run(["amtool", "check-config", exported / "alerts/alertmanager.yml"], check=True)


def test_every_file_is_there_and_the_readme_says_what_each_is(exported: Path) -> None:
    assert set(shipped(assets())) <= {str(path.relative_to(exported)) for path in exported.rglob("*")}
    readme = (exported / "README.md").read_text()
    for name in ("otel-collector.yaml", "compose.yaml", "stack/prometheus.yml", "alerts/", "dashboards/"):
        assert f"`{name}`" in readme
    for name in re.findall(r"`([\w/.-]+\.(?:yaml|yml))`", readme):
        assert list(exported.rglob(name)), name


def test_receivers_come_from_the_environment_and_only_the_owner_may_read_them(exported: Path) -> None:
    file = exported / "alerts/alertmanager.yml"
    assert WEBHOOK in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert WEBHOOK not in "".join(path.read_text() for path in exported.rglob("*") if path.is_file() and path != file)


@pytest.mark.parametrize("target,seen", [("local", "{}/alerts/secrets"), ("compose", "/etc/dbvitals/alerts/secrets")])
def test_keys_are_in_files_that_alertmanager_finds(tmp_path: Path, target: str, seen: str) -> None:
    export(tmp_path, target, environ={"DBVITALS_ALERT_PAGERDUTY_KEY": "k"})
    assert f"{seen.format(tmp_path)}/pagerduty-key" in (tmp_path / "alerts/alertmanager.yml").read_text()
    assert (tmp_path / "alerts/secrets/pagerduty-key").read_text() == "k"


def test_a_folder_with_something_in_it_is_left_alone_unless_it_is_forced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    command = [sys.executable, "-m", "dbvitals", "stack", "export", str(tmp_path)]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == f"dbvitals: {tmp_path} is not empty: name another folder, or overwrite with --force\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    subprocess.run([*command, "--force"], check=True)
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "stack/prometheus.yml").exists()


def test_receivers_that_cannot_be_used_leave_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="DBVITALS_ALERT_WEBHOOK_URL"):
        export(tmp_path / "pipeline", "local", environ={"DBVITALS_ALERT_WEBHOOK_URL": "no address"})
    assert not (tmp_path / "pipeline").exists()


def test_for_containers_parts_find_each_other_by_name_and_the_password_stays(tmp_path: Path) -> None:
    export(tmp_path, "compose", environ={})
    scraped = {
        target
        for job in yaml.safe_load((tmp_path / "stack/prometheus.yml").read_text())["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    assert {"otel-collector:9464", "otel-collector:8888"} <= scraped
    assert not any(target.startswith(("127.", "localhost")) for target in scraped)

    secrets = (tmp_path / ".env").read_text()
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    export(tmp_path, "compose", environ={}, force=True)
    assert (tmp_path / ".env").read_text() == secrets
