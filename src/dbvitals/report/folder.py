"""Reads the snapshots that the recorders of one run left in their folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from dbvitals.report.model import Report, merge
from dbvitals.snapshot import Snapshot, UnreadableSnapshot, from_json


def load(folder: Path) -> Report:
    """The report on all processes that recorded into ``folder``; files that are no snapshots are counted, not read."""
    snapshots: list[Snapshot] = []
    unreadable = 0
    for file in sorted(folder.glob("*.json")):
        try:
            snapshots.append(from_json(json.loads(file.read_text(encoding="utf-8"))))
        except (UnreadableSnapshot, ValueError):
            unreadable += 1
    return merge(snapshots, killed=_killed(snapshots), unreadable=unreadable)


def _killed(snapshots: Iterable[Snapshot]) -> int:
    """How many processes are gone without a final snapshot."""
    newest: dict[int, Snapshot] = {}  # an older one of the same number went on as another program
    for snapshot in sorted(snapshots, key=lambda snapshot: snapshot.started):
        newest[snapshot.pid] = snapshot
    return sum(not snapshot.final and _gone(snapshot.pid) for snapshot in newest.values())


def _gone(pid: int) -> bool:
    try:
        if os.name == "posix":  # elsewhere this would end it
            os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives, and is another user's
        return False
    return os.name != "posix"
