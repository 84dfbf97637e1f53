"""Counts the rows of a result as the application fetches them, for drivers that do not know their number.

SQLite and server-side cursors produce rows while they are fetched. SQLAlchemy lets an execution context name the
strategy by which its result fetches; ours fetch in the same way, and count and time it. Nothing is fetched that the
application does not ask for.
"""

from __future__ import annotations

import collections
import gc
import os
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context import Context
from sqlalchemy.engine import cursor as _cursor

Ended = Callable[[int, int, "BaseException | None"], None]
"""Called once when a result has ended, with its rows (-1 if none were fetched), the nanoseconds spent fetching, and
the error if it failed."""


class Orphans:
    """Results that the garbage collector found unfinished.

    The collector may run in the middle of anything, also where a lock of the SDK is held; what must be said of such
    a result waits here until ``settle``.
    """

    def __init__(self) -> None:
        self._collecting = False
        self.waiting: deque[tuple[Ended, int, int]] = deque()

    def watch(self) -> None:
        """Follow the garbage collector."""
        if self._follow not in gc.callbacks:
            gc.callbacks.append(self._follow)

    def unwatch(self) -> None:
        """Stop following it."""
        if self._follow in gc.callbacks:
            gc.callbacks.remove(self._follow)
        self._collecting = False

    def add(self, ended: Ended, rows: int, busy: int) -> None:
        """Say that a result has ended, now or, within the collector, later."""
        if self._collecting:
            self.waiting.append((ended, rows, busy))
        else:
            ended(rows, busy, None)

    def settle(self) -> None:
        """Say what had to wait."""
        while self.waiting:
            try:
                ended, rows, busy = self.waiting.popleft()
            except IndexError:  # another thread settles too
                return
            ended(rows, busy, None)

    def forget(self) -> None:
        """Say nothing of what had to wait."""
        self.waiting.clear()
        self._collecting = False

    def _follow(self, phase: str, _info: object) -> None:
        self._collecting = phase == "start"


orphans = Orphans()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=orphans.forget)  # they are the parent's to tell of


def _counted(base: type[Any]) -> type[Any]:
    """A fetch strategy of SQLAlchemy that counts: ``ended`` hears of the result's end, or of its last reference."""

    has_init = base.__init__ is not object.__init__

    class Counted(base):  # type: ignore[misc]
        __slots__ = ("busy", "ended", "inside", "rows")

        ahead = False
        """Whether the first row is to be fetched before the application asks: see ``fetch_first``."""

        def __init__(self, ended: Ended | None, *args: Any, **options: Any) -> None:
            self.ended = ended
            self.rows = -1  # a result that nobody fetched from says nothing of its rows
            self.busy = 0
            self.inside = False  # one fetch method of a strategy may call another
            if has_init:
                base.__init__(self, *args, **options)

        def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
            if self.inside:
                return base.fetchall(self, result, dbapi_cursor)
            self.inside = True
            start = perf_counter_ns()
            try:
                rows = base.fetchall(self, result, dbapi_cursor)
            except BaseException as error:
                self.failed(start, error)
                raise
            self.inside = False
            if result.cursor_strategy is self or self.rows >= 0 or self.ended is None:
                self.got(len(rows), start, result)
            else:  # all at once, as nearly always: without a detour
                ended, self.ended = self.ended, None
                ended(len(rows), self.busy + perf_counter_ns() - start, None)
            return rows

        def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
            if self.inside:
                return base.fetchmany(self, result, dbapi_cursor, size)
            self.inside = True
            start = perf_counter_ns()
            try:
                rows = base.fetchmany(self, result, dbapi_cursor, size)
            except BaseException as error:
                self.failed(start, error)
                raise
            self.got(len(rows), start, result)
            return rows

        def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
            if self.inside:
                return base.fetchone(self, result, dbapi_cursor, hard_close)
            self.inside = True
            start = perf_counter_ns()
            try:
                row = base.fetchone(self, result, dbapi_cursor, hard_close)
            except BaseException as error:
                self.failed(start, error)
                raise
            self.got(row is not None, start, result)
            return row

        def got(self, number: int, start: int, result: Any) -> None:
            self.inside = False
            self.busy += perf_counter_ns() - start
            self.rows = number if self.rows < 0 else self.rows + number
            if result.cursor_strategy is not self:  # the fetch closed the result
                self.end(None)

        def failed(self, start: int, error: BaseException) -> None:
            self.inside = False
            self.busy += perf_counter_ns() - start
            self.end(error)

        def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
            base.soft_close(self, result, dbapi_cursor)
            if not self.inside:
                self.end(None)

        def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
            base.hard_close(self, result, dbapi_cursor)
            if not self.inside:
                self.end(None)

        def end(self, error: BaseException | None) -> None:
            ended, self.ended = self.ended, None
            if ended is not None:
                ended(self.rows, self.busy, error)

        def __del__(self) -> None:
            try:
                ended = self.ended
            except AttributeError:  # its making failed
                return
            if ended is not None:
                orphans.add(ended, self.rows, self.busy)

    return Counted


class CountedBufferedFetch(_counted(_cursor.BufferedRowCursorFetchStrategy)):  # type: ignore[misc]
    """SQLAlchemy's strategy for server-side cursors, counted.

    It asks the driver for the first row at once, as SQLAlchemy's does, since some drivers know the columns only then.
    """

    __slots__ = ("within",)

    ahead = True

    def __init__(self, ended: Ended | None, *args: Any, within: Context | None = None, **options: Any) -> None:
        self.within = within
        super().__init__(ended, *args, initial_buffer=collections.deque(), **options)

    def fetch_first(self, dbapi_cursor: Any) -> None:
        """Fetch the first row; what the driver raises is the application's to hear."""
        start = perf_counter_ns()
        try:
            rows = self.ask(dbapi_cursor.fetchmany, 1)
        except BaseException as error:
            self.failed(start, error)
            raise
        self.busy += perf_counter_ns() - start
        self._rowbuffer.extend(rows)

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        return self.ask(super().fetchall, result, dbapi_cursor)

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        return self.ask(super().fetchmany, result, dbapi_cursor, size)

    def _buffer_rows(self, result: Any, dbapi_cursor: Any) -> None:  # what fetchone does now and then
        self.ask(super()._buffer_rows, result, dbapi_cursor)

    def ask(self, fetch: Callable[..., Any], *args: Any) -> Any:
        """Fetch in the context that the driver's part of this query has."""
        if self.within is None:
            return fetch(*args)
        token = context_api.attach(self.within)
        try:
            return fetch(*args)
        finally:
            context_api.detach(token)


class CountedFetch(_counted(_cursor.CursorFetchStrategy)):  # type: ignore[misc]
    """SQLAlchemy's default strategy, counted."""

    __slots__ = ()

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        """Go on in batches of ``num`` rows, as the default strategy does, and go on counting."""
        mine: Any = self
        ended, mine.ended = mine.ended, None
        buffered = CountedBufferedFetch(ended, dbapi_cursor, {"max_row_buffer": num}, growth_factor=0)
        buffered.rows, buffered.busy = mine.rows, mine.busy
        result.cursor_strategy = buffered


def count_rows(context: Any, ended: Ended, within: Context | None = None) -> bool:
    """Have the rows of an execution's result counted; false where the dialect has a strategy of its own.

    Where the strategy is ``ahead``, its first row is the caller's to fetch. ``within`` is the context in which a
    server-side cursor fetches, if that matters.
    """
    if context.cursor_fetch_strategy is not _cursor._DEFAULT_FETCH:
        return False
    streams = context._is_server_side or (
        not (context.is_crud or context.is_text) and context.execution_options.get("stream_results", False)
    )
    if streams:
        context.cursor_fetch_strategy = CountedBufferedFetch(
            ended, context.cursor, context.execution_options, within=within
        )
    else:
        context.cursor_fetch_strategy = CountedFetch(ended)
    return True
