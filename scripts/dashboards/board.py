"""A dashboard: its variables, its rows of panels, and its links."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.links import TAG, siblings
from dashboards.variables import PROMETHEUS, Variable
from dbvitals.stack.names import ENVIRONMENT, SERVICE

WIDTH = 24
FIRING = (
    'ALERTS{alertstate="firing", alertname=~"Dbvitals.+", alertname!="DbvitalsWatchdog", '
    f'{ENVIRONMENT}=~"$environment", {SERVICE}=~"$service"}}'
)
"""Ours only, and not the one that always fires."""


@dataclass(frozen=True)
class Panel:
    """A panel and its room. Its number is made from its title, so that an address of it outlives new neighbours."""

    title: str
    builder: Any  # each kind of panel has a class of its own, with the same methods
    width: int = 8
    height: int = 8


@dataclass(frozen=True)
class Row:
    """A heading with panels below, in lines from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """One dashboard.

    Attributes:
        name: of its file; its uid is this after ``dbvitals-``.
        alerts: whether firing alerts are marked in its graphs; it needs the variables environment and service.
    """

    name: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    alerts: bool = True
    refresh: str = "30s"
    time: str = "now-1h"
    more_tags: tuple[str, ...] = field(default=())

    def json(self) -> str:
        """As Grafana reads it, the same for the same input."""
        tree = json.loads(JSONEncoder().encode(self._model()))
        for link in tree["links"] + tree["annotations"].get("list", []):
            link.pop("placement", None)  # the kit's default hides it behind a button of Grafana 13
        return json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def _model(self) -> model.Dashboard:
        board = (
            build.Dashboard(f"dbvitals / {self.title}")
            .uid(f"dbvitals-{self.name}")
            .description(self.description)
            .tags([TAG, *self.more_tags])
            .timezone("browser")
            .readonly()
            .refresh(self.refresh)
            .time(self.time, "now")
            .tooltip(model.DashboardCursorSync.CROSSHAIR)
            .variables(list(self.variables))
            .link(siblings())
        )
        if self.alerts:
            board.annotation(_alerts())
        y = 0
        for row in self.rows:
            place = model.GridPos(h=1, w=WIDTH, x=0, y=y)
            board.with_row(build.Row(row.title).id(_number(f"row {row.title}")).grid_pos(place))
            y = _below(board, row.panels, y + 1)
        return board.build()


def _below(board: build.Dashboard, panels: tuple[Panel, ...], y: int) -> int:
    """Place panels from ``y`` on; the next free line."""
    x = tallest = 0
    for panel in panels:
        if x + panel.width > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        place = model.GridPos(h=panel.height, w=panel.width, x=x, y=y)
        board.with_panel(panel.builder.id(_number(panel.title)).grid_pos(place))
        x, tallest = x + panel.width, max(tallest, panel.height)
    return y + tallest


def _number(title: str) -> int:
    return crc32(title.encode()) % 1_000_000 + 1


def _alerts() -> build.AnnotationQuery:
    return (
        build.AnnotationQuery()
        .name("Firing alerts")
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color("red")
        .expr(FIRING)
        .title_format("{{alertname}}")
        .text_format(f"{{{{{SERVICE}}}}} {{{{severity}}}}")
    )
