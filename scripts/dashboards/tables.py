"""Tables: queries joined by the labels that they share, a column each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model

from dashboards.board import Panel
from dashboards.panels import REFS, Limits, Query, limits, targets
from dashboards.variables import PROMETHEUS


@dataclass(frozen=True)
class Column:
    """A column: a label of the series, or what an expression says.

    Attributes:
        title: its heading.
        label: the label that it shows, where it is no number.
        expr: the expression that it shows, of one value for each row.
        links: data links of its cells.
        bar: whether the number is a bar, too.
        long: whether the text is broken into lines, and opened for copying by a click.
    """

    title: str
    label: str = ""
    expr: str = ""
    unit: str = "none"
    steps: Limits = ()
    width: int | None = None
    decimals: int | None = None
    links: Sequence[Mapping[str, object]] = ()
    bar: bool = False
    long: bool = False
    words: Mapping[str, str] | None = None


def table(
    title: str,
    description: str,
    columns: Sequence[Column],
    *,
    sort: str,
    width: int = 24,
    height: int = 10,
) -> Panel:
    """A row for each set of labels. Links of a row may name its labels: they are there under their own names, too."""
    numbers = [column for column in columns if column.expr]
    names = {
        column.title: column.label or (f"Value #{REFS[numbers.index(column)]}" if len(numbers) > 1 else "Value")
        for column in columns
    }
    builder = (
        table_builder.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit("none")
        .cell_height(shapes.TableCellHeight.SM)
        .show_header(True)
        .filterable(True)
        .sort_by([common.TableSortByFieldState().display_name(sort).desc(True)])
        .targets(targets([Query(column.expr) for column in numbers], instant=True, shape="table"))
    )
    for column in columns:
        builder.override_by_name(column.title, _properties(column))
    if len(numbers) > 1:
        builder.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    builder.with_transformation(
        model.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: place for place, name in enumerate(names.values())},
                "renameByName": {name: heading for heading, name in names.items()},
            },
        )
    )
    return Panel(title, builder, width, height)


def _properties(column: Column) -> list[model.DynamicConfigValue]:
    found: dict[str, Any] = {"unit": column.unit}
    if column.steps:
        found["thresholds"] = limits(column.steps).build()
        found["color"] = dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS).build()
        found["custom.cellOptions"] = {"type": "color-text"}
    if column.bar:
        found["custom.cellOptions"] = {"mode": "basic", "type": "gauge", "valueDisplayMode": "text"}
        found["min"] = 0
        found["color"] = {"fixedColor": "blue", "mode": "fixed"}
    if column.long:
        found["custom.cellOptions"] = {"type": "auto", "wrapText": True}
        found["custom.inspect"] = True
    if column.width is not None:
        found["custom.width"] = column.width
    if column.decimals is not None:
        found["decimals"] = column.decimals
    if column.links:
        found["links"] = list(column.links)
    if column.words:
        found["mappings"] = [
            {
                "type": "value",
                "options": {
                    word: {"color": color, "index": place, "text": word}
                    for place, (word, color) in enumerate(column.words.items())
                },
            }
        ]
        found["custom.cellOptions"] = {"type": "color-text"}
    return [model.DynamicConfigValue(id_val=name, value=value) for name, value in found.items()]
