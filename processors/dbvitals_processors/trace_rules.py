"""Judges traces as they end: every span goes in, what the rules found comes out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from opentelemetry.sdk.trace import ReadableSpan

from dbvitals_instrumentation import fork, guard, semconv
from dbvitals_instrumentation.telemetry import Telemetry
from dbvitals_processors.docket import Docket, Filed, Kept
from dbvitals_processors.findings import Finding, Findings
from dbvitals_processors.query_span import Caller, QuerySpan, caller_in, read, read_call
from dbvitals_processors.rules.checkout_wait import checkout_wait
from dbvitals_processors.rules.duplicate import duplicate
from dbvitals_processors.rules.idle_in_transaction import idle_in_transaction
from dbvitals_processors.rules.join_or_selectinload import join_or_selectinload
from dbvitals_processors.rules.n_plus_one import n_plus_one
from dbvitals_processors.rules.rule import Limits, Rule
from dbvitals_processors.rules.too_many_rows import too_many_rows
from dbvitals_processors.traces import Seen, Trace, Traces, below_of, no_query, trace_of

RULES: tuple[Rule, ...] = (
    n_plus_one,
    join_or_selectinload,
    duplicate,
    too_many_rows,
    idle_in_transaction,
    checkout_wait,
)
RULES_ALONE: tuple[Rule, ...] = (too_many_rows,)
"""Those that have something to say of a query without a trace, as most queries of scripts are."""
MOST_CALLERS = 2000
MOST_SERIES = 200
"""Pairs of query and function that the metric tells apart; the rest shares the fingerprint ``other``."""


class TraceRules:
    """What the rules found in this process; safe to use from several threads.

    Spans come one by one (:meth:`see`), or are sifted where they end by a docket that it follows.

    Args:
        threshold: :attr:`Config.n_plus_one_threshold`.
        telemetry: where the metric ``dbvitals.query.n_plus_one`` goes; nowhere if not given.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        threshold: int = Limits.repeats,
        telemetry: Telemetry | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        rules: tuple[Rule, ...] = RULES,
    ) -> None:
        self._limits = Limits(repeats=threshold, writes=max(threshold, Limits.writes))
        self.telemetry = telemetry
        self._lock = threading.Lock()
        fork.renew_lock(self)
        self._docket: Docket | None = None
        self._rules = rules
        self._traces = Traces(self._judge, clock)
        self._findings = Findings()
        self._callers: dict[tuple[str, str], Caller] = {}
        self._series: set[tuple[str, str]] = set()

    def follow(self, docket: Docket | None) -> None:
        """Judge what this docket files from now on; ``None``: after what it has kept, nothing."""
        if docket is None:
            self.finish()
        self._docket = docket
        if docket is not None:
            docket.keeps = True

    def see(self, span: ReadableSpan, query: QuerySpan | None) -> None:
        """Take one finished span, and the ``query`` that it tells of if it is one; never raises."""
        try:
            with self._lock:
                if query is not None and query.caller is not None:
                    self._remember(query, query.caller)
                self._traces.add(span, query)
        except Exception as error:
            guard.fault("trace_rules.see", error)

    def expire(self) -> None:
        """Judge traces that are over, or too old by now; never raises."""
        self._guarded(self._traces.expire, lambda docket: docket.expire())

    def finish(self) -> None:
        """Judge all traces as they are: the process ends; never raises."""
        self._guarded(self._traces.finish, lambda docket: docket.finish())

    def findings(self) -> list[Finding]:
        """What has been found in traces that are over, the worst first."""
        with self._lock:
            return self._findings.findings()

    def clear(self) -> None:
        """Forget everything: in a forked child it is the parent's to tell."""
        with self._lock:
            self._traces.clear()
            self._findings.clear()
            if self._docket is not None:
                self._docket.clear()

    def _guarded(self, judge: Callable[[], None], file: Callable[[Docket], None]) -> None:
        try:
            with self._lock:
                judge()
                docket = self._docket
                if docket is not None:
                    file(docket)
                    for filed in docket.filed():
                        self._try(docket, filed)
        except Exception as error:
            guard.fault("trace_rules.judge", error)

    def _try(self, docket: Docket, filed: Filed) -> None:
        """Judge what a docket has filed."""
        trace_id, kept, more, root_span, times = filed
        seen = [_seen(trace_id, one, -number) for number, one in enumerate(kept, 1)]
        root = no_query(root_span) if root_span is not None else None
        if root_span is not None and root_span.parent is not None and root is not None:
            below = below_of(root.span_id, seen)
            docket.put_back(trace_id, [one for one, told in zip(kept, seen, strict=True) if told.span_id not in below])
            seen = [told for told in seen if told.span_id in below]
        trace = trace_of(trace_id, seen if root is None else [*seen, root], root, more)
        if trace.queries or trace.checkouts:
            self._judge(trace, times)

    def _judge(self, trace: Trace, times: int = 1) -> None:
        """Apply the rules to a trace that stands for ``times`` of its like."""
        alone = len(trace.queries) == 1 and trace.root is None and not trace.holds
        for rule in RULES_ALONE if alone else self._rules:
            try:
                for finding in rule(trace, self._limits):
                    found = _multiplied(self._attributed(finding), times)
                    self._findings.add(found)
                    if rule is n_plus_one:
                        self._count(found)
            except Exception as error:
                guard.fault(f"trace_rules.{rule.__name__}", error)

    def _remember(self, query: QuerySpan, caller: Caller) -> None:
        key = (query.namespace, query.fingerprint)
        if key not in self._callers and len(self._callers) >= MOST_CALLERS:
            del self._callers[next(iter(self._callers))]
        self._callers[key] = caller

    def _attributed(self, finding: Finding) -> Finding:
        """Callers are sampled: where none of the queries has one, the last one that was seen stands in."""
        if finding.caller is not None:
            return finding
        key = (finding.namespace, finding.fingerprint)
        caller = self._callers.get(key)
        if caller is None and self._docket is not None:
            caller = caller_in(self._docket.callers.get(key, {}).get)
        return replace(finding, caller=caller)

    def _count(self, finding: Finding) -> None:
        instruments = self.telemetry.instruments() if self.telemetry is not None else None
        if instruments is None:
            return
        function = finding.caller.function if finding.caller is not None else ""
        series = (finding.fingerprint, function)
        if series not in self._series and len(self._series) >= MOST_SERIES:
            instruments.n_plus_one.add(finding.occurrences, {semconv.FINGERPRINT: semconv.OTHER})
            return
        self._series.add(series)
        attributes = {
            semconv.DB_NAMESPACE: finding.namespace,
            semconv.DB_QUERY_SUMMARY: finding.summary,
            semconv.FINGERPRINT: finding.fingerprint,
            semconv.CODE_FUNCTION_NAME: function,
        }
        instruments.n_plus_one.add(finding.occurrences, {name: value for name, value in attributes.items() if value})


def _seen(trace_id: int, kept: Kept | ReadableSpan, number: int) -> Seen:
    if isinstance(kept, tuple):
        return read_call(kept, trace_id, number)
    return read(kept) or no_query(kept)


def _multiplied(finding: Finding, times: int) -> Finding:
    if times == 1:
        return finding
    return replace(
        finding,
        occurrences=finding.occurrences * times,
        queries=finding.queries * times,
        nanoseconds=finding.nanoseconds * times,
    )
