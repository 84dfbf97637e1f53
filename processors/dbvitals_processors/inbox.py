"""The span processor of whoever works later: counts each query at once, and keeps each span until it is taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.caller import caller
from dbvitals_instrumentation.config import Config
from dbvitals_processors.n_plus_one import NPlusOne
from dbvitals_processors.query_span import Caller, QuerySpan, read
from dbvitals_processors.trace_rules import TraceRules
from dbvitals_processors.workload import Workload

MOST_WAITING = 10_000
"""Spans that wait; of more, those that come are counted as lost."""
MANY = 1_000
"""Spans that wait when somebody is asked to come and take them."""


class Inbox(SpanProcessor):
    """Where spans wait for the rules.

    It has no ``on_start``: where all span processors look at the end only, spans are written in one go. Where a loop
    begins to be one, the application's frame is looked for, since it is there only now.

    Args:
        workload: counts the queries.
        wake: is called when many spans wait.
        rules: what the spans wait for.
    """

    def __init__(
        self, workload: Workload, wake: Callable[[], None], config: Config, rules: TraceRules | None = None
    ) -> None:
        self._workload = workload
        self._wake = wake
        self._repeats = NPlusOne(config.n_plus_one_threshold)
        self._names_callers = config.caller != "off"
        self._waiting: deque[tuple[ReadableSpan, QuerySpan | None]] = deque()
        self.rules = rules
        self.keeps = True
        """Whether spans are kept; not where the rules hear of them by another way."""
        self.lost = 0
        """Spans that found no room."""

    def on_end(self, span: ReadableSpan) -> None:
        """Count the span if it is a query, and keep it."""
        try:
            query = read(span)
            if query is not None:
                self._workload.add(query)
            if not self.keeps:
                return
            if query is not None and query.parent_id is not None:
                number = self._repeats.count(query.trace_id, query.parent_id, query.fingerprint)
                if number == self._repeats.threshold and query.caller is None and self._names_callers:
                    query = replace(query, caller=_caller())
            waiting = len(self._waiting)
            if waiting >= MOST_WAITING:
                self.lost += 1
                return
            self._waiting.append((span, query))
            if waiting == MANY:
                self._wake()
        except Exception as error:
            guard.fault("inbox.on_end", error)

    def take(self) -> Iterator[tuple[ReadableSpan, QuerySpan | None]]:
        """Each span that waits now, with the query that it tells of if it is one."""
        for _ in range(len(self._waiting)):
            yield self._waiting.popleft()

    def clear(self) -> None:
        """Forget what waits: in a forked child it is the parent's."""
        self._waiting.clear()
        self._repeats.clear()
        self.lost = 0


def _caller() -> Caller | None:
    found = caller()
    if found is None:
        return None
    function, file, line = (
        found[name] for name in (semconv.CODE_FUNCTION_NAME, semconv.CODE_FILE_PATH, semconv.CODE_LINE_NUMBER)
    )
    return Caller(str(function), str(file), int(line))
