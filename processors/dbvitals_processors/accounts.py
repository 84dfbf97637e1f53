"""What is known of a query at the place where it ends, so that judging a call is a comparison."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation import _SPAN_KEY

from dbvitals_instrumentation import guard, semconv
from dbvitals_processors.docket import Call, Docket
from dbvitals_processors.regressions import Key
from dbvitals_processors.sketch import Sketch

MOST_LEARNT = 256
"""Calls of one query that are learnt from between two looks of the worker, the first ones: more would say the same.
Every call is judged and, if it is slow, counted."""

Flags = Mapping[str, Any]


_REPEATED = MappingProxyType({semconv.N_PLUS_ONE: True})


class Owner(Protocol):
    """Whom an account tells what goes beyond its query."""

    docket: Docket | None
    names_callers: bool
    hints_of: Callable[[str], Sequence[str]]

    def count(self, account: Account, reason: str, span: SpanContext | None) -> None:
        """A call was slow."""


class Account:
    """What is known of one query where it ends.

    Attributes:
        key, summary: which query.
        limits: reasons and their nanoseconds, the first one that is reached being the reason.
        limit: nanoseconds below which none is reached.
    """

    __slots__ = ("__weakref__", "_owner", "_threshold", "_waiting", "key", "limit", "limits", "summary")

    def __init__(self, owner: Owner, key: Key, summary: str, threshold: int) -> None:
        self._owner = owner
        self.key = key
        self.summary = summary
        self._threshold = threshold
        self._waiting: deque[int] = deque()
        self.publish(None, None)

    def see(self, nanoseconds: int, failed: bool, context: Context, call: Call | None = None) -> Flags | None:
        """Count one call that has ended, and return what is to be put on its span. Never raises.

        Args:
            failed: then it may be slow, and says nothing of how long the query usually takes.
            context: of the caller, for the span above.
            call: the call itself, to be kept as long as its trace may be worth a judge.
        """
        try:
            if not failed:
                waiting = self._waiting
                if len(waiting) < MOST_LEARNT:
                    waiting.append(nanoseconds)
            flags = self.verdict(nanoseconds) if nanoseconds >= self.limit else None
            docket = self._owner.docket
            if docket is None:
                return flags
            above: Any = context.get(_SPAN_KEY)
            if above is None:
                return flags
            trace_id, span_id, remote, sampled, _, _ = above.get_span_context()
            if not span_id:
                return flags
            if call is not None and sampled & 1 and docket.keeps and not remote:
                number = docket.enter(trace_id, span_id, self, nanoseconds, call)
            else:
                number = docket.count(trace_id, span_id, self)
            if number < docket.threshold:
                return flags
            if number == docket.threshold and call is not None and self._owner.names_callers:
                call.name_caller()
            return _REPEATED if flags is None else {**flags, **_REPEATED}
        except Exception as error:
            guard.fault("slow_queries.see", error)
            return None

    def remember(self, nanoseconds: int) -> None:
        """Have one call learnt from, by and by."""
        waiting = self._waiting
        if len(waiting) < MOST_LEARNT:
            waiting.append(nanoseconds)

    def verdict(self, nanoseconds: int, span: SpanContext | None = None, *, counted: bool = True) -> Flags | None:
        """What is to be put on the span of a call if it is slow.

        Args:
            span: its span, for an exemplar.
            counted: whether the call is to be counted as slow.
        """
        for reason, least in self.limits:
            if nanoseconds >= least:
                if counted:
                    self._owner.count(self, reason, span)
                flags: dict[str, Any] = {
                    semconv.SLOW: True,
                    semconv.SLOW_REASON: reason,
                    semconv.SLOW_THRESHOLD: least * 1e-9,
                }
                hints = self._owner.hints_of(self.key[2])
                if hints:
                    flags[semconv.INDEX_HINT_IDS] = hints
                return flags
        return None

    def publish(self, outlier: int | None, regression: int | None) -> None:
        """Set the limits."""
        limits = [(semconv.THRESHOLD, self._threshold)]
        if regression is not None:
            limits.append((semconv.REGRESSION, regression))
        if outlier is not None:
            limits.append((semconv.OUTLIER, outlier))
        self.limits = tuple(limits)
        self.limit = min(least for _, least in limits)

    def take(self) -> Sketch | None:
        """What was remembered since this was last called; ``None`` if nothing."""
        waiting = self._waiting
        count = len(waiting)
        if count == 0:
            return None
        sketch = Sketch()
        for _ in range(count):
            sketch.add(waiting.popleft())  # nobody else takes
        return sketch

    def clear(self) -> None:
        """Forget what was remembered."""
        self._waiting = deque()
