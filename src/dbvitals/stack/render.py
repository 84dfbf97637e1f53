"""The pipeline's configuration, made to fit the place where it is to run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePath

from dbvitals.stack import receivers
from dbvitals.stack.files import assets, shipped

AGENT = "otel-collector.yaml"
GATEWAY = "stack/gateway.yaml"
TO_GATEWAYS = "stack/agent-to-gateways.yaml"
PROMETHEUS = "stack/prometheus.yml"
ALERTMANAGER = "alerts/alertmanager.yml"
TEMPLATES = "alerts/templates/"
DASHBOARDS = "dashboards"
DATA_SOURCE_UIDS = ("dbvitals-prometheus", "dbvitals-traces")
"""Those that Grafana can be asked to try."""
SECRET = frozenset({ALERTMANAGER, ".env"})
"""Files that may have passwords in them."""

_ADDRESSED = frozenset({PROMETHEUS, ALERTMANAGER})

Edits = Mapping[str, Mapping[str, str]]
"""By a file's name, what is to be replaced in it by what."""


def render(
    addresses: Mapping[str, str],
    environ: Mapping[str, str],
    secrets: Path,
    *,
    seen: PurePath | None = None,
    edits: Edits | None = None,
) -> dict[str, str]:
    """Every file of the pipeline by its name.

    Args:
        addresses: by an address as the files have it (`127.0.0.1:9464`), the one to take its place.
        environ: has the receivers of alerts, as `DBVITALS_ALERT_…`.
        secrets: a folder for their keys and passwords; made where there are some.
        seen: where Alertmanager finds that folder, if elsewhere.
        edits: further changes.

    Raises:
        ConfigError: the environment's receivers cannot be used; nothing was written.
        KeyError: a text that is to be replaced is not there.
    """
    root = assets()
    files = {name: (root / name).read_text(encoding="utf-8") for name in shipped(root)}
    for name, replacements in (edits or {}).items():
        for old, new in replacements.items():
            if old not in files[name]:
                raise KeyError(f"{name} has no {old!r}")
            files[name] = files[name].replace(old, new)
    for name in _ADDRESSED & files.keys():
        files[name] = _addressed(files[name], addresses)
    for name in files:
        if name.startswith(TEMPLATES):
            files[name] = receivers.link(files[name], environ)
    files[ALERTMANAGER] = receivers.render(files[ALERTMANAGER], environ, secrets, seen)
    return files


def _addressed(text: str, addresses: Mapping[str, str]) -> str:
    if not addresses:
        return text
    known = re.compile("|".join(rf"{re.escape(address)}(?!\d)" for address in addresses))
    return known.sub(lambda match: addresses[match[0]], text)
