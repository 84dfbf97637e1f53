"""`dbvitals doctor`: its options, and how its findings are shown."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dbvitals_instrumentation.config import ConfigError

if TYPE_CHECKING:
    from dbvitals.doctor.model import Result

_MARKS = {"well": "✓", "warning": "!", "broken": "✗", "skipped": "–"}
_STYLES = {"well": "green", "warning": "yellow", "broken": "bold red", "skipped": "dim"}
_PLACES = {
    "endpoint": "where services send (default: OTEL_EXPORTER_OTLP_ENDPOINT, else port 4318)",
    "collector": "what Prometheus scrapes of the Collector (default: http://127.0.0.1:9464/metrics)",
    "prometheus": "default: http://127.0.0.1:9090",
    "alertmanager": "default: http://127.0.0.1:9093",
    "traces": "a Tempo, a Jaeger, or a file (default: the file of `stack local`, else http://127.0.0.1:3200)",
    "grafana": "default: http://127.0.0.1:3000",
}


def add_parser(commands: Any) -> None:
    """The command."""
    doctor = commands.add_parser(
        "doctor",
        help="follow a probe span and a probe metric through the pipeline, and say where they stop",
        description="Send one span and one metric as a service would, and look for them at each part of the pipeline. "
        "Run it in the service's environment. A password in an address is used and never shown; `none` for an address: "
        "that part is not there. Exit code: 0 all well, 1 something is broken, 2 bad input.",
    )
    for name, text in _PLACES.items():
        doctor.add_argument(f"--{name}", metavar="FILE|URL" if name == "traces" else "URL", help=text)
    doctor.add_argument(
        "--timeout", type=float, default=15.0, metavar="S", help="seconds that each step waits (default: 15)"
    )
    doctor.add_argument("--format", choices=("text", "json"), default="text")
    doctor.set_defaults(action=run)


def run(options: argparse.Namespace) -> int:
    """Examine and print: 0 if nothing is broken, else 1.

    Raises:
        ConfigError: an address or time that cannot be used.
    """
    from dbvitals.doctor.examine import examine, stop
    from dbvitals.doctor.model import Case
    from dbvitals.doctor.places import places
    from dbvitals.doctor.probe import Probe
    from dbvitals.stack.files import state_folder
    from dbvitals.stack.folder import in_use
    from dbvitals.stack.local import traces_file

    if not 0 < options.timeout < 3600:
        raise ConfigError(f"--timeout {options.timeout:g}: seconds from 0 to 3600 are expected")
    given = {name: getattr(options, name) for name in _PLACES}
    file = traces_file(state_folder()) if in_use(state_folder()) else None
    case = Case(places(given, os.environ, file), Probe(), os.environ, options.timeout)
    shown = _Text() if options.format == "text" else None
    results = []
    for result in examine(case):
        results.append(result)
        if shown:
            shown.step(result)
    end = stop(results)
    if shown:
        shown.end(end, results)
    else:
        print(_as_json(results, end))
    return 0 if end is None else 1


class _Text:
    """One line a step, as it comes."""

    def __init__(self) -> None:
        from rich.console import Console

        from dbvitals.doctor.examine import CHECKS

        self._console = Console(highlight=False, soft_wrap=True)
        self._width = max(len(check.name) for check in CHECKS)

    def step(self, result: Result) -> None:
        from rich.text import Text

        style = _STYLES[result.status.value]
        line = Text.assemble(
            (f"{_MARKS[result.status.value]} ", style),
            f"{result.name:<{self._width}}  ",
            (f"{result.seconds:5.2f} s  ", "dim"),
            (result.seen, "" if style != "dim" else style),
        )
        self._console.print(line)
        if result.advice:
            self._console.print(Text(f"  {'':<{self._width}}  → {result.advice}", style="bold"))

    def end(self, end: Result | None, results: Sequence[Result]) -> None:
        from rich.text import Text

        if end is not None:
            self._console.print(Text(f"\nIt stops at: {end.name}. {end.advice}"))
            return
        warned = sum(result.status.value == "warning" for result in results)
        words = f", with {warned} remark{'s' if warned > 1 else ''}" if warned else ""
        self._console.print(Text(f"\nAll is well{words}."))


def _as_json(results: Sequence[Result], end: Result | None) -> str:
    steps = [
        {
            "name": result.name,
            "status": result.status.value,
            "seen": result.seen,
            "advice": result.advice,
            "seconds": round(result.seconds, 3),
        }
        for result in results
    ]
    return json.dumps({"well": end is None, "stops_at": end and end.name, "steps": steps}, indent=2, ensure_ascii=False)
