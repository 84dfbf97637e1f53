"""The variables on top of the dashboards. What they hold travels along every link."""

from __future__ import annotations

from typing import TypeAlias

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import DataSourceRef

from dashboards.promql import RECORDED, SERVICES, Scope
from dbvitals.stack.names import (
    CACHE,
    CACHE_REQUESTS,
    CONNECTION_MAX,
    ENVIRONMENT,
    FINGERPRINT,
    NAMESPACE,
    OPERATION_DURATION,
    POOL,
    QUERY_INFO,
    SERVICE,
    SUMMARY,
)

Variable: TypeAlias = Builder[model.VariableModel]

PROMETHEUS = DataSourceRef(type_val="prometheus", uid="${datasource}")
TRACES = DataSourceRef(type_val="tempo", uid="${traces}")

ALL = ".*"
"""Whatever the label says, and where there is none."""

SOME = ".+"

CALLS = f"{OPERATION_DURATION}_count"


def _source(name: str, label: str, kind: str, uid: str, description: str) -> Variable:
    return (
        build.DatasourceVariable(name)
        .type(kind)
        .label(label)
        .description(description)
        .current(model.VariableOption(text=uid, value=uid, selected=True))
    )


def _query(name: str, label: str, description: str, query: str) -> build.QueryVariable:
    return (
        build.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(PROMETHEUS)
        .query(query)
        .definition(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )


def several(name: str, label: str, description: str, series: str, of: str, everything: str = ALL) -> Variable:
    """Values of a label, any number of them."""
    return (
        _query(name, label, description, f"label_values({series}, {of})")
        .multi(True)
        .include_all(True)
        .all_value(everything)
        .current(model.VariableOption(text="All", value="$__all", selected=True))
    )


DATASOURCE = _source("datasource", "Data source", "prometheus", "dbvitals-prometheus", "The Prometheus to ask.")
TEMPO = _source("traces", "Traces", "tempo", "dbvitals-traces", "The Tempo that has the traces.")


def services(metric: str = CALLS, instances: bool = True) -> tuple[Variable, ...]:
    """Data source, environment, service and instance: those that have this metric."""
    in_environment = Scope((f'{ENVIRONMENT}=~"$environment"',))
    found = (
        DATASOURCE,
        several("environment", "Environment", "Where the service is deployed.", metric, ENVIRONMENT),
        several("service", "Service", "The service that asks.", in_environment(metric), SERVICE),
    )
    if not instances:
        return found
    processes = several("instance", "Instance", "The process that asks.", RECORDED(metric), "instance", SOME)
    return (*found, processes)


NAMESPACES = several("namespace", "Database", "The database that is asked.", SERVICES(CALLS), NAMESPACE)
POOLS = several("pool", "Pool", "The connection pool.", SERVICES(CONNECTION_MAX), POOL)
CACHES = several("cache", "Cache", "The cache that is asked.", SERVICES(CACHE_REQUESTS), CACHE)

# Shows what a query is called, and holds its fingerprint.
ONE_FINGERPRINT: Variable = _query(
    "fingerprint",
    "Query",
    "The query, by its fingerprint.",
    f"query_result(group by ({SUMMARY}, {FINGERPRINT}) (last_over_time({RECORDED(QUERY_INFO)}[$__range])))",
).regex(f'/(?:{SUMMARY}="(?<text>[^"]*)".*)?{FINGERPRINT}="(?<value>[^"]+)"/')

COMPARE: Variable = (
    build.CustomVariable("compare")
    .label("Compared with")
    .description("How long ago the time was that now is compared with.")
    .values("yesterday : 1d, last week : 7d, an hour ago : 1h")
    .current(model.VariableOption(text="yesterday", value="1d", selected=True))
    .options(
        [
            model.VariableOption(text="yesterday", value="1d", selected=True),
            model.VariableOption(text="last week", value="7d", selected=False),
            model.VariableOption(text="an hour ago", value="1h", selected=False),
        ]
    )
)

ASKED = (*services(), NAMESPACES)
"""For dashboards about queries."""
