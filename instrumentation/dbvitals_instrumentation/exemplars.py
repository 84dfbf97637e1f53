"""Exemplars whose traces are worth keeping: few, known before their spans are written, and shown until replaced.

A gateway that samples whole traces drops most ordinary ones, and the SDK would choose its exemplars among them all. So
a measurement becomes the exemplar of its series and bucket only where there is none yet, or one that is old; that is
known before the span is written, which says so (``dbvitals.exemplar``) and is kept. And since the SDK forgets its
exemplars at each collection, which may be more frequent than scrapes, every collection shows them again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.util.types import Attributes

EXEMPLAR_SECONDS = 30
"""How long an exemplar stands at least, before a newer measurement of its bucket takes its place."""


class KeptReservoir:
    """The SDK's exemplar reservoir of one explicit-bucket histogram, but its exemplars stay until replaced."""

    def __init__(self, boundaries: Sequence[float], attributes: Attributes) -> None:
        self._boundaries = boundaries
        self._attributes = attributes or {}
        self._kept: dict[int, Any] = {}  # without a lock: each access of ours is one step of the interpreter's

    def offer(self, value: float, time_unix_nano: int, attributes: Attributes, context: Context) -> None:
        """Take the place of the bucket's exemplar."""
        span = trace.get_current_span(context).get_span_context()
        dropped = {k: v for k, v in (attributes or {}).items() if k not in self._attributes}  # by a view
        self._keep(_exemplar(dropped, value, time_unix_nano, span.span_id or None, span.trace_id or None))

    def collect(self, point_attributes: Attributes) -> list[Any]:
        """The exemplars, which stay."""
        return [exemplar for _, exemplar in sorted(self._kept.copy().items())]

    def adopt(self, exemplars: Sequence[Any]) -> None:
        """Take over what the SDK's own reservoir was offered before."""
        for exemplar in exemplars:
            self._keep(exemplar)

    def clear(self) -> None:
        """Begin anew."""
        self._kept = {}

    def _keep(self, exemplar: Any) -> None:
        self._kept[bisect_left(self._boundaries, exemplar.value)] = exemplar


class Keeper:
    """Puts reservoirs that keep into the SDK's aggregations, the same again where the SDK replaces an aggregation."""

    def __init__(self) -> None:
        self._reservoirs: WeakKeyDictionary[Any, dict[object, KeptReservoir]] = WeakKeyDictionary()

    def furnish(self, match: Any, key: object, aggregation: Any) -> None:
        """Give one in place of the SDK's; a reservoir that the application's view asks for stays."""
        reservoir: Any = getattr(aggregation, "_reservoir", None)
        if type(reservoir) is not _AlignedReservoir:
            return
        of_match = self._reservoirs.setdefault(match, {})
        kept = of_match.get(key)
        if kept is None:
            kept = of_match[key] = KeptReservoir(aggregation._boundaries, aggregation._attributes)
        kept.adopt(reservoir.collect(aggregation._attributes))
        aggregation._reservoir = kept

    def clear(self) -> None:
        """Forget every exemplar: in a child process they are the parent's."""
        for of_match in list(self._reservoirs.values()):
            for kept in of_match.values():
                kept.clear()


def is_by_trace(exemplar_filter: object) -> bool:
    """Whether a filter of the SDK's takes exemplars of sampled spans, and of nothing else."""
    return type(exemplar_filter) is _TraceBased


try:
    from opentelemetry.sdk.metrics import _internal as _sdk

    _exemplar: Any = _sdk.exemplar.Exemplar
    _AlignedReservoir: Any = _sdk.exemplar.AlignedHistogramBucketExemplarReservoir
    _TraceBased: Any = _sdk.exemplar.TraceBasedExemplarFilter
except (ImportError, AttributeError):  # the API alone, or an SDK that keeps them elsewhere
    _exemplar = _AlignedReservoir = _TraceBased = None
