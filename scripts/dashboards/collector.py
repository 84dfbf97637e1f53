"""The Collector, seen through its own telemetry: what comes in, and what goes out."""

from __future__ import annotations

from dashboards.board import Row
from dashboards.limits import ANY_BAD, FULL
from dashboards.panels import Query, graph
from dashboards.promql import Scope, by, rate
from dashboards.variables import SOME, several

COLLECTOR_UP = '{__name__=~"otelcol_process_uptime(_seconds)?(_total)?"}'
COLLECTOR = several(
    "collector", "Collector", "The Collector's own address for telemetry.", COLLECTOR_UP, "instance", SOME
)

OF_COLLECTOR = 'instance=~"$collector"'

SIGNALS = ("spans", "metric_points")


def collector(name: str, unit: str = "", matchers: tuple[str, ...] = ()) -> str:
    """A metric of the Collector. Its names have suffixes for kind and unit, or not, as its own reader is configured."""
    suffix = f"(_{unit})?" if unit else ""
    return Scope((f'__name__=~"{name}{suffix}(_total)?"', OF_COLLECTOR, *matchers))("")


UPTIME = collector("otelcol_process_uptime", "seconds")


def _flow(verb: str, signal: str, *labels: str) -> str:
    return rate(collector(f"otelcol_{verb}_{signal}"), *labels)


def _at_door(verb: str) -> list[Query]:
    return [
        Query(_flow(f"receiver_{verb}", signal, "receiver", "transport"), _named(verb, signal)) for signal in SIGNALS
    ]


def _named(verb: str, signal: str) -> str:
    return f"{verb} {signal.replace('_', ' ')} {{{{receiver}}}} {{{{transport}}}}"


def _sent(signal: str) -> Query:
    return Query(_flow("exporter_sent", signal, "exporter"), f"{signal.replace('_', ' ')} {{{{exporter}}}}")


def _unsent(verb: str, signal: str) -> Query:
    """Zero, too, where an exporter never failed: that series begins with the first failure."""
    found = (
        f"{_flow(f'exporter_{verb}_failed', signal, 'exporter')} or 0 * {_flow('exporter_sent', signal, 'exporter')}"
    )
    return Query(found, f"{verb} failed, {signal.replace('_', ' ')} {{{{exporter}}}}")


def _lost(name: str, what: str, *matchers: str) -> Query:
    """By each Collector: zero, too, where none was lost, for that series begins with the first loss."""
    series = collector(name, matchers=matchers)
    return Query(f"{rate(series, 'instance')} or 0 * {by(('instance',), UPTIME)}", f"{what} {{{{instance}}}}")


def all_signals(verb: str) -> str:
    """Added up after the rate, which cannot tell two metrics apart once it has taken their names."""
    return " + ".join(f"({_flow(verb, signal)} or vector(0))" for signal in SIGNALS)


DOOR = Row(
    "Into the Collector",
    (
        graph(
            "Accepted",
            "Spans and metric points that came in.",
            "cps",
            *_at_door("accepted"),
        ),
        graph(
            "Refused and failed",
            "Refused: turned away for want of memory or room in a queue. Failed: broken on the way in. Both should be "
            "zero.",
            "cps",
            *_at_door("refused"),
            *_at_door("failed"),
            steps=ANY_BAD,
        ),
        graph(
            "Memory",
            "What the Collector's process takes. Near its limit (DBVITALS_MEMORY_LIMIT_MIB) it refuses.",
            "bytes",
            Query(by(("instance",), collector("otelcol_process_memory_rss", "bytes")), "resident {{instance}}"),
            Query(by(("instance",), collector("otelcol_process_runtime_heap_alloc_bytes")), "heap {{instance}}"),
        ),
    ),
)

OUT = Row(
    "Out of the Collector",
    (
        graph(
            "Sent",
            "Spans to the traces' backend, metric points to Prometheus' exporter.",
            "cps",
            *(_sent(signal) for signal in SIGNALS),
        ),
        graph(
            "Failed to send",
            "“send”: given up after all retries. “enqueue”: the queue was full. Either is data that is lost: bring the "
            "backend back, or enlarge the queue.",
            "cps",
            *(_unsent(verb, signal) for verb in ("send", "enqueue") for signal in SIGNALS),
            steps=ANY_BAD,
        ),
        graph(
            "Sending queues",
            "How full each queue is. It may fill while a backend is away, and must empty afterwards.",
            "percentunit",
            Query(
                f"{collector('otelcol_exporter_queue_size')} / on (instance, exporter, data_type)"
                f" {collector('otelcol_exporter_queue_capacity')}",
                "{{exporter}} {{data_type}} {{instance}}",
            ),
            steps=FULL,
            top=1,
        ),
        graph(
            "Lost inside",
            "Points of deltas that could not be added up, as there are more streams than are kept, and traces that a "
            "gateway had to forget before it decided: give it more room, or more gateways.",
            "cps",
            _lost("otelcol_deltatocumulative_datapoints", "delta points", 'error!=""'),
            _lost("otelcol_processor_tail_sampling_sampling_trace_dropped_too_early", "traces"),
            steps=ANY_BAD,
        ),
        graph(
            "Uptime",
            "How long each Collector has been running. One that begins anew again and again lacks memory, or its "
            "configuration is refused.",
            "s",
            Query(by(("instance",), UPTIME, "max"), "{{instance}}"),
        ),
    ),
)
