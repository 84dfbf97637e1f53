"""The kinds of panels, each with the same manners: unit, description, limits, legend, colours of the theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, statetimeline
from grafana_foundation_sdk.builders import timeseries as graph_builder
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.board import Panel
from dashboards.promql import RANGE
from dashboards.variables import PROMETHEUS

REFS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Limits: TypeAlias = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first from ``None`` on."""

Links: TypeAlias = Sequence[Builder[model.DashboardLink]]


@dataclass(frozen=True)
class Query:
    """One expression of a panel."""

    expr: str
    legend: str = ""
    exemplars: bool = False


def named(*labels: str) -> str:
    """What a line is called: by what tells it from the others."""
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def targets(queries: Sequence[Query], *, instant: bool = False, shape: str = "time_series") -> list[Any]:
    """The queries as Grafana has them."""
    return [_target(query, ref, instant, PromQueryFormat(shape)) for ref, query in zip(REFS, queries, strict=False)]


def _target(query: Query, ref: str, instant: bool, shape: PromQueryFormat) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .ref_id(ref)
        .datasource(PROMETHEUS)
        .expr(query.expr)
        .format(shape)
        .exemplar(query.exemplars)
    )
    if query.legend:
        target.legend_format(query.legend)
    return target.instant() if instant else target.range()


def limits(steps: Limits) -> dashboard.ThresholdsConfig:
    """Thresholds in absolute values."""
    found = [model.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def _dressed(builder: Any, title: str, description: str, unit: str, steps: Limits, links: Links) -> Any:
    return (
        builder.title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit(unit)
        .thresholds(limits(steps or ((None, "green"),)))
        .data_links(list(links))
    )


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Limits = (),
    band: bool = False,
    stacked: bool = False,
    top: float | None = None,
    links: Links = (),
    width: int = 8,
    height: int = 8,
) -> Panel:
    """Lines over time. Limits are dashed lines, or the ground is coloured where ``band``."""
    style = shapes.GraphThresholdsStyleMode
    shown = style.OFF if not steps else style.AREA if band else style.DASHED
    builder = (
        _dressed(graph_builder.Panel(), title, description, unit, steps, links)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(shown))
        .line_width(1)
        .fill_opacity(50 if stacked else 5)
        .show_points(shapes.VisibilityMode.NEVER)
        .min(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.TABLE)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["mean", "max", "lastNotNull"])
            .sort_by("Mean")
            .sort_desc(True)
        )
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .targets(targets(queries))
    )
    if stacked:
        builder.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if top is not None:
        builder.axis_soft_max(top)
    return Panel(title, builder, width, height)


def number(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    steps: Limits = (),
    empty: str = "–",
    links: Links = (),
    width: int = 3,
    height: int = 4,
    decimals: int | None = None,
) -> Panel:
    """One number and how it went; without that where it is about all of the time shown."""
    whole = RANGE in expr
    builder = (
        _dressed(stat.Panel(), title, description, unit, steps, links)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .color_mode(shapes.BigValueColorMode.VALUE)
        .graph_mode(shapes.BigValueGraphMode.NONE if whole else shapes.BigValueGraphMode.AREA)
        .justify_mode(shapes.BigValueJustifyMode.AUTO)
        .text_mode(shapes.BigValueTextMode.VALUE)
        .orientation(shapes.VizOrientation.AUTO)
        .wide_layout(True)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
        .no_value(empty)
        .targets(targets([Query(expr, title)], instant=whole))
    )
    if decimals is not None:
        builder.decimals(decimals)
    return Panel(title, builder, width, height)


def heat(title: str, description: str, unit: str, query: Query, *, width: int = 12, height: int = 9) -> Panel:
    """How often each bucket of a histogram was met."""
    builder = (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(PROMETHEUS)
        .unit("short")
        .calculate(False)
        .cell_gap(1)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
            .reverse(False)
            .fill("dark-orange")
        )
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(shapes.AxisPlacement.LEFT))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(shapes.HeatmapCellLayout.AUTO))
        .tooltip(
            heatmap.HeatmapTooltip().mode(shapes.TooltipDisplayMode.SINGLE).y_histogram(True).show_color_scale(True)
        )
        .exemplars_color("purple")
        .show_legend()
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .targets(targets([query], shape="heatmap"))
    )
    return Panel(title, builder, width, height)


def states(
    title: str, description: str, query: Query, words: Mapping[int, tuple[str, str]], *, width: int = 8, height: int = 8
) -> Panel:
    """Which state something was in; ``words`` has each state's name and colour."""
    named = {
        str(value): model.ValueMappingResult(text=text, color=color, index=place)
        for place, (value, (text, color)) in enumerate(words.items())
    }
    steps: Limits = [(None if not place else value, color) for place, (value, (_, color)) in enumerate(words.items())]
    builder = (
        _dressed(statetimeline.Panel(), title, description, "none", steps, ())
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .mappings([model.ValueMap(options=named)])
        .show_value(shapes.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(70)
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.LIST)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.SINGLE).sort(shapes.SortOrder.NONE))
        .targets(targets([query]))
    )
    return Panel(title, builder, width, height)
