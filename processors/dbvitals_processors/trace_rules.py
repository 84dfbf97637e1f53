"""Judges traces as they end: every span goes in, what the rules found comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from opentelemetry.sdk.trace import ReadableSpan

from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.telemetry import Telemetry
from dbvitals_processors.findings import Finding, Findings
from dbvitals_processors.query_span import Caller, QuerySpan
from dbvitals_processors.rules.checkout_wait import checkout_wait
from dbvitals_processors.rules.duplicate import duplicate
from dbvitals_processors.rules.idle_in_transaction import idle_in_transaction
from dbvitals_processors.rules.join_or_selectinload import join_or_selectinload
from dbvitals_processors.rules.n_plus_one import n_plus_one
from dbvitals_processors.rules.rule import Limits, Rule
from dbvitals_processors.rules.too_many_rows import too_many_rows
from dbvitals_processors.traces import Trace, Traces

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
    """What the rules found in this process. Not safe to use from several threads: its owner has one, or a lock.

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
        self._telemetry = telemetry
        self._rules = rules
        self._traces = Traces(self._judge, clock)
        self._findings = Findings()
        self._callers: dict[tuple[str, str], Caller] = {}
        self._series: set[tuple[str, str]] = set()

    def see(self, span: ReadableSpan, query: QuerySpan | None) -> None:
        """Take one finished span, and the ``query`` that it tells of if it is one; never raises."""
        try:
            if query is not None and query.caller is not None:
                self._remember(query, query.caller)
            self._traces.add(span, query)
        except Exception as error:
            guard.fault("trace_rules.see", error)

    def expire(self) -> None:
        """Judge traces that are too old by now, where no span comes to remind us; never raises."""
        self._guarded(self._traces.expire)

    def finish(self) -> None:
        """Judge all traces as they are: the process ends; never raises."""
        self._guarded(self._traces.finish)

    def findings(self) -> list[Finding]:
        """What has been found in traces that are over, the worst first."""
        return self._findings.findings()

    def clear(self) -> None:
        """Forget everything: in a forked child it is the parent's to tell."""
        self._traces.clear()
        self._findings.clear()

    def _guarded(self, judge: Callable[[], None]) -> None:
        try:
            judge()
        except Exception as error:
            guard.fault("trace_rules.judge", error)

    def _judge(self, trace: Trace) -> None:
        alone = len(trace.queries) == 1 and trace.root is None and not trace.holds
        for rule in RULES_ALONE if alone else self._rules:
            try:
                for finding in rule(trace, self._limits):
                    found = self._attributed(finding)
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
        return replace(finding, caller=self._callers.get((finding.namespace, finding.fingerprint)))

    def _count(self, finding: Finding) -> None:
        instruments = self._telemetry.instruments() if self._telemetry is not None else None
        if instruments is None:
            return
        function = finding.caller.function if finding.caller is not None else ""
        series = (finding.fingerprint, function)
        if series not in self._series and len(self._series) >= MOST_SERIES:
            instruments.n_plus_one.add(1, {semconv.FINGERPRINT: semconv.OTHER})
            return
        self._series.add(series)
        attributes = {
            semconv.DB_NAMESPACE: finding.namespace,
            semconv.DB_QUERY_SUMMARY: finding.summary,
            semconv.FINGERPRINT: finding.fingerprint,
            semconv.CODE_FUNCTION_NAME: function,
        }
        instruments.n_plus_one.add(1, {name: value for name, value in attributes.items() if value})
