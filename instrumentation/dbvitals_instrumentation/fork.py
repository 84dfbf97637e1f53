"""Lets a forked child find our locks open: another thread, which the child does not have, may have held one."""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

_holders: WeakSet[Any] = WeakSet()


def renew_lock(holder: Any) -> None:
    """Give ``holder`` a new ``_lock`` in every child process."""
    _holders.add(holder)


def _after_fork() -> None:
    for holder in list(_holders):
        holder._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
