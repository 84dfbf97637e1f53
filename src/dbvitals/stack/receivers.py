"""Who hears of alerts: Alertmanager's receivers, filled from the environment, which it cannot read itself.

| variable | who is told |
| --- | --- |
| ``DBVITALS_ALERT_WEBHOOK_URL`` | an HTTP server, of everything |
| ``DBVITALS_ALERT_SLACK_URL``, ``_SLACK_CHANNEL`` | Slack, of everything |
| ``DBVITALS_ALERT_EMAIL_TO``, ``_EMAIL_FROM``, ``_EMAIL_SMARTHOST`` | by mail, of everything |
| ``DBVITALS_ALERT_EMAIL_USER``, ``_EMAIL_PASSWORD`` | the same, where the mail server asks who it is |
| ``DBVITALS_ALERT_PAGERDUTY_KEY`` | PagerDuty, of what is critical |
| ``DBVITALS_ALERT_WATCHDOG_URL`` | an HTTP server that cries when it is told nothing any more, each minute |

Keys and passwords go into files of their own, which the configuration names, wherever Alertmanager 0.25 has a setting
for that. It has none for the address of a webhook, so whoever writes the configuration keeps it to its owner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import urlsplit

from dbvitals_instrumentation.config import ConfigError

PREFIX: Final = "DBVITALS_ALERT_"
GRAFANA_URL: Final = "DBVITALS_GRAFANA_URL"

_GRAFANA: Final = "http://127.0.0.1:3000"
"""Where templates look for Grafana unless told otherwise."""

_SEVERITIES: Final = ("critical", "warning", "information")
_WATCHDOG: Final = "watchdog"
_SECRET_FILES: Final = ("slack-url", "email-password", "pagerduty-key")
_TITLE: Final = '{{ template "dbvitals.title" . }}'


def render(text: str, environ: Mapping[str, str], secrets: Path, seen: PurePath | None = None) -> str:
    """Alertmanager's configuration with the receivers that the environment names.

    Args:
        text: the configuration as it is shipped, with empty receivers.
        secrets: a folder for keys and passwords. It is made when there are some; former ones are removed.
        seen: where Alertmanager finds that folder, if elsewhere: in a container.

    Raises:
        ConfigError: a variable cannot be used; nothing was written. The message does not have its value.
    """
    ways = _ways(environ, (seen or secrets.absolute()).as_posix())
    receivers = {severity: ways.of(severity) for severity in _SEVERITIES}
    watchdog = _url(environ, "WATCHDOG_URL")
    if watchdog:
        receivers[_WATCHDOG] = {"webhook_configs": {"url": watchdog, "send_resolved": False}}
    for name, settings in receivers.items():
        text = _filled(text, name, settings)
    _keep(secrets, ways.secrets)
    return text


def link(text: str, environ: Mapping[str, str]) -> str:
    """A template of notifications with Grafana's address of the environment.

    Raises:
        ConfigError: the address cannot be used.
    """
    value = environ.get(GRAFANA_URL, "").strip()
    return text.replace(_GRAFANA, _address(GRAFANA_URL, value).rstrip("/")) if value else text


@dataclass
class _Ways:
    """How people are told."""

    always: dict[str, dict[str, Any]] = field(default_factory=dict)
    critical: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def of(self, severity: str) -> dict[str, dict[str, Any]]:
        return {**self.always, **(self.critical if severity == "critical" else {})}


def _ways(environ: Mapping[str, str], folder: str) -> _Ways:
    ways = _Ways()
    if webhook := _url(environ, "WEBHOOK_URL"):
        ways.always["webhook_configs"] = {"url": webhook, "send_resolved": True}
    if slack := _url(environ, "SLACK_URL"):
        ways.secrets["slack-url"] = slack
        ways.always["slack_configs"] = _slack(_value(environ, "SLACK_CHANNEL"), f"{folder}/slack-url")
    if recipients := _value(environ, "EMAIL_TO"):
        ways.always["email_configs"] = _email(environ, recipients, folder, ways.secrets)
    if key := _value(environ, "PAGERDUTY_KEY"):
        ways.secrets["pagerduty-key"] = key
        ways.critical["pagerduty_configs"] = _pagerduty(f"{folder}/pagerduty-key")
    return ways


def _slack(channel: str, file: str) -> dict[str, Any]:
    return {
        "api_url_file": file,
        **({"channel": channel} if channel else {}),
        "send_resolved": True,
        "title": _TITLE,
        "title_link": '{{ template "dbvitals.dashboard" (index .Alerts 0) }}',
        "fallback": _TITLE,
        "text": '{{ template "dbvitals.slack" . }}',
    }


def _email(environ: Mapping[str, str], recipients: str, folder: str, secrets: dict[str, str]) -> dict[str, Any]:
    smarthost = _value(environ, "EMAIL_SMARTHOST")
    host, _, port = smarthost.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"{PREFIX}EMAIL_SMARTHOST must be host:port, for {PREFIX}EMAIL_TO")
    sender = _value(environ, "EMAIL_FROM")
    if "@" not in sender:
        raise ConfigError(f"{PREFIX}EMAIL_FROM must be an address, for {PREFIX}EMAIL_TO")
    user, password = _value(environ, "EMAIL_USER"), _value(environ, "EMAIL_PASSWORD")
    if bool(user) != bool(password):
        raise ConfigError(f"{PREFIX}EMAIL_USER and {PREFIX}EMAIL_PASSWORD go together")
    settings = {
        "to": recipients,
        "from": sender,
        "smarthost": smarthost,
        "require_tls": not _is_here(host.strip("[]")),  # a mail server on this very machine rarely has a certificate
        "send_resolved": True,
        "headers": {"Subject": _TITLE},
        "text": '{{ template "dbvitals.text" . }}',
        "html": '{{ template "dbvitals.html" . }}',
    }
    if user:
        secrets["email-password"] = password
        settings |= {"auth_username": user, "auth_password_file": f"{folder}/email-password"}
    return settings


def _pagerduty(file: str) -> dict[str, Any]:
    return {
        "routing_key_file": file,
        "send_resolved": True,
        "severity": "critical",
        "description": _TITLE,
        "details": {"alerts": '{{ template "dbvitals.text" . }}'},
        "links": [
            {"text": "Dashboard", "href": '{{ template "dbvitals.dashboard" (index .Alerts 0) }}'},
            {"text": "Runbook", "href": "{{ (index .Alerts 0).Annotations.runbook_url }}"},
        ],
    }


def _filled(text: str, name: str, ways: Mapping[str, Mapping[str, Any]]) -> str:
    """The configuration with something in the empty receiver of that name. JSON is YAML, too."""
    lines = [f"    {kind}: [{json.dumps(settings, ensure_ascii=False)}]\n" for kind, settings in ways.items()]
    filled, number = re.subn(
        rf"^  - name: {name}\n", lambda match: match[0] + "".join(lines), text, count=1, flags=re.MULTILINE
    )
    if number != 1:
        raise KeyError(f"no receiver {name} to fill")
    return filled


def _keep(folder: Path, secrets: Mapping[str, str]) -> None:
    """Write each secret into a file of its own that its owner alone may read."""
    if secrets:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _SECRET_FILES:
        file = folder / name
        file.unlink(missing_ok=True)  # never written into: it may have been made readable for others
        if name in secrets:
            file.touch(mode=0o600, exist_ok=False)
            file.write_text(secrets[name], encoding="utf-8")


def _value(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(PREFIX + name, "").strip()
    if any(ord(character) < 32 for character in value):
        raise ConfigError(f"{PREFIX}{name} has more than one line")
    return value


def _url(environ: Mapping[str, str], name: str) -> str:
    """An address, or an empty text."""
    value = _value(environ, name)
    return _address(PREFIX + name, value) if value else ""


def _address(name: str, value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not close
        good = None
    if not good or re.search(r"[\s{}<>\"]", value):
        raise ConfigError(f"{name} is no address: it must begin with http:// or https://, and name a host")
    return value


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
