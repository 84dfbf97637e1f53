"""`compose.yaml` and `dbvitals stack up`: what can be known without pulling images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from collectors import MANIFEST, ROOT

from dbvitals.stack import compose
from dbvitals.stack.export import export

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXACT = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("containers")
    export(folder, "compose", environ={}, force=True)
    return folder


@pytest.mark.parametrize("name", SERVICES)
def test_every_part_is_pinned_confined_and_on_loopback(name: str) -> None:
    service = SERVICES[name]
    assert EXACT.fullmatch(service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["mem_limit"]
    assert service["restart"] == "unless-stopped"
    assert not service.get("privileged")
    assert "network_mode" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_every_mounted_path_is_in_the_exported_folder_and_only_data_is_writable(name: str, exported: Path) -> None:
    for volume in SERVICES[name]["volumes"]:
        assert (exported / volume["source"]).exists(), volume
        assert volume.get("read_only", False) != volume["source"].startswith("./data/")


@pytest.mark.parametrize("name", SERVICES)
def test_every_part_is_asked_for_its_health_from_outside_at_a_published_port(name: str) -> None:
    url = compose.health_urls({})[name]
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/.*", url)
    assert port is not None
    assert any(re.search(rf":-{port[1]}\}}:", published) for published in SERVICES[name]["ports"])


def test_the_collector_is_the_version_that_its_configuration_is_made_for() -> None:
    version = yaml.safe_load(MANIFEST.read_text())["dist"]["version"]
    assert SERVICES["otel-collector"]["image"] == f"otel/opentelemetry-collector-contrib:{version}"
    assert version in (ROOT / "otel-collector.yaml").read_text().partition("\n")[0]


def test_containers_run_the_files_that_the_local_stack_runs(exported: Path, tmp_path: Path) -> None:
    """But for the addresses by which the parts find each other."""
    export(tmp_path, "local", environ={})
    for path in exported.rglob("*"):
        name = path.relative_to(exported)
        if path.is_file() and name.name not in ("README.md", ".env"):
            text = (tmp_path / name).read_text()
            for address, there in compose.ADDRESSES.items():
                text = re.sub(rf"{address}(?!\d)", there, text) if name.suffix in (".yml", ".yaml") else text
            assert re.sub(r"127\.0\.0\.1:\d+", "", path.read_text()) == re.sub(r"127\.0\.0\.1:\d+", "", text) or (
                name == Path("compose.yaml")
            )


def test_grafana_is_told_where_its_data_sources_are() -> None:
    told = SERVICES["grafana"]["environment"]
    for source in yaml.safe_load((ROOT / "dashboards/provisioning/datasources/dbvitals.yaml").read_text())[
        "datasources"
    ]:
        host = urlsplit(told[source["url"].strip("${}")]).hostname
        assert host in SERVICES


def test_grafana_s_home_is_a_dashboard_of_ours() -> None:
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith("/etc/dbvitals/dashboards/")
    assert (ROOT / "dashboards" / Path(home).name).exists()


@pytest.mark.parametrize("name", SERVICES)
def test_files_keep_their_places_beside_each_other(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        if volume["target"].startswith(str(compose.INSIDE)):
            assert volume["target"] == str(compose.INSIDE / volume["source"])


def test_prometheus_keeps_exemplars() -> None:
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_there_is_no_password_that_others_have_too() -> None:
    assert "${DBVITALS_GRAFANA_PASSWORD:?" in SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert compose.environment_file(environ={}) != compose.environment_file(environ={})


def test_services_that_never_answer_are_named() -> None:
    urls = {"tempo": "http://tempo", "grafana": "http://grafana"}
    assert compose.wait_until_healthy(urls, lambda url: "grafana" in url, patience=0) == ["tempo"]
    assert compose.wait_until_healthy(urls, lambda _url: True, patience=0) == []


def docker(folder: Path, script: str) -> dict[str, str]:
    """An environment in which this is `docker`."""
    folder.mkdir(exist_ok=True)
    (folder / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "docker").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:/usr/bin:/bin", "XDG_STATE_HOME": str(folder / "state")}


def up(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dbvitals", "stack", *(arguments or ("up", "--detach"))],
        env=environment,
        capture_output=True,
        text=True,
    )


NO_COMPOSE = '[ "$1" = compose ] && exit 1; exit 0'
NO_ENGINE = '[ "$1" = version ] && { echo "Cannot connect to the Docker daemon." >&2; exit 1; }; exit 0'
FAILS = '[ "$6" = up ] && exit 17; exit 0'


@pytest.mark.parametrize(
    "script,code,words",
    [
        (NO_COMPOSE, 2, "install its plugin"),
        (NO_ENGINE, 2, "Docker's engine cannot be reached: Cannot connect to the Docker daemon."),
        (FAILS, 1, "the containers did not start (docker compose ended with 17)"),
    ],
)
def test_a_docker_that_cannot_be_used_is_one_line(tmp_path: Path, script: str, code: int, words: str) -> None:
    finished = up(docker(tmp_path / "bin", script))
    assert finished.returncode == code
    (line,) = finished.stderr.splitlines()
    assert words in line


def test_where_there_is_no_docker_the_way_without_is_shown(tmp_path: Path) -> None:
    finished = up({**os.environ, "PATH": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)})
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert "docker is not on PATH" in line
    assert "dbvitals stack local" in line


def test_an_engine_that_is_away_is_told_by_the_real_client_too(tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/nobody", "XDG_STATE_HOME": str(tmp_path)}
    finished = up({**os.environ, **nowhere})
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert "dbvitals stack local" in line


def test_down_stops_what_up_has_started_and_says_so_where_there_is_nothing(tmp_path: Path) -> None:
    environment = docker(tmp_path / "bin", f'echo "$@" >> {tmp_path}/calls; {FAILS}')
    nothing = up(environment, "down")
    assert nothing.returncode == 2
    assert "nothing to stop" in nothing.stderr

    up(environment)
    assert up(environment, "down").returncode == 0
    folder = tmp_path / "bin/state/dbvitals/containers"
    last = (tmp_path / "calls").read_text().splitlines()[-1]
    assert last == f"compose --file {folder}/compose.yaml --project-name dbvitals down --remove-orphans"
    assert (folder / "data/prometheus").is_dir()


def test_status_says_which_parts_answer(tmp_path: Path) -> None:
    ports = {variable: "1" for variable, _, _ in compose._HEALTH.values()}
    finished = up({**os.environ, **ports}, "status")
    assert finished.returncode == 1
    assert finished.stdout.count("no answer http://127.0.0.1:1/") == len(SERVICES)
