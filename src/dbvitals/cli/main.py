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
        return _refuse(error)
    except KeyboardInterrupt:
        return 130


def _refuse(error: Exception) -> int:
    print(f"dbvitals: {error}", file=sys.stderr)
    return BAD_INPUT


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

    advise = commands.add_parser(
        "advise",
        help="find the indexes that a workload is missing, proven by the database's planner",
        description="Find the indexes that a workload is missing, each tried by the database's own planner and priced. "
        "Nothing is created: the statements are printed.",
    )
    advise.add_argument("--database", required=True, metavar="URL", help="a SQLAlchemy URL; nothing is written to it")
    source = advise.add_mutually_exclusive_group()
    source.add_argument(
        "--workload",
        metavar="FILE|DIR",
        help="JSON Lines (sql, calls, total_seconds, parameters), .sql files, or what `dbvitals run` has recorded",
    )
    source.add_argument("--prometheus", metavar="URL", help="a Prometheus, Mimir or Thanos that has dbvitals' metrics")
    source.add_argument(
        "--pg-stat-statements", action="store_true", help="the database's own statistics (PostgreSQL's default)"
    )
    source.add_argument("--log", metavar="FILE", help="a PostgreSQL log, or a MySQL or MariaDB slow log")
    advise.add_argument("--budget", metavar="SIZE", help="for all new indexes together, for example 500MB")
    advise.add_argument("--format", choices=("table", "sql", "json", "markdown"), default="table")
    advise.add_argument("--max", type=int, metavar="N", help="so many indexes at most")
    advise.add_argument(
        "--scratch-database",
        metavar="URL",
        help="a copy of the database, where indexes that can only be estimated (GIN) are built and rolled back",
    )
    advise.add_argument(
        "--min-gain",
        default="5%",
        metavar="SHARE",
        help="an index must save this share of the cost of the queries that it serves (default: 5%%)",
    )
    advise.add_argument(
        "--config",
        metavar="FILE",
        help="with [advise] dismiss = [{ id, reason }] (default: dbvitals.toml here or above, in the repository)",
    )
    advise.set_defaults(action=_advise)

    from dbvitals.cli import doctor, stack

    stack.add_parser(commands)
    doctor.add_parser(commands)
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


def _advise(options: argparse.Namespace) -> int:
    from dbvitals.cli.advise import run
    from dbvitals_processors.hints.model import AdvisorError

    try:
        return run(options)
    except AdvisorError as error:
        return _refuse(error)


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
