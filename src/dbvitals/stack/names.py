"""What Prometheus calls the metrics and attributes of the contract.

The Collector's exporter and Prometheus' own OTLP receiver translate alike: an underscore for each character that
Prometheus does not allow, the unit as a suffix, ``_total`` for what only grows. Dashboards and probes take their names
from here.
"""

from __future__ import annotations

from typing import Final, Literal

from dbvitals_instrumentation import semconv
from dbvitals_processors.hints.sources.prometheus import translated

Kind = Literal["counter", "gauge", "histogram"]
"""An up-down counter is a gauge here: it may fall."""

_UNITS: Final = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "%": "percent",
}
_PER: Final = {"s": "second", "m": "minute", "h": "hour", "d": "day"}


def metric(name: str, unit: str, kind: Kind) -> str:
    """A metric's name, without the suffixes of a histogram's series."""
    words = [word for word in translated(name).split("_") if word]
    if kind == "counter" and "total" in words:
        words.remove("total")
    suffix = [part for part in _suffix(unit) if part not in words]
    words += [word for part in suffix for word in part.split("_")]
    if kind == "gauge" and unit == "1":
        words.append("ratio")
    if kind == "counter":
        words.append("total")
    joined = "_".join(words)
    return f"_{joined}" if joined[:1].isdigit() else joined


def label(name: str) -> str:
    """An attribute's name."""
    found = translated(name)
    return f"key_{found}" if found[:1].isdigit() else found


def _suffix(unit: str) -> list[str]:
    """A unit in words: ``s/h`` is ``seconds`` and ``per_hour``. What stands in braces is a remark, no unit."""
    main, _, per = unit.partition("/")
    words = [] if "{" in main or main in ("", "1") else [_UNITS.get(main, translated(main))]
    if per and "{" not in per:
        words.append(f"per_{_PER.get(per, translated(per))}")
    return words


# --- Metrics -----------------------------------------------------------------------------------------------------
OPERATION_DURATION: Final = metric(semconv.OPERATION_DURATION, semconv.SECONDS, "histogram")
RETURNED_ROWS: Final = metric(semconv.RETURNED_ROWS, semconv.ROWS, "histogram")
CONNECTION_COUNT: Final = metric(semconv.CONNECTION_COUNT, semconv.CONNECTIONS, "gauge")
CONNECTION_MAX: Final = metric(semconv.CONNECTION_MAX, semconv.CONNECTIONS, "gauge")
CONNECTION_IDLE_MAX: Final = metric(semconv.CONNECTION_IDLE_MAX, semconv.CONNECTIONS, "gauge")
CONNECTION_IDLE_MIN: Final = metric(semconv.CONNECTION_IDLE_MIN, semconv.CONNECTIONS, "gauge")
CONNECTION_PENDING_REQUESTS: Final = metric(semconv.CONNECTION_PENDING_REQUESTS, semconv.REQUESTS, "gauge")
CONNECTION_TIMEOUTS: Final = metric(semconv.CONNECTION_TIMEOUTS, semconv.TIMEOUTS, "counter")
CONNECTION_CREATE_TIME: Final = metric(semconv.CONNECTION_CREATE_TIME, semconv.SECONDS, "histogram")
CONNECTION_WAIT_TIME: Final = metric(semconv.CONNECTION_WAIT_TIME, semconv.SECONDS, "histogram")
CONNECTION_USE_TIME: Final = metric(semconv.CONNECTION_USE_TIME, semconv.SECONDS, "histogram")
CONNECTION_INVALIDATIONS: Final = metric(semconv.CONNECTION_INVALIDATIONS, semconv.INVALIDATIONS, "counter")
QUERY_INFO: Final = metric(semconv.QUERY_INFO, semconv.QUERIES, "gauge")
QUERY_N_PLUS_ONE: Final = metric(semconv.QUERY_N_PLUS_ONE, semconv.OCCURRENCES, "counter")
QUERY_SLOW: Final = metric(semconv.QUERY_SLOW, semconv.QUERIES, "counter")
CACHE_REQUESTS: Final = metric(semconv.CACHE_REQUESTS, semconv.REQUESTS, "counter")
CACHE_OPERATION_DURATION: Final = metric(semconv.CACHE_OPERATION_DURATION, semconv.SECONDS, "histogram")
CACHE_INVALIDATIONS: Final = metric(semconv.CACHE_INVALIDATIONS, semconv.INVALIDATIONS, "counter")
CACHE_EVICTIONS: Final = metric(semconv.CACHE_EVICTIONS, semconv.EVICTIONS, "counter")
INDEX_HINT_SAVING: Final = metric(semconv.INDEX_HINT_SAVING, semconv.SECONDS_PER_HOUR, "gauge")
INDEX_HINT_FIRST_SEEN: Final = metric(semconv.INDEX_HINT_FIRST_SEEN, semconv.SECONDS, "gauge")
POOL_RESIZES: Final = metric(semconv.POOL_RESIZES, semconv.RESIZES, "counter")
CIRCUIT_STATE: Final = metric(semconv.CIRCUIT_STATE, semconv.STATE, "gauge")
FAULTS: Final = metric(semconv.FAULTS, semconv.FAULT_UNIT, "counter")
DROPPED: Final = metric(semconv.DROPPED, semconv.ITEMS, "counter")

# --- Labels ------------------------------------------------------------------------------------------------------
SERVICE: Final = label(semconv.SERVICE_NAME)
ENVIRONMENT: Final = label(semconv.DEPLOYMENT_ENVIRONMENT_NAME)
NAMESPACE: Final = label(semconv.DB_NAMESPACE)
COLLECTION: Final = label(semconv.DB_COLLECTION_NAME)
SUMMARY: Final = label(semconv.DB_QUERY_SUMMARY)
TEXT: Final = label(semconv.DB_QUERY_TEXT)
FINGERPRINT: Final = label(semconv.FINGERPRINT)
ERROR_TYPE: Final = label(semconv.ERROR_TYPE)
FUNCTION: Final = label(semconv.CODE_FUNCTION_NAME)
SLOW_REASON: Final = label(semconv.SLOW_REASON)
POOL: Final = label(semconv.POOL_NAME)
CONNECTION_STATE: Final = label(semconv.CONNECTION_STATE)
RESIZE_DIRECTION: Final = label(semconv.POOL_RESIZE_DIRECTION)
CACHE: Final = label(semconv.CACHE_NAME)
TIER: Final = label(semconv.CACHE_TIER)
RESULT: Final = label(semconv.CACHE_RESULT)
CACHE_OPERATION: Final = label(semconv.CACHE_OPERATION)
CIRCUIT: Final = label(semconv.CIRCUIT_NAME)
HINT: Final = label(semconv.INDEX_HINT_ID)
HINT_COLUMNS: Final = label(semconv.INDEX_HINT_COLUMNS)
HINT_DDL: Final = label(semconv.INDEX_HINT_DDL)
HINT_VERIFICATION: Final = label(semconv.INDEX_HINT_VERIFICATION)
HINT_STATE: Final = label(semconv.INDEX_HINT_STATE)
REASON: Final = label(semconv.REASON)
SITE: Final = label(semconv.SITE)
