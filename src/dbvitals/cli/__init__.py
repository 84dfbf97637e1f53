"""The command line."""

from dbvitals.cli.main import main

__all__ = ["main"]
