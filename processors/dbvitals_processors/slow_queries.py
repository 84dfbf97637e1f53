"""The span processor that flags slow queries before the next processor gets to see them.

Spans of dbvitals' own instrumentation are judged before they are written (``Detector.judge``), so that calls which
the sampler drops count, too. This processor is for the spans of others: it hands on a flagged copy, since a finished
span is frozen.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from dbvitals_instrumentation import guard, semconv
from dbvitals_instrumentation.caller import caller
from dbvitals_instrumentation.config import Config
from dbvitals_processors.accounts import Account
from dbvitals_processors.detector import Detector, judges
from dbvitals_processors.finished import attributes_of, with_attributes
from dbvitals_processors.query_span import QuerySpan, read
from dbvitals_processors.regressions import MOST_QUERIES, Key

MOST_WAITING = 2048
"""Spans that may wait for the worker; more are dropped, and counted."""
MOST_TEXTS = 1000
MOST_CHARACTERS = 10_000
"""Of a text by which a query is recognised again without reading its span."""

_Text = tuple[Any, Any]  # namespace and text, as the span has them


class SlowQueryProcessor(SpanProcessor):
    """Flags slow queries: ``SlowQueryProcessor(BatchSpanProcessor(exporter))`` in place of the next processor itself.

    A query is slow by a threshold, as an outlier of its own fingerprint, or because it has become slower than it used
    to be. The flag, the reason, the threshold and the caller are on the span that the next processor gets, and
    ``dbvitals.query.slow`` counts. A span that is not flagged costs its thread less than 3 µs; the rest is done on a
    worker, whose queue is bounded and counts what it drops (``dbvitals.dropped``).

    It has an ``on_start`` only where the next processor has one of its own: where all span processors look at the end
    only, spans are written in one go.

    Args:
        next_processor: gets every span.
        config: settings. Without them, a processor that is made after :func:`dbvitals.instrument` judges as that does,
            and one that is made before reads the environment (``DBVITALS_…``).
        detector: what judges and learns, if it is not to be one of its own.

    Raises:
        ConfigError: a ``DBVITALS_…`` variable cannot be read.
    """

    def __new__(cls, next_processor: SpanProcessor, *_args: Any, **_options: Any) -> SlowQueryProcessor:
        kind = _WithStarts if cls is SlowQueryProcessor and hears_starts(next_processor) else cls
        return super().__new__(kind)

    def __init__(
        self,
        next_processor: SpanProcessor,
        config: Config | None = None,
        *,
        detector: Detector | None = None,
    ) -> None:
        self.next_processor = next_processor
        if detector is None and config is None:
            detector = next(iter(judges), None)
        self._owned = detector is None
        self.detector = detector = detector or Detector(config or Config.from_environment())
        self._feeds = not detector.is_fed  # of several processors in one place, one counts
        detector.is_fed = True
        self._waiting: deque[ReadableSpan] = deque()
        self._known: dict[_Text, Account] = {}
        self._held: dict[Key, Account] = {}
        detector.readers.append(self._read_waiting)
        detector.forgetters.append(self._waiting.clear)

    def on_end(self, span: ReadableSpan) -> None:
        """Hand the span on, flagged if it is a slow query."""
        try:
            scope = span.instrumentation_scope
            ours = judges and scope is not None and scope.name == semconv.SCOPE  # then its flags are on it
            if self._feeds and (not ours or self.detector.listeners):
                if len(self._waiting) < MOST_WAITING:
                    self._waiting.append(span)
                    if len(self._waiting) == MOST_WAITING // 2:
                        self.detector.wake()
                else:
                    self.detector.drop()
            if not ours:
                span = self._look(span)
        except Exception as error:
            guard.fault("slow_queries.on_end", error)
        self.next_processor.on_end(span)

    def shutdown(self) -> None:
        """Finish what waits, then shut the next processor down."""
        try:
            if self._owned:
                self.detector.close()
            else:
                self.detector.worker.flush(2.0)
        except Exception as error:
            guard.fault("slow_queries.shutdown", error)
        self._feed_no_more()
        self.next_processor.shutdown()

    def detach(self) -> None:
        """Finish what waits, and hear of the detector no more; the next processor lives on."""
        self.detector.worker.flush(2.0)
        self._feed_no_more()
        self.detector.readers.remove(self._read_waiting)
        self.detector.forgetters.remove(self._waiting.clear)

    def _feed_no_more(self) -> None:
        if self._feeds:
            self._feeds = self.detector.is_fed = False

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Finish what waits, then have the next processor do so; false where that took too long."""
        end = time.monotonic() + timeout_millis / 1000
        done = self.detector.worker.flush(timeout_millis / 1000)
        left = max(0, round((end - time.monotonic()) * 1000))
        return self.next_processor.force_flush(left) and done

    def _look(self, span: ReadableSpan) -> ReadableSpan:
        """The span of another instrumentation, or its flagged copy."""
        detector = self.detector
        if self._feeds and not detector.worker.running:
            detector.start()
        took = (span.end_time or 0) - (span.start_time or 0)
        if took < detector.least and (detector.repeats is None or not self._feeds):
            return span
        flags = self._flags(span, took)
        return span if not flags else with_attributes(span, flags)

    def _flags(self, span: ReadableSpan, took: int) -> dict[str, Any] | None:
        """What is to be put on a span. A quick query whose text was never seen is left to the worker to read."""
        attributes = attributes_of(span)
        if semconv.DB_SYSTEM_NAME not in attributes and semconv.OLD_DB_SYSTEM not in attributes:
            return None
        text = _text(attributes)
        account = self._known.get(text)
        if account is None:
            if took < self.detector.least:
                return None  # the worker is going to read it
            query = read(span)
            if query is None:
                return None
            account = self._account_of(query)
            self._recognise(text, account)
        flags: dict[str, Any] = {}
        judged = bool(judges) and semconv.FINGERPRINT in attributes  # ours, or enriched by us
        if took >= account.limit and semconv.SLOW not in attributes:
            flags.update(account.verdict(took, span.context, counted=self._feeds and not judged) or {})
            if flags and self.detector.names_callers and semconv.CODE_FUNCTION_NAME not in attributes:
                flags.update(caller() or {})
        repeats = self.detector.repeats
        if repeats is not None and self._feeds and not judged:
            parent = span.parent
            if parent is not None:
                trace_id, span_id, *_ = parent
                if repeats(trace_id, span_id, account.key[2]):
                    flags[semconv.N_PLUS_ONE] = True
        return flags

    def _account_of(self, query: QuerySpan) -> Account:
        return self.detector.account(query.namespace, query.operation, query.fingerprint, query.summary)

    def _recognise(self, text: _Text, account: Account) -> None:
        if isinstance(text[1], str) and len(text[1]) <= MOST_CHARACTERS:
            self._known[text] = account
            if len(self._known) > MOST_TEXTS:
                with suppress(KeyError, RuntimeError, StopIteration):  # another thread was here
                    del self._known[next(iter(self._known))]

    def _hold(self, account: Account) -> None:
        """Keep the account of a query that was asked lately: it lives as long as somebody holds it."""
        self._held.pop(account.key, None)
        self._held[account.key] = account
        if len(self._held) > MOST_QUERIES:
            del self._held[next(iter(self._held))]

    # --- on the worker --------------------------------------------------------------------------------------------

    def _read_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            span = self._waiting.popleft()
            try:
                self._read(span)
            except Exception as error:
                guard.fault("slow_queries.read", error)

    def _read(self, span: ReadableSpan) -> None:
        query, attributes = read(span), attributes_of(span)
        if query is not None and not (judges and semconv.FINGERPRINT in attributes):
            account = self._account_of(query)
            self._recognise(_text(attributes), account)
            self._hold(account)
            if query.error_type is None:
                account.remember(query.nanoseconds)
        for listener in self.detector.listeners:
            listener(span, query)


class _WithStarts(SlowQueryProcessor):
    """For a next processor that looks at spans before their end."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.next_processor.on_start(span, parent_context=parent_context)

    def _on_ending(self, span: Span) -> None:
        ending = getattr(self.next_processor, "_on_ending", None)  # the SDK has it since 1.31
        if ending is not None:
            ending(span)


def hears_starts(processor: object) -> bool:
    """Whether a span processor has something of its own to do before a span's end."""
    inner = getattr(processor, "_span_processors", None)
    if inner is not None:
        return any(map(hears_starts, inner))
    hooks = (getattr(type(processor), "on_start", None), getattr(type(processor), "_on_ending", None))
    return any(hook is not None and not hook.__module__.startswith("opentelemetry.sdk.trace") for hook in hooks)


def _text(attributes: Mapping[str, Any]) -> _Text:
    get = attributes.get
    return (
        get(semconv.DB_NAMESPACE) or get(semconv.OLD_DB_NAME),
        get(semconv.DB_QUERY_TEXT) or get(semconv.OLD_DB_STATEMENT),
    )
