"""The options of `dbvitals stack`; what they do is in `stack_actions`, and imported when it is asked for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """The command with its own subcommands."""
    stack = commands.add_parser(
        "stack",
        help="run the pipeline behind the service: Collector, Prometheus, Alertmanager, Tempo, Grafana",
        description="Run the pipeline that takes what services send: Collector, Prometheus, Alertmanager, Tempo and "
        "Grafana, provisioned with dashboards and alerts, on loopback only.",
    )
    actions = stack.add_subparsers(required=True, metavar="ACTION")

    local = actions.add_parser(
        "local",
        help="without containers, with the programs on this machine, until Ctrl-C",
        description="Run the Collector, Prometheus and Alertmanager of this machine until Ctrl-C. Traces go "
        "to a file, unless DBVITALS_TRACES_ENDPOINT names a backend.",
    )
    local.add_argument(
        "--folder", type=Path, metavar="DIR", help="where data, configuration and logs are (default: your state folder)"
    )
    local.add_argument("--free-ports", action="store_true", help="any free ports in place of the usual ones")
    local.set_defaults(action=_local)

    up = actions.add_parser(
        "up", help="in containers; needs Docker", description="Run the whole pipeline in containers."
    )
    up.add_argument("--detach", action="store_true", help="return when all are healthy, and leave them running")
    up.set_defaults(action=_up)
    down = actions.add_parser("down", help="stop the containers; what they have stored stays")
    down.set_defaults(action=_down)
    status = actions.add_parser("status", help="say which parts answer on their usual ports")
    status.set_defaults(action=_status)

    exported = actions.add_parser(
        "export",
        help="write all configuration into a folder, for a pipeline of your own",
        description="Write the configuration of every part into a folder, with a README. Receivers of alerts come from "
        "DBVITALS_ALERT_… in the environment.",
    )
    exported.add_argument("folder", type=Path, metavar="DIR")
    exported.add_argument(
        "--for",
        dest="target",
        choices=("compose", "local"),
        default="local",
        help="where it runs (default: local)",
    )
    exported.add_argument("--force", action="store_true", help="overwrite files that are there")
    exported.set_defaults(action=_export)


def _local(options: argparse.Namespace) -> int:
    from dbvitals.cli import stack_actions

    return stack_actions.local(options)


def _up(options: argparse.Namespace) -> int:
    from dbvitals.cli import stack_actions

    return stack_actions.up(options)


def _down(options: argparse.Namespace) -> int:
    from dbvitals.cli import stack_actions

    return stack_actions.down(options)


def _status(options: argparse.Namespace) -> int:
    from dbvitals.cli import stack_actions

    return stack_actions.status(options)


def _export(options: argparse.Namespace) -> int:
    from dbvitals.cli import stack_actions

    return stack_actions.export(options)
