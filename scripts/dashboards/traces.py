"""Traces that Tempo finds."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table, tempo
from grafana_foundation_sdk.models.tempo import SearchTableType

from dashboards.board import Panel
from dashboards.variables import TRACES

MOST = 50


def traces(title: str, description: str, query: str, *, width: int = 24, height: int = 9) -> Panel:
    """A list of traces that a query of TraceQL finds."""
    target = (
        tempo.Dataquery()
        .ref_id("A")
        .datasource(TRACES)
        .query_type("traceql")
        .query(query)
        .limit(MOST)
        .table_type(SearchTableType.TRACES)
        .filters([])
    )
    builder = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(TRACES)
        .unit("none")
        .show_header(True)
        .targets([target])
    )
    return Panel(title, builder, width, height)
