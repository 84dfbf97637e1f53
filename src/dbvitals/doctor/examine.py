"""All steps, in the order of the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from dbvitals.doctor import alerting, collecting, environment, showing, storing, web
from dbvitals.doctor.model import Case, Check, Finding, Result, Status, broken, skipped

CHECKS = (
    Check("Service's environment", environment.look),
    Check("Collector's door", collecting.reach),
    Check("Span accepted", collecting.accept_span, ("Collector's door",)),
    Check("Metric accepted", collecting.accept_metric, ("Collector's door",)),
    Check("Collector shows the metric", collecting.expose, ("Metric accepted",)),
    Check("Prometheus", storing.answer),
    Check("Prometheus scrapes", storing.scrape, ("Prometheus",)),
    Check(
        "Prometheus has the metric",
        storing.value,
        ("Metric accepted", "Collector shows the metric", "Prometheus scrapes"),
    ),
    Check("Rules", storing.rules, ("Prometheus",)),
    Check("Alertmanager", alerting.answer),
    Check("Alerts reach it", alerting.connection, ("Prometheus", "Alertmanager")),
    Check("Traces backend has the span", showing.trace, ("Span accepted",)),
    Check("Grafana", showing.grafana),
)


def examine(
    case: Case, checks: Sequence[Check] = CHECKS, clock: Callable[[], float] = time.monotonic
) -> Iterator[Result]:
    """Every step's result, as it comes. What cannot be seen for an earlier fault is left out, the rest is looked at."""
    blind: dict[str, str] = {}
    for check in checks:
        began = clock()
        cause = next((blind[name] for name in check.needs if name in blind), None)
        finding = _run(check, case) if cause is None else skipped(f"cannot be seen: {cause} comes first")
        if cause is not None:
            blind[check.name] = cause
        elif finding.status is Status.BROKEN:
            blind[check.name] = check.name
        yield Result(check.name, finding.status, finding.seen, finding.advice, clock() - began)


def _run(check: Check, case: Case) -> Finding:
    try:
        return check.run(case)
    except web.Unanswered as error:
        return broken(str(error), "Look at what answers there.")
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        return broken(
            f"an answer that is not understood ({type(error).__name__}: {error})", "Look at what answers there."
        )


def stop(results: Sequence[Result]) -> Result | None:
    """Where the pipeline stops: the first step that is broken."""
    return next((result for result in results if result.status is Status.BROKEN), None)
