"""Keeps a fault of ours away from the application: swallowed where it happens, logged once per site, counted."""

from __future__ import annotations

import logging
import threading

_log = logging.getLogger("dbvitals")
_lock = threading.Lock()
_counts: dict[str, int] = {}


def fault(site: str, error: BaseException) -> None:
    """Count a fault of dbvitals at ``site``; the first one of a site is logged with its type and place.

    The message of the exception is left out of the log line: it may carry text of the application's data.
    """
    with _lock:
        count = _counts[site] = _counts.get(site, 0) + 1
    if count == 1:
        _log.error(
            "dbvitals: a fault in %s (%s at %s) was kept from the application; later ones are only counted. "
            "Please report it; DBVITALS_ENABLED=false switches dbvitals off.",
            site,
            type(error).__name__,
            _place(error),
        )


def faults() -> dict[str, int]:
    """How many faults each site has had in this process."""
    with _lock:
        return dict(_counts)


def reset() -> None:
    """Forget all counts (tests, and a child process after a fork)."""
    global _lock
    _lock = threading.Lock()  # a fork may have copied it while another thread held it
    _counts.clear()


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown line"
    return f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
