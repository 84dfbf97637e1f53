"""Programs that are started, awaited, and stopped again: each with its own log, none left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from dbvitals.stack.watchdog import Watchdog

START = 30.0
"""Seconds until a program must answer."""

STOP = 10.0
"""Seconds that a program has for its farewell."""


class NotStarted(Exception):
    """A program ended or did not answer; the message is one line, with the last one of its log."""


def free_ports(number: int) -> list[int]:
    """Loopback ports that nobody listens on, all different."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def answers(url: str, timeout: float = 2.0) -> bool:
    """Whether an HTTP server answers ``url`` with a success."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - our own loopback addresses
            return 200 <= int(answer.status) < 300
    except (OSError, urllib.error.URLError, ValueError):
        return False


class Process:
    """A program that is ready when its URL answers. It may be killed and started again."""

    def __init__(
        self,
        title: str,
        command: Sequence[str | Path],
        *,
        ready: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self.title = title
        self.log = log
        self._command = [str(part) for part in command]
        self._ready = ready
        self._environment = {**os.environ, **(environment or {})}
        self._folder = folder
        self._watchdog = watchdog
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Process:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the running program.

        Raises:
            NotStarted: it does not run.
        """
        if self._process is None:
            raise NotStarted(f"{self.title} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return when it answers.

        Raises:
            NotStarted: it ended, or did not answer within :data:`START` seconds.
        """
        if self.running:
            return
        self._end(signal.SIGKILL)  # has ended by itself: is forgotten
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - programs of the pipeline, found by name
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,  # Ctrl-C is ours to hand on
            )
        if self._watchdog is not None:
            self._watchdog.watch(self._process.pid)
        deadline = time.monotonic() + START
        try:
            while not answers(self._ready):
                if self._process.poll() is not None:
                    raise NotStarted(f"{self.title} ended at its start: {self.last_line()} ({self.log})")
                if time.monotonic() > deadline:
                    raise NotStarted(f"{self.title} does not answer {self._ready}: {self.last_line()} ({self.log})")
                time.sleep(0.05)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask it to end; after :data:`STOP` seconds no more asking."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        if self._watchdog is not None:
            self._watchdog.forget(process.pid)

    def last_line(self) -> str:
        """Of what it has said."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "it said nothing"
