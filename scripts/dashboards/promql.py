"""Expressions of PromQL, put together from names."""

from __future__ import annotations

from dataclasses import dataclass

from dbvitals.stack.names import (
    CACHE,
    CONNECTION_COUNT,
    CONNECTION_MAX,
    CONNECTION_STATE,
    ENVIRONMENT,
    ERROR_TYPE,
    FINGERPRINT,
    NAMESPACE,
    OPERATION_DURATION,
    POOL,
    SERVICE,
)
from dbvitals_instrumentation import semconv

WINDOW = "$__rate_interval"
"""What a graph's rate looks back: as far as its resolution and the scrapes ask for."""

RANGE = "$__range"
"""All of the time that the dashboard shows: for tables and single numbers."""


def equal(label: str, value: str) -> str:
    """A label that says just this."""
    return f'{label}="{value}"'


def any_of(label: str, *values: str) -> str:
    """A label that says one of these."""
    return f'{label}=~"{"|".join(values)}"'


@dataclass(frozen=True)
class Scope:
    """Which series a panel looks at. ``=~"$variable"`` with an "All" of ``.*`` takes series without the label, too."""

    matchers: tuple[str, ...] = ()

    def __call__(self, metric: str, *more: str) -> str:
        """The series of a metric, narrowed by more matchers."""
        return f"{metric}{{{', '.join((*self.matchers, *more))}}}"

    def with_(self, *more: str) -> Scope:
        """A narrower scope."""
        return Scope((*self.matchers, *more))


RECORDED = Scope((f'{ENVIRONMENT}=~"$environment"', f'{SERVICE}=~"$service"'))
"""Series of recording rules and alerts know no instances."""

SERVICES = RECORDED.with_('instance=~"$instance"')
QUERIES = SERVICES.with_(f'{NAMESPACE}=~"$namespace"')
ONE_QUERY = QUERIES.with_(equal(FINGERPRINT, "$fingerprint"))
POOLS = SERVICES.with_(f'{POOL}=~"$pool"')
CACHES = SERVICES.with_(f'{CACHE}=~"$cache"')

FAILED = f'{ERROR_TYPE}!=""'


def by(labels: tuple[str, ...], expression: str, how: str = "sum") -> str:
    """An aggregation; over everything where there are no labels."""
    return f"{how} by ({', '.join(labels)}) ({expression})" if labels else f"{how}({expression})"


def rate(series: str, *labels: str, window: str = WINDOW) -> str:
    """What happens in a second."""
    return by(labels, f"rate({series}[{window}])")


def increase(series: str, *labels: str, window: str = RANGE) -> str:
    """What happened within the window."""
    return by(labels, f"increase({series}[{window}])")


def share(part: str, whole: str) -> str:
    """A part of the whole: zero where the part has no series yet, nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def mean(histogram: str, scope: Scope, *labels: str, window: str = WINDOW, offset: str = "") -> str:
    """The mean of what a histogram measures."""
    over = f"{window}] offset {offset}" if offset else f"{window}]"
    total = by(labels, f"rate({scope(histogram + '_sum')}[{over})")
    count = by(labels, f"rate({scope(histogram + '_count')}[{over})")
    return f"{total} / ({count} > 0)"


def quantile(q: float, histogram: str, scope: Scope, *labels: str, window: str = WINDOW) -> str:
    """A quantile of a histogram, read off its buckets."""
    return f"histogram_quantile({q}, {rate(scope(histogram + '_bucket'), 'le', *labels, window=window)})"


def durations(suffix: str, scope: Scope, *more: str) -> str:
    """The histogram of query durations."""
    return scope(f"{OPERATION_DURATION}_{suffix}", *more)


def pool_use(scope: Scope, *labels: str) -> str:
    """The share of a pool's connections that are in use."""
    used = by(labels, scope(CONNECTION_COUNT, equal(CONNECTION_STATE, semconv.USED)))
    return f"{used} / ({by(labels, scope(CONNECTION_MAX))} > 0)"
