"""Programs that are to run for as long as somebody wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Event

from dbvitals.stack.processes import NotStarted, Process

WINDOW = 60.0
DEATHS = 5
"""So many within :data:`WINDOW` seconds, and we give up."""

_LOOK = 0.25


def keep(
    processes: Sequence[Process],
    stopping: Event,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Start again what ends, with ever longer pauses, until ``stopping`` is set.

    Raises:
        NotStarted: a program ended :data:`DEATHS` times within a minute; the message has the last line of its log.
    """
    deaths: dict[str, list[float]] = {process.title: [] for process in processes}
    while not stopping.wait(_LOOK):
        for process in processes:
            if process.running:
                continue
            recent = deaths[process.title] = [when for when in deaths[process.title] if clock() - when < WINDOW]
            recent.append(clock())
            if len(recent) >= DEATHS:
                raise NotStarted(
                    f"{process.title} ended {len(recent)} times within a minute: {process.last_line()} ({process.log})"
                )
            say(f"{process.title} ended ({process.last_line()}) and is started again")
            if stopping.wait(2.0 ** (len(recent) - 2)):
                return
            try:
                process.start()
            except NotStarted as error:
                say(str(error))
