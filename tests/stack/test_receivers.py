"""Alertmanager's receivers come from the environment, and secrets do not lie about."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml
from collectors import ROOT

import services
from dbvitals.stack.receivers import PREFIX, link, render
from dbvitals_instrumentation.config import ConfigError

SHIPPED = (ROOT / "alerts" / "alertmanager.yml").read_text()
TEMPLATE = (ROOT / "alerts" / "templates" / "dbvitals.tmpl").read_text()
ALL = {
    "WEBHOOK_URL": "https://hooks.example.org/alerts?token=webhook-token",
    "SLACK_URL": "https://slack.example.org/services/slack-token",
    "SLACK_CHANNEL": "#databases",
    "EMAIL_TO": "team@example.org, boss@example.org",
    "EMAIL_FROM": "dbvitals@example.org",
    "EMAIL_SMARTHOST": "mail.example.org:587",
    "EMAIL_USER": "dbvitals",
    "EMAIL_PASSWORD": 'mail-"password"',
    "PAGERDUTY_KEY": "pagerduty-key-itself",
    "WATCHDOG_URL": "https://hooks.example.org/still-there",
}


def rendered(folder: Path, **settings: str) -> str:
    return render(SHIPPED, {PREFIX + name: value for name, value in settings.items()}, folder / "secrets")


def ways(text: str) -> dict[str, set[str]]:
    """By a receiver's name, how it tells."""
    return {one["name"]: set(one) - {"name"} for one in yaml.safe_load(text)["receivers"]}


def test_without_variables_nothing_changes_and_nothing_is_written(tmp_path: Path) -> None:
    assert rendered(tmp_path) == SHIPPED
    assert rendered(tmp_path, WEBHOOK_URL=" ", PAGERDUTY_KEY="") == SHIPPED
    assert list(tmp_path.iterdir()) == []


def test_all_ways_at_once_are_accepted_by_alertmanager(tmp_path: Path) -> None:
    text = rendered(tmp_path, **ALL)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "dbvitals.tmpl").write_text(TEMPLATE)
    (tmp_path / "alertmanager.yml").write_text(text)
    subprocess.run([services.tool("amtool"), "check-config", tmp_path / "alertmanager.yml"], check=True)
    everybody = {"webhook_configs", "slack_configs", "email_configs"}
    assert ways(text) == {
        "critical": everybody | {"pagerduty_configs"},
        "warning": everybody,
        "information": everybody,
        "watchdog": {"webhook_configs"},
    }


def test_each_way_alone_is_enough(tmp_path: Path) -> None:
    assert ways(rendered(tmp_path, SLACK_URL=ALL["SLACK_URL"]))["warning"] == {"slack_configs"}
    assert ways(rendered(tmp_path, WATCHDOG_URL=ALL["WATCHDOG_URL"]))["critical"] == set()
    assert ways(rendered(tmp_path, PAGERDUTY_KEY="key"))["information"] == set()


def test_secrets_are_in_files_of_their_own_that_only_the_owner_may_read(tmp_path: Path) -> None:
    text = rendered(tmp_path, **ALL)
    files = {file.name: file for file in (tmp_path / "secrets").iterdir()}
    assert {name: file.read_text() for name, file in files.items()} == {
        "slack-url": ALL["SLACK_URL"],
        "email-password": ALL["EMAIL_PASSWORD"],
        "pagerduty-key": ALL["PAGERDUTY_KEY"],
    }
    for name, file in files.items():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.read_text() not in text
        assert str(tmp_path / "secrets" / name) in text
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_secrets_of_a_former_time_are_removed_and_open_files_are_closed(tmp_path: Path) -> None:
    rendered(tmp_path, **ALL)
    (tmp_path / "secrets" / "slack-url").chmod(0o644)
    rendered(tmp_path, SLACK_URL=ALL["SLACK_URL"])
    (left,) = (tmp_path / "secrets").iterdir()
    assert left.name == "slack-url"
    assert stat.S_IMODE(left.stat().st_mode) == 0o600


def test_a_container_finds_the_secrets_where_they_are_mounted(tmp_path: Path) -> None:
    environ = {f"{PREFIX}SLACK_URL": ALL["SLACK_URL"]}
    text = render(SHIPPED, environ, tmp_path / "secrets", PurePosixPath("/etc/dbvitals/alerts/secrets"))
    assert '"/etc/dbvitals/alerts/secrets/slack-url"' in text
    assert str(tmp_path) not in text


def test_a_mail_server_elsewhere_must_speak_tls(tmp_path: Path) -> None:
    for smarthost, tls in {"mail.example.org:25": True, "localhost:25": False, "127.0.0.1:1025": False}.items():
        settings = {"EMAIL_TO": "a@example.org", "EMAIL_FROM": "b@example.org", "EMAIL_SMARTHOST": smarthost}
        (mail,) = yaml.safe_load(rendered(tmp_path, **settings))["receivers"][0]["email_configs"]
        assert mail["require_tls"] is tls


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"WEBHOOK_URL": "hooks.example.org/secret"}, "WEBHOOK_URL"),
        ({"WEBHOOK_URL": "file:///secret"}, "WEBHOOK_URL"),
        ({"WEBHOOK_URL": "https:///secret"}, "WEBHOOK_URL"),
        ({"WEBHOOK_URL": "https://host:secret/"}, "WEBHOOK_URL"),
        ({"WEBHOOK_URL": "https://host/secret {{ .Alerts }}"}, "WEBHOOK_URL"),
        ({"SLACK_URL": "secret"}, "SLACK_URL"),
        ({"WATCHDOG_URL": "http://[secret"}, "WATCHDOG_URL"),
        ({"PAGERDUTY_KEY": "secret\nmore"}, "PAGERDUTY_KEY"),
        ({"EMAIL_TO": "secret@example.org"}, "EMAIL_SMARTHOST"),
        ({"EMAIL_TO": "secret@example.org", "EMAIL_SMARTHOST": "secret"}, "EMAIL_SMARTHOST"),
        ({"EMAIL_TO": "secret@example.org", "EMAIL_SMARTHOST": "mail:25"}, "EMAIL_FROM"),
        ({**ALL, "EMAIL_PASSWORD": ""}, "EMAIL_PASSWORD"),
    ],
)
def test_what_cannot_be_used_is_one_line_without_the_value_and_nothing_is_written(
    tmp_path: Path, settings: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        rendered(tmp_path, **settings)
    message = str(refused.value)
    assert PREFIX + named in message
    assert "secret" not in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_links_lead_to_the_grafana_of_the_environment() -> None:
    assert link(TEMPLATE, {}) == TEMPLATE
    found = link(TEMPLATE, {"DBVITALS_GRAFANA_URL": "https://grafana.example.org/team/"})
    assert '{{ define "dbvitals.grafana" }}https://grafana.example.org/team{{ end }}' in found
    with pytest.raises(ConfigError, match="DBVITALS_GRAFANA_URL"):
        link(TEMPLATE, {"DBVITALS_GRAFANA_URL": "grafana"})
