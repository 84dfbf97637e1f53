"""`dbvitals run -- COMMAND`: run a program with every Python process below it watched, and say what was seen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from dbvitals.auto import REPORT_FOLDER
from dbvitals_instrumentation.config import Config

BOOTSTRAP = Path(__file__).parent.parent / "bootstrap"
_SIGNALS = ("TRACES", "METRICS", "LOGS")
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


def run(command: list[str], report_json: Path | None = None) -> int:
    """Run ``command`` and return its exit code; print the report where nothing is exported, or write it as JSON.

    Raises:
        ConfigError: the environment's settings cannot be read; nothing was started.
        FileNotFoundError: there is no such command; the message says so.
    """
    config = Config.from_environment()
    executable = shutil.which(command[0])
    if executable is None:
        raise FileNotFoundError(_unknown(command[0]))
    exports = exports_somewhere(os.environ)
    wanted = report_json is not None or not exports
    with tempfile.TemporaryDirectory(prefix="dbvitals-") as folder:
        environ = child_environment(os.environ, Path(folder) if wanted else None)
        if config.query_spans == "auto":  # it would only be taken out again, and refuses SQLAlchemy 2.1 aloud
            environ[_DISABLED] = ",".join(filter(None, [environ.get(_DISABLED), "sqlalchemy"]))
        process = subprocess.Popen([executable, *command[1:]], env=environ)  # noqa: S603 - the user's own command
        code = _wait(process)
        if wanted:
            _report(Path(folder), report_json, printed=not exports)
    return code


def exports_somewhere(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a place for telemetry to go, so that the SDK's exporters are to be on."""
    if any(
        environ.get(name) for name in environ if name.startswith("OTEL_EXPORTER_OTLP") and name.endswith("ENDPOINT")
    ):
        return True
    chosen = [environ.get(f"OTEL_{signal}_EXPORTER", "none") for signal in _SIGNALS]
    return any(exporter not in ("", "none") for exporter in chosen)


def child_environment(environ: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    """The environment of the command: our bootstrap first on PYTHONPATH, exporters off where they have no place."""
    child = dict(environ)
    paths = [str(BOOTSTRAP), *filter(None, child.get("PYTHONPATH", "").split(os.pathsep))]
    child["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    if not exports_somewhere(environ):
        for name in _SIGNALS:
            child[f"OTEL_{name}_EXPORTER"] = "none"
    child.pop(REPORT_FOLDER, None)
    if folder is not None:
        child[REPORT_FOLDER] = str(folder)
    return child


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the command; a Ctrl-C reaches it from the terminal, other signals from here."""

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN)}
    for number in (signal.SIGTERM, signal.SIGHUP):
        before[number] = signal.signal(number, forward)
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _report(folder: Path, report_json: Path | None, *, printed: bool) -> None:
    from rich.console import Console

    from dbvitals import report

    seen = report.load(folder)
    if printed:
        report.terminal.render(seen, Console(stderr=True))
    if report_json is not None:
        report.json.write(seen, report_json)


def _unknown(name: str) -> str:
    if name.endswith(".py") and Path(name).exists():
        return f"{name} is not executable: dbvitals run -- python {name}"
    return f"there is no command {name!r} on PATH"
