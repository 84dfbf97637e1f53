"""The command `dbvitals`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from dbvitals_instrumentation.config import ConfigError

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand and return the exit code: 2 for input that cannot be used, with one line that says why."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.action(options))
    except (ConfigError, FileNotFoundError, PermissionError) as error:
        print(f"dbvitals: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dbvitals", description="See what your databases do for your service.")
    parser.add_argument("--version", action="version", version=f"dbvitals {version('dbvitals')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run a program under instrumentation and report what was seen",
        description="Run a Python program, and every Python process below it, under instrumentation. With "
        "OTEL_EXPORTER_OTLP_ENDPOINT set, spans and metrics are exported; else a report is printed at the end.",
    )
    _add_report(run)
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND …", help="for example: -- python app.py")
    run.set_defaults(action=_run)

    demo = commands.add_parser(
        "demo",
        help="watch a small web shop that makes the mistakes that real services make",
        description="Run a small web shop on SQLite and an in-process Redis, and report what was seen.",
    )
    demo.add_argument("--database", metavar="URL", help="a SQLAlchemy URL; tables named shop_… are made and dropped")
    demo.add_argument("--redis", metavar="URL", help="for example redis://localhost:6379/0")
    _add_report(demo)
    demo.set_defaults(action=_demo)
    return parser


def _add_report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report",
        nargs=2,
        metavar=("json", "FILE"),
        help="write the report as JSON to FILE too",
    )


def _run(options: argparse.Namespace) -> int:
    from dbvitals.cli.run import run

    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise ConfigError("what is to be run? For example: dbvitals run -- python app.py")
    return run(command, _report_file(options))


def _demo(options: argparse.Namespace) -> int:
    from dbvitals.cli.demo import demo

    return demo(options.database, options.redis, _report_file(options))


def _report_file(options: argparse.Namespace) -> Path | None:
    if options.report is None:
        return None
    kind, name = options.report
    if kind != "json":
        raise ConfigError(f"--report {kind} {name}: the only kind of file is json")
    path = Path(name)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"--report json {name}: cannot be written; name a file in a folder that exists")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise PermissionError(f"--report json {name}: no permission to write there")
    return path
