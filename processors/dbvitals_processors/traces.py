"""Collects the spans of a trace as they end, until the trace can be judged.

A trace is judged when its local root ends, that is the span that came into this process: it has no parent, or a remote
one. Spans that end later (a task that outlives its request) and traces whose root does not end (a worker's loop) are
judged piece by piece, when they are too old or too long. Nothing is kept of a span but what a rule asks for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import attrgetter

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from dbvitals_processors.docket import Mores
from dbvitals_processors.pool_span import PoolSpan
from dbvitals_processors.pool_span import read as read_pool_span
from dbvitals_processors.query_span import QuerySpan

MOST_TRACES = 1000
MOST_SPANS = 2000
"""Spans of one trace; with this many, they are judged without its root."""
MOST_SPANS_IN_ALL = 50_000
OLD = 300.0
"""Seconds from a trace's first span until it is judged without its root."""


@dataclass(frozen=True, slots=True)
class Work:
    """A span that is neither of a query nor of a pool; ``serves`` is true for one that answers a request."""

    name: str
    start: int
    end: int
    span_id: int
    parent_id: int | None
    serves: bool


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What one process did in one trace, each kind in the order in which it began; times in Unix nanoseconds.

    Attributes:
        root: the local root; ``None`` where it is not known, or is itself a query or a checkout.
        more: what was only added up of the queries.
    """

    trace_id: int
    root: Work | None
    queries: tuple[QuerySpan, ...]
    checkouts: tuple[PoolSpan, ...] = ()
    holds: tuple[PoolSpan, ...] = ()
    work: tuple[Work, ...] = ()
    more: Mores = field(default_factory=dict)


Seen = QuerySpan | PoolSpan | Work


class _Open:
    """A trace that is not over."""

    __slots__ = ("born", "spans")

    def __init__(self, born: float) -> None:
        self.born = born
        self.spans: list[Seen] = []


class Traces:
    """The traces that are not over. Not safe to use from several threads: its owner has one.

    Args:
        judge: is given each trace that has at least one query or checkout.
        clock: seconds, from any beginning.
    """

    def __init__(self, judge: Callable[[Trace], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._judge = judge
        self._clock = clock
        self._open: dict[int, _Open] = {}  # the oldest is first
        self._kept = 0

    def add(self, span: ReadableSpan, query: QuerySpan | None) -> None:
        """Keep one span that has ended, as the ``query`` that it is; judge what is over."""
        context, parent = span.context, span.parent
        if context is None:
            return
        seen = query or no_query(span)
        now = self._clock()
        is_root = parent is None or parent.is_remote
        kept = self._open.get(context.trace_id)
        if kept is None:
            if is_root:  # nothing was below it
                self._close(context.trace_id, [seen], seen)
                return
            kept = self._open[context.trace_id] = _Open(now)
        if is_root:
            self._finish(context.trace_id, kept, seen)
        else:
            kept.spans.append(seen)
            self._kept += 1
            if len(kept.spans) >= MOST_SPANS:
                self._give_up(context.trace_id)
        self._make_room(now)

    def expire(self) -> None:
        """Judge what is too old by now."""
        self._make_room(self._clock())

    def finish(self) -> None:
        """Judge everything as it is: the process ends."""
        for trace_id in list(self._open):
            self._give_up(trace_id)

    def clear(self) -> None:
        """Forget everything, unjudged."""
        self._open.clear()
        self._kept = 0

    def __len__(self) -> int:
        """How many spans are kept."""
        return self._kept

    def _make_room(self, now: float) -> None:
        while self._open:
            oldest = next(iter(self._open))
            old = now - self._open[oldest].born >= OLD
            if not old and len(self._open) <= MOST_TRACES and self._kept <= MOST_SPANS_IN_ALL:
                return
            self._give_up(oldest)

    def _give_up(self, trace_id: int) -> None:
        kept = self._open.pop(trace_id)
        self._kept -= len(kept.spans)
        self._close(trace_id, kept.spans, None)

    def _finish(self, trace_id: int, kept: _Open, root: Seen) -> None:
        """Close what is below ``root``; the process may serve another request of the same trace meanwhile."""
        below = below_of(root.span_id, kept.spans)
        rest = [span for span in kept.spans if span.span_id not in below]
        self._kept -= len(kept.spans) - len(rest)
        mine = [span for span in kept.spans if span.span_id in below]
        kept.spans = rest
        if not rest:
            del self._open[trace_id]
        self._close(trace_id, [*mine, root], root)

    def _close(self, trace_id: int, spans: list[Seen], root: Seen | None) -> None:
        trace = trace_of(trace_id, spans, root)
        if trace.queries or trace.checkouts:
            self._judge(trace)


def trace_of(trace_id: int, spans: Iterable[Seen], root: Seen | None, more: Mores | None = None) -> Trace:
    """The trace of spans in any order."""
    ordered = sorted(spans, key=attrgetter("start"))
    pool_spans = [span for span in ordered if isinstance(span, PoolSpan)]
    return Trace(
        trace_id,
        root if isinstance(root, Work) else None,
        tuple(span for span in ordered if isinstance(span, QuerySpan)),
        tuple(span for span in pool_spans if not span.held),
        tuple(span for span in pool_spans if span.held),
        tuple(span for span in ordered if isinstance(span, Work)),
        more or {},
    )


def below_of(root: int, spans: Iterable[Seen]) -> set[int]:
    """The ids of all spans whose parents lead to ``root``; a parent is known as it ends, after its children."""
    parents = {span.span_id: span.parent_id for span in spans}
    below = {root}
    for span_id in parents:
        path: list[int] = []
        at: int | None = span_id
        while at is not None and at not in below and at in parents and len(path) <= len(parents):
            path.append(at)
            at = parents[at]
        if at in below:
            below.update(path)
    return below


def no_query(span: ReadableSpan) -> PoolSpan | Work:
    """What a span tells that is not of a query."""
    return read_pool_span(span) or Work(
        span.name,
        span.start_time or 0,
        span.end_time or 0,
        span.context.span_id if span.context is not None else 0,
        span.parent.span_id if span.parent is not None else None,
        span.kind in (SpanKind.SERVER, SpanKind.CONSUMER),
    )
