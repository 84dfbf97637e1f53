"""What dbvitals itself has counted: totals of a process, a snapshot of ``dbvitals run``, its report as JSON.

Snapshots and reports are made one layer up. Here only their files are read: of a snapshot its frame and, in it, this
layer's own ``QueryTotals``; of a report the keys that it promises to keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dbvitals_instrumentation import semconv
from dbvitals_processors.hints.model import WorkloadQuery
from dbvitals_processors.hints.sources.merging import costliest_first, merge, per_hour
from dbvitals_processors.hints.sources.sql import POSTGRESQL, is_workload
from dbvitals_processors.workload import QueryTotals

FORMAT = 1
"""The format of snapshots and of reports that is understood here."""


class Foreign(ValueError):
    """Neither a snapshot nor a report of this version."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was counted between two moments, in Unix time."""

    started: float
    until: float
    queries: tuple[WorkloadQuery, ...]
    """Their calls and seconds are totals, not yet rates."""


def is_recording(data: Any) -> bool:
    """Whether JSON is a snapshot or a report, by its frame."""
    return isinstance(data, dict) and {"format", "started", "until", "queries"} <= data.keys()


def recording(data: Mapping[str, Any], namespace: str | None = None) -> Recording:
    """What a snapshot or a report says.

    Raises:
        Foreign: it is of another version, or broken.
    """
    try:
        if data["format"] != FORMAT:
            raise Foreign(f"format {data['format']!r}, not {FORMAT}: written by another version of dbvitals")
        read = _of_snapshot if "pid" in data else _of_report
        wanted = [query for query in map(read, data["queries"]) if is_meant(query.namespace, namespace)]
        return Recording(float(data["started"]), float(data["until"]), tuple(_queries(wanted)))
    except Foreign:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise Foreign(f"broken: {type(error).__name__}") from error


def from_recordings(recordings: Iterable[Recording]) -> list[WorkloadQuery]:
    """The workload of processes together, over the time from the first one's start to the last one's end.

    The most expensive statement comes first.
    """
    parts = list(recordings)
    if not parts:
        return []
    seconds = max(part.until for part in parts) - min(part.started for part in parts)
    return _rates((query for part in parts for query in part.queries), seconds)


def from_totals(totals: Iterable[QueryTotals], seconds: float, namespace: str | None = None) -> list[WorkloadQuery]:
    """The workload that a process, or several merged, counted in so many seconds."""
    return _rates(_queries(_of_totals(one) for one in totals if is_meant(one.namespace, namespace)), seconds)


def is_meant(namespace: str, wanted: str | None) -> bool:
    """Whether a ``db.namespace`` is the wanted one; ``shop`` stands for all schemas of ``shop|…``."""
    return wanted is None or namespace == wanted or namespace.partition("|")[0] == wanted


@dataclass(frozen=True, slots=True)
class _Counted:
    namespace: str
    system: str
    fingerprint: str
    text: str
    calls: float
    seconds: float


def _of_snapshot(one: Mapping[str, Any]) -> _Counted:
    return _of_totals(QueryTotals.from_json(one))


def _of_totals(one: QueryTotals) -> _Counted:
    return _Counted(one.namespace, one.system, one.fingerprint, one.text, one.calls, one.nanoseconds / 1e9)


def _of_report(one: Mapping[str, Any]) -> _Counted:
    seconds = one["seconds"]["total"]
    return _Counted(one["namespace"], one["system"], one["fingerprint"], one["text"], one["calls"], seconds)


def _queries(counted: Iterable[_Counted]) -> Iterator[WorkloadQuery]:
    for one in counted:
        known = one.fingerprint != semconv.OTHER and one.text and one.calls > 0
        if known and is_workload(one.text, one.system or POSTGRESQL):
            yield WorkloadQuery(str(one.fingerprint), one.text, float(one.calls), float(one.seconds))


def _rates(queries: Iterable[WorkloadQuery], seconds: float) -> list[WorkloadQuery]:
    rate = per_hour(seconds, shortest=1.0)
    return costliest_first(
        WorkloadQuery(query.id, query.sql, query.calls * rate, None if query.seconds is None else query.seconds * rate)
        for query in merge(queries)
    )
