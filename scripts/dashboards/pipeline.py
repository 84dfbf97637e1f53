"""The pipeline itself: whether what services send arrives, and how late."""

from __future__ import annotations

from dashboards.board import Board, Row
from dashboards.collector import COLLECTOR, DOOR, OUT, all_signals, collector
from dashboards.limits import ANY, ANY_BAD, FULL
from dashboards.panels import Query, graph, named, number
from dashboards.promql import RECORDED, by, durations, equal, rate, share
from dashboards.variables import services
from dbvitals.stack.names import (
    DROPPED,
    FAULTS,
    FINGERPRINT,
    REASON,
    SERVICE,
    SITE,
    label,
)
from dbvitals_instrumentation import semconv

SERVICES = RECORDED
OURS = SERVICES("", f'__name__=~"({label("db.client")}|{label(semconv.SCOPE)})_.+"')

NOW = Row(
    "Now",
    (
        number(
            "Targets down",
            "Scrape targets that do not answer. See which below, and whether they run.",
            "short",
            "count(up == 0) or vector(0)",
            steps=ANY_BAD,
            width=4,
        ),
        number(
            "Spans and points per second",
            "What the Collectors take from services. Zero: nobody sends, or nobody reaches them.",
            "cps",
            all_signals("receiver_accepted"),
            width=4,
        ),
        number(
            "Refused per second",
            "What the Collectors turned away, as memory or a queue was full. Services keep and try again for a while: "
            "add memory, or a Collector.",
            "cps",
            all_signals("receiver_refused"),
            steps=ANY_BAD,
            width=4,
        ),
        number(
            "Fullest queue",
            "How full the fullest sending queue is. It fills while a backend is away or too slow.",
            "percentunit",
            f"max({collector('otelcol_exporter_queue_size')} / on (instance, exporter, data_type)"
            f" {collector('otelcol_exporter_queue_capacity')})",
            steps=FULL,
            width=4,
        ),
        number(
            "Series of dbvitals",
            "Series of the selected services that Prometheus has. It grows with instances, queries and pools; a jump "
            "is a label that holds values.",
            "short",
            f"count({OURS})",
            width=4,
        ),
        number(
            "Faults of dbvitals per second",
            "Errors inside the instrumentation, kept from the application. Any is a bug: its log line names the place.",
            "cps",
            f"{rate(SERVICES(FAULTS))} or vector(0)",
            steps=ANY,
            width=4,
        ),
    ),
)

PROMETHEUS = Row(
    "Prometheus and Alertmanager",
    (
        graph(
            "Age of the newest sample",
            "How long ago each target was scraped: up to its interval. A line that climbs is a target that is gone.",
            "s",
            Query(by(("job", "instance"), "time() - timestamp(up)", "max"), "{{job}} {{instance}}"),
            steps=((None, "green"), (60, "red")),
        ),
        graph(
            "Scrapes",
            "How long a scrape takes. Near the interval, samples are late and then missing: fewer series, or scrape "
            "less often.",
            "s",
            Query(by(("job", "instance"), "scrape_duration_seconds", "max"), "{{job}} {{instance}}"),
        ),
        graph(
            "Samples taken in",
            "By Prometheus, from all its targets. Compare a jump with the series below.",
            "cps",
            Query(rate("prometheus_tsdb_head_samples_appended_total", "instance"), "{{instance}}"),
        ),
        graph(
            "Notifications",
            "What Alertmanager sent, by receiver's kind, and what failed. Failures: its log names the receiver and the "
            "error.",
            "cps",
            Query(rate("alertmanager_notifications_total", "integration"), "sent {{integration}}"),
            Query(rate("alertmanager_notifications_failed_total", "integration"), "failed {{integration}}"),
        ),
        graph(
            "Alerts",
            "Alerts that Alertmanager holds, by state. “suppressed” are silenced or inhibited.",
            "short",
            Query(by(("state",), "alertmanager_alerts"), "{{state}}"),
        ),
        graph(
            "Alerts dropped by Prometheus",
            "Notifications that never reached Alertmanager. Is it there, and reachable from Prometheus?",
            "cps",
            Query(rate("prometheus_notifications_dropped_total", "instance"), "{{instance}}"),
            steps=ANY_BAD,
        ),
    ),
)

OWN = Row(
    "dbvitals in the services",
    (
        graph(
            "Series by service",
            "Series of each service in Prometheus. What grows without end is a label that holds values, or instances "
            "that come and go.",
            "short",
            Query(by((SERVICE,), OURS, "count"), named(SERVICE)),
            width=6,
        ),
        graph(
            "Share without a series of its own",
            "Calls of queries that share the fingerprint “other”, by service, and what the SDK itself put together as "
            "too many attributes. Above a few per cent, raise DBVITALS_MAX_FINGERPRINTS, or ask with parameters.",
            "percentunit",
            Query(
                share(
                    rate(durations("count", SERVICES, equal(FINGERPRINT, semconv.OTHER)), SERVICE),
                    rate(durations("count", SERVICES), SERVICE),
                ),
                f"other {named(SERVICE)}",
            ),
            Query(
                share(
                    rate(durations("count", SERVICES, 'otel_metric_overflow="true"'), SERVICE),
                    rate(durations("count", SERVICES), SERVICE),
                ),
                f"overflow {named(SERVICE)}",
            ),
            steps=((None, "green"), (0.05, "orange"), (0.2, "red")),
            width=6,
        ),
        graph(
            "Faults by place",
            "Errors inside the instrumentation, kept from the application. Each place logs once: report what it says.",
            "cps",
            Query(rate(SERVICES(FAULTS), SERVICE, SITE), named(SERVICE, SITE)),
            steps=ANY,
            width=6,
        ),
        graph(
            "Dropped by reason",
            "Calls that were not learnt from, or not counted as slow, as too many came at once. Their durations are "
            "counted all the same.",
            "cps",
            Query(rate(SERVICES(DROPPED), SERVICE, REASON), named(SERVICE, REASON)),
            steps=ANY,
            width=6,
        ),
    ),
)

BOARD = Board(
    name="pipeline",
    title="Pipeline health",
    description="Whether what services send arrives, and how late.",
    variables=(*services(instances=False), COLLECTOR),
    rows=(NOW, DOOR, OUT, PROMETHEUS, OWN),
)
