"""The report of what was seen: in a terminal, or as JSON."""

from dbvitals.report import json, terminal
from dbvitals.report.folder import load
from dbvitals.report.model import Report, merge

__all__ = ["Report", "json", "load", "merge", "terminal"]
