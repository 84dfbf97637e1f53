"""Reads the snapshots that the recorders of one run left in their folder."""

from __future__ import annotations

import json
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
    return merge(snapshots, unreadable=unreadable)
