"""A folder that one stack at a time keeps its data in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

from dbvitals_instrumentation.config import ConfigError


class Lock:
    """Holds a folder for as long as this process lives, or until it is given back."""

    def __init__(self, folder: Path, parts: Sequence[str]) -> None:
        """Make the folder with its parts, and take it.

        Raises:
            ConfigError: it cannot be written to, or another process has it.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for part in parts:
                (folder / part).mkdir(exist_ok=True)
            self._descriptor: int | None = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{folder}: {error.strerror}; name a --folder that can be written to") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.give_back()
            raise ConfigError(f"{folder} is in use by another stack: stop that one, or name another --folder") from None

    def give_back(self) -> None:
        """Let others have the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def in_use(folder: Path) -> bool:
    """Whether a stack has the folder now."""
    try:
        with (folder / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there never was one
        return False
    return False
