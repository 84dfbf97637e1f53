"""Interpret: verdicts on what was observed, and hints at what would help."""
