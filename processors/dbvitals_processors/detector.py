"""Decides which queries are slow: a comparison where the query ends, everything else on a worker.

Each query (namespace, operation, fingerprint) has an :class:`Account` with the least duration that is slow. Whoever
ends a query asks its account, which compares and remembers the duration. Once a second the worker learns from what
was remembered and publishes new limits.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import SpanContext

from dbvitals_instrumentation import fork, guard, semconv
from dbvitals_instrumentation.config import Config
from dbvitals_processors.accounts import Account, Flags
from dbvitals_processors.baselines import Baselines, store_at
from dbvitals_processors.docket import Call, Docket
from dbvitals_processors.outliers import Outliers
from dbvitals_processors.regressions import Key, Regression, Regressions
from dbvitals_processors.thresholds import Thresholds
from dbvitals_processors.worker import Worker

INTERVAL = 1.0
"""Seconds between two looks at what was remembered."""
MOST_WAITING = 1024
"""Verdicts that may wait to be counted; more are dropped, and counted as that."""
SAVING = 60.0
"""Seconds between two saves of the baselines."""

See = Callable[[int, bool, Context, "Call | None"], "Flags | None"]
"""Hears of one call: nanoseconds, whether it failed, the caller's context, the call. Returns what is to be put on its
span."""


class Detector:
    """The accounts, what they learn from, and the worker.

    Args:
        config: its thresholds and where baselines are kept.
        meter_provider: the global one, whenever it is set, if not given.
        docket: counts the queries of each trace, and keeps what is worth a judge.
        on_regression: told of each query that has become slower, on the worker.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        config: Config,
        *,
        meter_provider: MeterProvider | None = None,
        docket: Docket | None = None,
        on_regression: Callable[[Regression], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.thresholds = Thresholds.of(config)
        self.least = self.thresholds.least
        """Nothing that took less than this many nanoseconds is slow, whichever query it is."""
        self.names_callers = config.caller != "off"
        self.docket = docket
        self._on_regression = on_regression
        self._clock = clock
        self._most_series = config.max_fingerprints
        self._series: set[str] = set()  # fingerprints with series of their own
        self._accounts: weakref.WeakValueDictionary[Key, Account] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()
        fork.renew_lock(self)
        self._slow: deque[tuple[Account, str, SpanContext | None]] = deque()
        self._dropped = 0
        self._outliers = Outliers()
        self._regressions = Regressions()
        place = config.baseline_file
        service = os.environ.get("OTEL_SERVICE_NAME", "")
        self._baselines = Baselines(store_at(place, service)) if place else None
        self._loaded = False
        self._saved = clock()
        self.hints_of: Callable[[str], Sequence[str]] = _no_hints
        """Ids of the open index hints for a fingerprint, which are put on its slow calls' spans."""
        self.readers: list[Callable[[], None]] = []
        """Called by the worker before it learns."""
        self.listeners: list[Callable[[Any, Any], None]] = []
        """Called by the worker with every span that a processor sees, and the query that it is, if it is one. Then it
        reads every span, which costs as much as all the rest: while there is none, few are read."""
        self.is_fed = False
        """Whether there is a span processor already through which foreign spans and the listeners' spans come."""
        self.forgetters: list[Callable[[], object]] = []
        """Called in a forked child: what waits is the parent's to tell of."""
        meter: Any = meter_provider or metrics
        meter = meter.get_meter(semconv.SCOPE, schema_url=semconv.SCHEMA_URL)
        self._slow_counter = meter.create_counter(semconv.QUERY_SLOW, semconv.QUERIES, "Queries that were slow.")
        self._dropped_counter = meter.create_counter(
            semconv.DROPPED, semconv.ITEMS, "What was dropped because a queue of dbvitals was full."
        )
        self.worker = Worker(self.work, "slow_queries.work", interval=INTERVAL, in_child=self._clear)

    def judge_of(self, attributes: Mapping[str, Any]) -> See:
        """The function that is to hear of each call of a query whose spans have these attributes."""
        get = attributes.get
        try:
            if not self.worker.running:
                self.start()
            return self.account(
                get(semconv.DB_NAMESPACE, ""),
                get(semconv.DB_OPERATION_NAME, ""),
                get(semconv.FINGERPRINT, ""),
                get(semconv.DB_QUERY_SUMMARY, ""),
            ).see
        except Exception as error:
            guard.fault("slow_queries.judge", error)
            return _nobody

    def judge(self) -> Callable[[Mapping[str, Any]], See]:
        """What an instrumentation asks for the judge of each query; until :meth:`close`, its spans count as judged."""
        judges.add(self)
        return self.judge_of

    def account(self, namespace: str, operation: str, fingerprint: str, summary: str) -> Account:
        """The account of a query; one lives as long as somebody holds it."""
        key = (namespace, operation, fingerprint)
        with self._lock:
            account = self._accounts.get(key)
            if account is None:
                account = Account(self, key, summary, self.thresholds.threshold(*key))
                account.publish(self._outliers.limit(key), self._regressions.limit(key))
                self._accounts[key] = account
                self.least = min(self.least, account.limit)
        return account

    def start(self) -> None:
        """Begin to learn; :meth:`close` is called when the process ends."""
        self.worker.start()
        atexit.register(self.close)

    def count(self, account: Account, reason: str, span: SpanContext | None) -> None:
        """Count a slow call, by and by."""
        if len(self._slow) < MOST_WAITING:
            self._slow.append((account, reason, span))
        else:
            self.drop()

    def wake(self) -> None:
        """Have the worker look now."""
        self.worker.wake()

    def drop(self) -> None:
        """Count something that had no place to wait."""
        with self._lock:
            self._dropped += 1

    def regressions(self) -> list[Regression]:
        """The queries that take longer now than they used to."""
        return self._regressions.all()

    def rest(self) -> None:
        """Judge no more queries of our instrumentation."""
        judges.discard(self)

    def close(self) -> None:
        """Count what waits, and keep the baselines."""
        self.rest()
        atexit.unregister(self.close)
        if self.worker.running:
            self._saved = float("-inf")
            self.worker.stop()

    # --- the worker -----------------------------------------------------------------------------------------------

    def work(self) -> None:
        """Learn from what was remembered, publish limits, count; called by the worker alone."""
        if not self._loaded:
            self._loaded = True
            if self._baselines is not None:
                self._regressions.restore(self._baselines.load())
        for reader in self.readers:
            reader()
        now = self._clock()
        least = self.thresholds.least
        for account in self._alive():
            self._learn(account, now)
            least = min(least, account.limit)
        self.least = least
        self._report()
        if self._baselines is not None and not 0 <= now - self._saved < SAVING:
            self._saved = now
            self._baselines.save(self._regressions.baselines())

    def _alive(self) -> list[Account]:
        """The accounts that somebody holds; others may come and go meanwhile."""
        return [account for reference in self._accounts.valuerefs() if (account := reference()) is not None]

    def _learn(self, account: Account, now: float) -> None:
        durations = account.take()
        if durations is None:
            return
        outlier = self._outliers.add(account.key, durations, now)
        regression = self._regressions.add(account.key, durations, now)
        account.publish(outlier, self._regressions.limit(account.key))
        if regression is not None and self._on_regression is not None:
            self._on_regression(regression)

    def _report(self) -> None:
        for _ in range(len(self._slow)):
            account, reason, span = self._slow.popleft()
            context = None if span is None else trace.set_span_in_context(trace.NonRecordingSpan(span), Context())
            self._slow_counter.add(1, {**self._labels(account), semconv.SLOW_REASON: reason}, context)
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._dropped_counter.add(dropped, {semconv.REASON: semconv.SLOW_QUEUE_FULL})

    def _labels(self, account: Account) -> dict[str, str]:
        """Series are bounded: the first slow fingerprints have their own, the rest shares one."""
        namespace, _, fingerprint = account.key
        if fingerprint not in self._series:
            if len(self._series) >= self._most_series:
                return {semconv.FINGERPRINT: semconv.OTHER}
            self._series.add(fingerprint)
        return {
            semconv.DB_NAMESPACE: namespace,
            semconv.DB_QUERY_SUMMARY: account.summary,
            semconv.FINGERPRINT: fingerprint,
        }

    def _clear(self) -> None:
        """In a child: what waits is the parent's to tell of."""
        for forget in self.forgetters:
            forget()
        self._slow.clear()
        self._dropped = 0
        for account in self._alive():
            account.clear()


def _no_hints(fingerprint: str) -> Sequence[str]:
    """While nobody advises."""
    return ()


def _nobody(_nanoseconds: int, _failed: bool, _context: Context, _call: Call | None = None) -> None:
    """Judges nothing."""


judges: set[Detector] = set()
"""Those that judge the queries of dbvitals' own instrumentation before their spans are written."""
