"""The pipeline's configuration as files, for those who run their own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from dbvitals.stack import compose
from dbvitals.stack.render import SECRET, render
from dbvitals_instrumentation.config import ConfigError

README = "README.md"
SECRETS = "alerts/secrets"


@dataclass(frozen=True)
class Target:
    """Where the configuration is to run.

    Attributes:
        addresses: where the parts find each other, by the address that the files have.
        start: how it is started, in Markdown.
        folder: where its programs find the files, if elsewhere than they were written.
    """

    addresses: Mapping[str, str]
    start: str
    folder: PurePath | None = None


LOCAL = """\
All parts run on one machine and find each other on loopback:

    otelcol-contrib --config=otel-collector.yaml
    prometheus --config.file=stack/prometheus.yml --enable-feature=exemplar-storage
    alertmanager --config.file=alerts/alertmanager.yml
    tempo -config.file=stack/tempo.yaml -config.expand-env=true
"""

COMPOSE = """\
All parts run in containers and find each other by the names of their services:

    docker compose up --detach

The user that they run as, and where this folder is, are in `.env`; what they store is in `data/`.
"""

TARGETS = {"local": Target({}, LOCAL), "compose": Target(compose.ADDRESSES, COMPOSE, compose.INSIDE)}

_CONTENTS = """\
# dbvitals: the pipeline's configuration

Written by `dbvitals stack export`; write it anew rather than edit what a later version would change.

{start}
Services send to it with

    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
    OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf

- `otel-collector.yaml`: the Collector, which takes what services send. Every port and place is an environment variable.
- `stack/gateway.yaml`, `stack/agent-to-gateways.yaml`: for fleets. Gateways keep the traces that matter; agents send to
  them with `--config=otel-collector.yaml --config=stack/agent-to-gateways.yaml`.
- `stack/builder.yaml`: what a Collector is built of that reads these files; the official contrib image has it all.
- `stack/prometheus.yml`: scrapes the Collector, evaluates `alerts/`, sends to Alertmanager.
- `stack/tempo.yaml`: the traces backend; `stack/traces-to-file.yaml` for the Collector does without one.
- `alerts/`: recording and alerting rules. `alertmanager.yml` has the receivers of the environment at the time of the
  export, so its owner alone may read it; their keys and passwords are in `alerts/secrets/`.
- `dashboards/`: Grafana's dashboards as JSON, and `provisioning/` for them and for the data sources.
- `docs/runbooks/`: what to do when an alert fires.
- `compose.yaml`: all of it in containers.

`dbvitals doctor` follows a span and a metric through the pipeline, and says where they stop.
"""


def export(folder: Path, target: str, *, force: bool = False, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Write all configuration into ``folder`` and return the names of the files.

    Raises:
        ConfigError: the folder has something in it already, or the environment cannot be used; nothing was written.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    if not force and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name another folder, or overwrite with --force")
    chosen = TARGETS[target]
    files = render(chosen.addresses, environ, folder / SECRETS, seen=chosen.folder and chosen.folder / SECRETS)
    files[README] = _CONTENTS.format(start=chosen.start)
    if target == "compose":
        former = folder / compose.ENVIRONMENT
        files[compose.ENVIRONMENT] = compose.environment_file(former.read_text() if former.exists() else "", environ)
        compose.make_data_folders(folder)
    write(folder, files)
    return sorted(files)


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files, each whole or not at all; those that may have passwords are their owner's alone.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    try:
        for name, text in files.items():
            _write(folder / name, text, 0o600 if name in SECRET else 0o644)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; name a folder that can be written to") from None


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
