"""The wiring of verdicts: what judges queries where they end, and the span processor through which every span goes.

Span processors that a provider has when this is attached get flagged spans; one that is added later gets the flags of
dbvitals' own spans alone, unless it is wrapped in a ``SlowQueryProcessor`` by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from dbvitals_instrumentation import guard
from dbvitals_instrumentation.config import Config
from dbvitals_instrumentation.database import See
from dbvitals_instrumentation.telemetry import Telemetry
from dbvitals_processors.detector import Detector
from dbvitals_processors.docket import Docket

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from dbvitals_processors.inbox import Inbox
    from dbvitals_processors.slow_queries import SlowQueryProcessor
    from dbvitals_processors.trace_rules import TraceRules


PATIENCE = 2.0
"""Seconds that :meth:`Verdicts.close` waits for the worker at most."""
_MODULE = "dbvitals_processors.slow_queries"
_INBOX = "dbvitals_processors.inbox"


class Verdicts:
    """Slow queries and N+1s of one process.

    Args:
        config: with ``slow`` set.
        tracer_provider: whose span processors are to see flagged spans; the global one, as soon as it is the SDK's and
            has any, if not given.
        meter_provider: the global one, whenever it is set, if not given.
    """

    def __init__(
        self,
        config: Config,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._config = config
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._composite: Any = None  # the processor of processors that ours is in
        self._processor: SlowQueryProcessor | None = None
        self._inner: tuple[Any, ...] = ()  # what it is around
        self._rules: TraceRules | None = None
        self._inbox: Inbox | None = None
        self._closed = False
        theirs = self._users_own()
        self._owned = theirs is None
        self.detector = Detector(config, meter_provider=meter_provider) if theirs is None else theirs.detector
        self._docket = self.detector.docket = Docket(config.n_plus_one_threshold, self.detector.drop)
        self.detector.readers.append(self._look)
        self.detector.forgetters.append(self._forget)
        self._look()

    def judge(self) -> Callable[[Mapping[str, Any]], See]:
        """What the instrumentation is to ask for the judge of each query."""
        return self.detector.judge_of if self._closed else self.detector.judge()

    def close(self) -> None:
        """Finish what waits, and give the provider its span processors back."""
        self._closed = True
        detector = self.detector
        try:
            self._detach()
        except Exception as error:
            guard.fault("verdicts.detach", error)
        detector.rest()
        detector.readers.remove(self._look)
        detector.forgetters.remove(self._forget)
        detector.docket = None
        detector.worker.flush(PATIENCE)
        if self._rules is not None:
            self._rules.follow(None)
        if self._inbox is not None:
            self._inbox.keeps = True
        if self._owned:
            detector.close()

    def _forget(self) -> None:
        self._docket.clear()
        if self._rules is not None:
            self._rules.clear()

    def _look(self) -> None:
        """Join the span processors once they are there; now and then on the worker."""
        try:
            if self._rules is not None:
                self._rules.expire()
            elif processors := self._processors():
                self._follow(processors)
        except Exception as error:
            guard.fault("verdicts.look", error)

    def _processors(self) -> tuple[Any, ...]:
        """The provider's span processors, none where it is not the SDK's: then we do not import the SDK either."""
        provider = self._tracer_provider or trace.get_tracer_provider()
        self._composite = getattr(provider, "_active_span_processor", None)
        return getattr(self._composite, "_span_processors", None) or ()

    def _users_own(self) -> SlowQueryProcessor | None:
        """The processor that the user has put there: then that is the one."""
        return next((one for one in self._processors() if type(one).__module__ == _MODULE), None)

    def _follow(self, processors: tuple[Any, ...]) -> None:
        """Judge traces as they end, and put one processor around all those that the provider has.

        Where `dbvitals run` has rules of its own, they are the ones, and its inbox need keep no spans for them.
        """
        from dbvitals_processors.trace_rules import TraceRules

        self._inbox = next((one for one in processors if type(one).__module__ == _INBOX and one.rules), None)
        rules = self._inbox.rules if self._inbox is not None else None
        self._rules = rules or TraceRules(self._config.n_plus_one_threshold)
        self._rules.telemetry = Telemetry(self._tracer_provider, self._meter_provider)
        self._rules.follow(self._docket)
        if self._inbox is not None:
            self._inbox.keeps = False
        if self.detector.is_fed:
            return
        from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor

        from dbvitals_processors.slow_queries import SlowQueryProcessor

        inner: Any = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call, unused-ignore]
        with self._composite._lock:
            self._inner = inner._span_processors = self._composite._span_processors
            inner = inner if len(self._inner) > 1 else self._inner[0]
            self._processor = SlowQueryProcessor(inner, detector=self.detector)
            self._composite._span_processors = (self._processor,)

    def _detach(self) -> None:
        if self._processor is None:
            return
        with self._composite._lock:
            self._composite._span_processors = tuple(
                processor
                for one in self._composite._span_processors
                for processor in (self._inner if one is self._processor else (one,))
            )
        self._processor.detach()
        self._processor = None
