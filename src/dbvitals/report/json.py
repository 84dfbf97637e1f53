"""The report as JSON, for programs.

Keys are stable: within a ``format``, none is renamed, removed or given another unit.

    format                    1
    started, until, duration  Unix times and their difference, in seconds
    processes, watched        processes in which something was seen, and all that were recorded
    totals                    calls, seconds, rows, errors: of all queries
    queries[]                 the most expensive first; those beyond 1,000 share the fingerprint "other"
        namespace, fingerprint, system, summary, text (normalised: no literals)
        calls, rows, errors, error_types {error.type: calls}
        seconds {total, mean, p50, p95, max}, share (of all queries' time, 0 to 1)
        caller                null, or {function, file, line}
    pools[]                   name, processes, max (null: no limit), peak, used, checkouts, timeouts, invalidations,
                              created, wait_seconds {total, p95, max}
    caches[]                  name, tier, requests, hits, misses, bypasses, errors, hit_ratio (null: no hits or misses)
    errors[]                  type, calls, queries (how many had it), summary, caller (of the one that had it most)
    findings[]                what a change would save, the worst first
        rule                  n_plus_one, join_or_selectinload (of which n_plus_one has the same loops), duplicate,
                              too_many_rows, idle_in_transaction, checkout_wait
        advice                what to do, in one line
        namespace, fingerprint, summary     the query; checkout_wait: the pool's name, "", and "pool" with its name
        caller                as above
        occurrences, queries  how often it was found, and the queries in it
        wasted                seconds
        example {trace, queries, rows, wasted}      the worst: its trace's id, numbers, seconds
    unjudged                  spans that came too fast to be looked at for findings
    faults                    {site: count} of dbvitals itself
    killed                    processes that were killed; up to a second of what each did may be missing
    unreadable                snapshots that could not be read
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dbvitals.report.model import Cache, Error, Pool, Query, Report
from dbvitals_processors.findings import Finding
from dbvitals_processors.query_span import Caller

FORMAT = 1


def to_json(report: Report) -> dict[str, Any]:
    """The report as JSON's types, with the keys above."""
    return {
        "format": FORMAT,
        "started": report.started,
        "until": report.until,
        "duration": report.duration,
        "processes": report.processes,
        "watched": report.watched,
        "totals": {"calls": report.calls, "seconds": report.total, "rows": report.rows, "errors": report.failed},
        "queries": [_query(query) for query in report.queries],
        "pools": [_pool(pool) for pool in report.pools],
        "caches": [_cache(cache) for cache in report.caches],
        "errors": [_error(error) for error in report.errors],
        "findings": [_finding(finding) for finding in report.findings],
        "unjudged": report.unjudged,
        "faults": dict(report.faults),
        "killed": report.killed,
        "unreadable": report.unreadable,
    }


def write(report: Report, path: Path) -> None:
    """Write the report to ``path``, replacing what is there.

    Raises:
        OSError: it cannot be written.
    """
    path.write_text(json.dumps(to_json(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _query(query: Query) -> dict[str, Any]:
    return {
        "namespace": query.namespace,
        "fingerprint": query.fingerprint,
        "system": query.system,
        "summary": query.summary,
        "text": query.text,
        "calls": query.calls,
        "rows": query.rows,
        "errors": query.errors,
        "error_types": dict(query.error_types),
        "seconds": {
            "total": query.total,
            "mean": query.mean,
            "p50": query.p50,
            "p95": query.p95,
            "max": query.longest,
        },
        "share": query.share,
        "caller": _caller(query.caller),
    }


def _pool(pool: Pool) -> dict[str, Any]:
    return {
        "name": pool.name,
        "processes": pool.processes,
        "max": pool.most,
        "peak": pool.peak,
        "used": pool.used,
        "checkouts": pool.checkouts,
        "timeouts": pool.timeouts,
        "invalidations": pool.invalidations,
        "created": pool.created,
        "wait_seconds": {"total": pool.waited, "p95": pool.p95_wait, "max": pool.longest_wait},
    }


def _cache(cache: Cache) -> dict[str, Any]:
    return {
        "name": cache.name,
        "tier": cache.tier,
        "requests": cache.requests,
        "hits": cache.hits,
        "misses": cache.misses,
        "bypasses": cache.bypasses,
        "errors": cache.errors,
        "hit_ratio": cache.hit_ratio,
    }


def _error(error: Error) -> dict[str, Any]:
    return {
        "type": error.type,
        "calls": error.calls,
        "queries": error.queries,
        "summary": error.summary,
        "caller": _caller(error.caller),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    example = finding.example
    return {
        "rule": finding.rule,
        "advice": finding.advice,
        "namespace": finding.namespace,
        "fingerprint": finding.fingerprint,
        "summary": finding.summary,
        "caller": _caller(finding.caller),
        "occurrences": finding.occurrences,
        "queries": finding.queries,
        "wasted": finding.wasted,
        "example": {
            "trace": example.trace,
            "queries": example.queries,
            "rows": example.rows,
            "wasted": example.nanoseconds * 1e-9,
        },
    }


def _caller(caller: Caller | None) -> dict[str, Any] | None:
    return None if caller is None else caller._asdict()
