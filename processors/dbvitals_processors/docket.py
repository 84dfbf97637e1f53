"""What is kept of open traces, on the threads that run them, until it is known whether they are worth a judge.

Most traces hold nothing to find: their queries are counted, and forgotten unread when the root ends. A trace is worth a
judge where a query repeats often enough to be a loop, or comes again with the same parameters, or returns very many
rows, or where somebody waits or holds a connection for long. Of a query that repeats without end, the first calls are
kept one by one and the rest is added up.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from dbvitals_instrumentation import semconv
from dbvitals_processors.rules.limits import Limits

if TYPE_CHECKING:  # where there is no SDK, it is not imported
    from opentelemetry.sdk.trace import ReadableSpan

CLOSE = 100
"""Calls of one query under one span that are kept one by one, or twice the threshold if that is more."""
MOST_TRACES = 500
"""Traces of a generation: those of the latest two are remembered."""
MOST_KINDS = 300
"""Different queries that are counted in one trace; a trace with more begins anew."""
MOST_SPANS = 2000
"""Kept of one trace; with this many, they are judged, or forgotten, without its root."""
MOST_SPANS_IN_ALL = 50_000
MOST_ALIKE = 10
"""Traces with a root of the same name, and for the same reason, that are judged between two looks of the judge: each
stands for its share of the rest."""
MOST_FILED = 5_000
"""Kept of traces that wait for the judge; further traces are dropped, and counted as that."""
SHORT_WAIT = 1_000_000
"""Nanoseconds: a connection that came sooner was not waited for."""
OLD = 300.0
"""Seconds from a trace's first query until it is judged, or forgotten, without its root."""


class Call(Protocol):
    """One call that has ended and has no span yet, as its judge may ask about it."""

    query: Any
    late: dict[str, Any]
    start: int
    rows: int

    def told(self) -> int | None:
        """A number that is equal for equal parameters, for use within the process; ``None`` where it is not known."""

    def look_closer(self) -> None:
        """Put on the span what is worth its time only where a query comes again."""

    def name_caller(self) -> None:
        """Put the caller on the span."""


class Kind(Protocol):
    """Which query it is: an account."""

    key: tuple[str, str, str]  # namespace, operation, fingerprint


Kept = tuple[Mapping[str, Any], Mapping[str, Any], int, int, "int | None", "int | None"]
"""A call: the attributes of its query and its own, start and length in nanoseconds, the span above, its parameters."""


@dataclass(slots=True)
class More:
    """Calls of one query under one span beyond those that were kept, added up; times in Unix nanoseconds."""

    start: int
    end: int = 0
    number: int = 0
    nanoseconds: int = 0
    rows: int = 0


Mores = Mapping[tuple[int, str, str], More]  # by parent, namespace and fingerprint


class Filed(NamedTuple):
    """A trace, or a part of one, that is to be judged, and how many like it there were."""

    trace_id: int
    kept: list[Kept | ReadableSpan]
    more: Mores
    root: ReadableSpan | None
    times: int = 1


Alike = tuple[object, str]  # the reason why traces are worth a judge, and the name of their root


@dataclass(slots=True, eq=False)
class _Case:
    """A trace that is not over; ``grave`` says why it is worth a judge, if it is."""

    born: float
    grave: object = None
    waited: int = 0
    counts: dict[tuple[int, Kind], int] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    kept: list[Kept | ReadableSpan] = field(default_factory=list)
    more: dict[tuple[int, Kind], More] = field(default_factory=dict)


class Docket:
    """The open traces. Safe to use from many threads without a lock: where two race, a call may be lost.

    Args:
        threshold: repeats under one span that are an N+1; :attr:`Config.n_plus_one_threshold`.
        drop: is called when there is no room for a trace.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        threshold: int,
        drop: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threshold = threshold
        self.keeps = False
        """Whether anything is kept, beyond counts: somebody is going to judge, and is told when roots end."""
        self.callers: dict[tuple[str, str], Mapping[str, Any]] = {}
        """The ``code.*`` attributes that were last seen of a query, by namespace and fingerprint."""
        self._close = max(CLOSE, 2 * threshold)
        self._drop = drop
        self._clock = clock
        self._limits = Limits()
        self._young: dict[int, _Case] = {}
        self._old: dict[int, _Case] = {}
        self._filed: deque[tuple[Alike, Filed]] = deque()
        self._alike: dict[Alike, int] = {}  # how many came since the judge was here
        self._spans_filed = 0

    def count(self, trace_id: int, parent_id: int, kind: Kind) -> int:
        """Count one more call; how many there have been under this parent."""
        case = self._young.get(trace_id)
        if case is None or len(case.counts) > MOST_KINDS:
            case = self._rejuvenate(trace_id)
        counts, key = case.counts, (parent_id, kind)
        number = counts[key] = counts.get(key, 0) + 1
        return number

    def enter(self, trace_id: int, parent_id: int, kind: Kind, nanoseconds: int, call: Call) -> int:
        """Count one call of our own instrumentation's, and keep what a judge may ask of it."""
        case = self._young.get(trace_id)
        if case is None or len(case.counts) > MOST_KINDS:
            case = self._rejuvenate(trace_id)
        counts, key = case.counts, (parent_id, kind)
        number = counts[key] = counts.get(key, 0) + 1
        if number > self._close:
            more = case.more.get(key)
            if more is None:
                more = case.more[key] = More(call.start)
            more.number += 1
            more.nanoseconds += nanoseconds
            more.end = call.start + nanoseconds
            if call.rows > 0:
                more.rows += call.rows
            return number
        late, told = call.late, call.told()
        if told is not None:
            if told in case.asked:
                case.grave = case.grave or kind
                call.look_closer()
            else:
                case.asked.add(told)
                if number > 1:
                    call.look_closer()
        if semconv.CODE_FUNCTION_NAME in late:
            self._remember(kind, late)
        case.kept.append((call.query.attributes, late, call.start, nanoseconds, parent_id, told))
        if number >= self.threshold or call.rows > self._limits.rows_served:
            case.grave = case.grave or kind
        if len(case.kept) >= MOST_SPANS:
            self._begin_anew(trace_id, case)
        return number

    def enter_span(self, span: ReadableSpan, kind: Kind | None, rows: int) -> int:
        """The same for the span of a query of somebody else's; ``kind`` is ``None`` where it is not known yet."""
        context, parent = span.context, span.parent
        if context is None or parent is None:
            return 0
        trace_id, parent_id = context.trace_id, parent.span_id
        number = 0 if kind is None else self.count(trace_id, parent_id, kind)
        if not self.keeps or parent.is_remote:
            return number
        case = self._young.get(trace_id) or self._rejuvenate(trace_id)
        if kind is not None and number > self._close:
            took = (span.end_time or 0) - (span.start_time or 0)
            more = case.more.setdefault((parent_id, kind), More(span.start_time or 0))
            more.number += 1
            more.nanoseconds += max(0, took)
            more.end = span.end_time or 0
            more.rows += rows
            return number
        case.kept.append(span)
        if number >= self.threshold or rows > self._limits.rows_served:
            case.grave = case.grave or kind or span.name
        if len(case.kept) >= MOST_SPANS:
            self._begin_anew(trace_id, case)
        return number

    def alone_span(self, span: ReadableSpan, rows: int) -> None:
        """Keep the span of a query without a trace, if it can be worth a judge."""
        if self.keeps and rows > self._limits.rows and span.context is not None:
            self._put(("", span.name), Filed(span.context.trace_id, [span], {}, None))

    def keep(self, span: ReadableSpan) -> None:
        """Keep a span that is no query while its trace may be worth a judge; close the trace if it is its root."""
        name = span.name
        if name == semconv.CHECKOUT_SPAN and (span.end_time or 0) - (span.start_time or 0) < SHORT_WAIT:
            return
        context, parent = span.context, span.parent
        if context is None:
            return
        trace_id = context.trace_id
        case = self._young.get(trace_id) or self._old.get(trace_id)
        if parent is None or parent.is_remote:
            if case is not None:
                self._end(trace_id, case, span)
            return
        if name == semconv.CHECKOUT_SPAN:
            case = case or self._rejuvenate(trace_id)
            case.waited += (span.end_time or 0) - (span.start_time or 0)
            if case.waited >= self._limits.wait:
                case.grave = case.grave or name
        elif name == semconv.HOLD_SPAN:
            case = case or self._rejuvenate(trace_id)
            case.grave = case.grave or name
        if case is None:  # no query has ended, so that this is above none, and not between two
            return
        case.kept.append(span)
        if len(case.kept) >= MOST_SPANS:
            self._begin_anew(trace_id, case)

    def filed(self) -> Iterator[Filed]:
        """What waits for the judge, now; called by the judge alone."""
        came, self._alike = self._alike, {}
        waiting = [self._filed.popleft() for _ in range(len(self._filed))]
        judged = Counter(alike for alike, _ in waiting)
        for alike, one in waiting:
            self._spans_filed -= len(one.kept)
            times = max(1, came.get(alike, 0) // judged[alike])
            came[alike] = came.get(alike, 0) - times
            judged[alike] -= 1
            yield one._replace(times=times) if times > 1 else one

    def expire(self) -> None:
        """File, or forget, what is too old or too much by now; called by the judge alone."""
        now, in_all = self._clock(), 0
        for traces in (self._young, self._old):
            for trace_id, case in reversed(list(traces.items())):  # the oldest come last
                in_all += len(case.kept)
                if now - case.born >= OLD or in_all > MOST_SPANS_IN_ALL:
                    traces.pop(trace_id, None)
                    self._give_up(trace_id, case)

    def finish(self) -> None:
        """File all traces as they are: the process ends."""
        young, old, self._young, self._old = self._young, self._old, {}, {}
        for trace_id, case in (*old.items(), *young.items()):
            self._give_up(trace_id, case)

    def put_back(self, trace_id: int, kept: list[Kept | ReadableSpan]) -> None:
        """Keep on what belongs to another request of a trace than the one that has been judged."""
        case = self._young.get(trace_id) or self._old.get(trace_id)
        if case is None:
            if not kept:
                return
            case = self._rejuvenate(trace_id)
        if not kept and not case.kept:
            self._young.pop(trace_id, None)
            self._old.pop(trace_id, None)
        case.kept[:0] = kept
        case.grave = case.grave or "another request"

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}
        self._filed.clear()
        self._alike = {}
        self._spans_filed = 0

    def __len__(self) -> int:
        """How many calls and spans are kept of open traces."""
        return sum(len(case.kept) for traces in (self._young, self._old) for case in traces.values())

    def _rejuvenate(self, trace_id: int) -> _Case:
        """The case of a trace that is not among the young ones, or has too many queries."""
        case = self._young.get(trace_id)
        if case is not None:
            if len(case.counts) > MOST_KINDS:
                case.counts, case.asked = {}, set()
            return case
        if len(self._young) >= MOST_TRACES:
            gone, self._old, self._young = self._old, self._young, {}
            for old_id, old in gone.items():
                if old_id != trace_id:
                    self._give_up(old_id, old)
            case = gone.get(trace_id)
        case = case or self._old.pop(trace_id, None) or _Case(self._clock())
        self._young[trace_id] = case
        return case

    def _end(self, trace_id: int, case: _Case, root: ReadableSpan) -> None:
        """File a trace whose root has ended, or forget it.

        Where the root has a remote parent, the process may serve another request of the same trace meanwhile: what is
        below it stays.
        """
        filed = case.grave is not None and self._file(trace_id, case, root)
        if filed and root.parent is not None:
            case.kept, case.more = [], {}
        else:
            self._young.pop(trace_id, None)
            self._old.pop(trace_id, None)

    def _begin_anew(self, trace_id: int, case: _Case) -> None:
        if case.grave:
            self._file(trace_id, case, None)
        case.kept, case.more = [], {}
        case.grave = None
        case.counts, case.asked = {}, set()

    def _give_up(self, trace_id: int, case: _Case) -> None:
        if case.grave and case.kept:
            self._file(trace_id, case, None)

    def _file(self, trace_id: int, case: _Case, root: ReadableSpan | None) -> bool:
        """Have a trace judged, if not so many that are alike are going to be that one of them may stand for it."""
        alike = (case.grave, "" if root is None else root.name)
        number = self._alike[alike] = self._alike.get(alike, 0) + 1
        return number <= MOST_ALIKE and self._put(alike, Filed(trace_id, case.kept, _by_name(case.more), root))

    def _put(self, alike: Alike, one: Filed) -> bool:
        if self._spans_filed + len(one.kept) > MOST_FILED:
            self._alike[alike] = self._alike.get(alike, 1) - 1
            self._drop()
            return False
        self._spans_filed += len(one.kept)
        self._filed.append((alike, one))
        return True

    def _remember(self, kind: Kind, late: Mapping[str, Any]) -> None:
        key = (kind.key[0], kind.key[2])
        if key not in self.callers and len(self.callers) >= MOST_SPANS:
            self.callers.pop(next(iter(self.callers), key), None)
        self.callers[key] = late


def _by_name(more: Mapping[tuple[int, Kind], More]) -> Mores:
    return {(parent_id, kind.key[0], kind.key[2]): one for (parent_id, kind), one in more.items()}
