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
from opentelemetry.trace import StatusCode

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
            if self._feeds and self.detector.listeners:
                self._have_read(span)
            attributes: Any = getattr(span, "_attributes", None)
            if type(attributes) is not dict:  # it was not written in one go, as most of ours are
                attributes = attributes_of(span)
                scope = span.instrumentation_scope
                ours = scope is not None and scope.name == semconv.SCOPE
            else:
                ours = True
            if ours and judges and semconv.FINGERPRINT in attributes:  # its flags are on it
                if span.parent is None:
                    self._alone(span, attributes)
            elif semconv.POOL_NAME in attributes and semconv.DB_SYSTEM_NAME not in attributes:
                self._keep(span)
            else:
                span = self._look(span, attributes)
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
            if self.detector.docket is not None:
                self.detector.docket.keeps = False

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Finish what waits, then have the next processor do so; false where that took too long."""
        end = time.monotonic() + timeout_millis / 1000
        done = self.detector.worker.flush(timeout_millis / 1000)
        left = max(0, round((end - time.monotonic()) * 1000))
        return self.next_processor.force_flush(left) and done

    def _look(self, span: ReadableSpan, attributes: Mapping[str, Any]) -> ReadableSpan:
        """A span that was not judged before it was written, or its flagged copy."""
        if semconv.DB_SYSTEM_NAME in attributes or semconv.OLD_DB_SYSTEM in attributes:
            judged = bool(judges) and semconv.FINGERPRINT in attributes  # enriched by us
            account = self._account(span, attributes, judged)
            if account is not None:
                flags = self._flags(span, attributes, account, judged)
                return span if not flags else with_attributes(span, flags)
        self._keep(span)
        return span

    def _alone(self, span: ReadableSpan, attributes: Mapping[str, Any]) -> None:
        docket = self.detector.docket
        if docket is not None and self._feeds:
            docket.alone_span(span, attributes.get(semconv.DB_RESPONSE_RETURNED_ROWS, 0))

    def _keep(self, span: ReadableSpan) -> None:
        docket = self.detector.docket
        if docket is not None and docket.keeps and self._feeds:
            docket.keep(span)

    def _account(self, span: ReadableSpan, attributes: Mapping[str, Any], judged: bool) -> Account | None:
        """The account of a query; ``None`` for others, and for a quick one whose text was never seen: the worker is to
        read it."""
        detector = self.detector
        text = _text(attributes)
        account = self._known.get(text)
        if account is not None:
            return account
        if self._feeds and not detector.worker.running:
            detector.start()
        if _took(span) < detector.least:
            if self._feeds and not judged and not detector.listeners:
                self._have_read(span)
            return None
        query = read(span)
        if query is None:
            return None
        account = self._account_of(query)
        self._recognise(text, account)
        return account

    def _have_read(self, span: ReadableSpan) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(span)
            if len(self._waiting) == MOST_WAITING // 2:
                self.detector.wake()
        else:
            self.detector.drop()

    def _flags(
        self, span: ReadableSpan, attributes: Mapping[str, Any], account: Account, judged: bool
    ) -> dict[str, Any] | None:
        """What is to be put on the span of a query."""
        detector, took = self.detector, _took(span)
        flags: dict[str, Any] | None = None
        names_caller = False
        if took >= account.limit and semconv.SLOW not in attributes:
            verdict = account.verdict(took, span.context, counted=self._feeds and not judged)
            if verdict is not None:
                flags, names_caller = {**verdict}, True
        if self._feeds and not judged:
            if not detector.worker.running:
                detector.start()
            if not detector.listeners and not _failed(span, attributes):  # else the worker reads it
                account.remember(took)
            docket = detector.docket
            if docket is not None:
                rows = attributes.get(semconv.DB_RESPONSE_RETURNED_ROWS, 0)
                number = docket.enter_span(span, account, rows)
                if number >= docket.threshold:
                    flags = {**(flags or {}), semconv.N_PLUS_ONE: True}
                    names_caller = names_caller or number == docket.threshold
                elif number == 0:
                    docket.alone_span(span, rows)
        if (
            flags is not None
            and names_caller
            and detector.names_callers
            and semconv.CODE_FUNCTION_NAME not in attributes
        ):
            flags.update(caller() or {})
        return flags

    def _account_of(self, query: QuerySpan) -> Account:
        """The account of a query that was read, which is held: it lives as long as somebody holds it."""
        account = self.detector.account(query.namespace, query.operation, query.fingerprint, query.summary)
        self._held.pop(account.key, None)
        self._held[account.key] = account
        if len(self._held) > MOST_QUERIES:
            _forget_oldest(self._held)
        return account

    def _recognise(self, text: _Text, account: Account) -> None:
        if isinstance(text[1], str) and len(text[1]) <= MOST_CHARACTERS:
            self._known[text] = account
            if len(self._known) > MOST_TEXTS:
                _forget_oldest(self._known)

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


def _forget_oldest(kept: dict[Any, Any]) -> None:
    with suppress(KeyError, RuntimeError, StopIteration):  # another thread was here
        del kept[next(iter(kept))]


def _failed(span: ReadableSpan, attributes: Mapping[str, Any]) -> bool:
    return semconv.ERROR_TYPE in attributes or span.status.status_code is StatusCode.ERROR


def _took(span: ReadableSpan) -> int:
    return (span.end_time or 0) - (span.start_time or 0)


def _text(attributes: Mapping[str, Any]) -> _Text:
    get = attributes.get
    return (
        get(semconv.DB_NAMESPACE) or get(semconv.OLD_DB_NAME),
        get(semconv.DB_QUERY_TEXT) or get(semconv.OLD_DB_STATEMENT),
    )
