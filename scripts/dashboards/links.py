"""Ways from one dashboard to another."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from dbvitals.stack.names import FINGERPRINT, NAMESPACE, SERVICE

TAG = "dbvitals"
KEPT = ("datasource", "environment")
"""What every dashboard has, so what every link can take along."""


def address(uid: str, *kept: str, **picked: str) -> str:
    """Where a dashboard is, at the same time.

    Args:
        uid: the dashboard's.
        kept: variables whose values go along, beside :data:`KEPT`.
        picked: a variable → where its value is: :func:`of_row` or :func:`of_series`.
    """
    parts = [f"var-{name}=${{{place}:percentencode}}" for name, place in picked.items()]
    parts += [f"${{{name}:queryparam}}" for name in (*KEPT, *kept) if name not in picked]
    return f"/d/{uid}?{'&'.join((*parts, '${__url_time_range}'))}"


def of_row(label: str) -> str:
    """A label's value in the row of a table."""
    return f"__data.fields.{label}"


def of_series(label: str) -> str:
    """A label's value of the series that was clicked."""
    return f"__field.labels.{label}"


def link(title: str, url: str) -> Builder[model.DashboardLink]:
    """A data link of a panel."""
    return build.DashboardLink(title).url(url)


def cell_link(title: str, url: str) -> Mapping[str, object]:
    """A data link of a column."""
    return {"title": title, "url": url}


QUERY_OF_ROW = address(
    "dbvitals-query",
    service=of_row(SERVICE),
    namespace=of_row(NAMESPACE),
    fingerprint=of_row(FINGERPRINT),
)
QUERY_OF_SERIES = address("dbvitals-query", "service", "namespace", "instance", fingerprint=of_series(FINGERPRINT))


def siblings() -> Builder[model.DashboardLink]:
    """Links to all dashboards of dbvitals, with their variables in common."""
    return (
        build.DashboardLink("dbvitals")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .icon("external link")
        .include_vars(True)
        .keep_time(True)
    )
