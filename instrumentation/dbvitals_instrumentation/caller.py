"""Where in the application a query comes from."""

from __future__ import annotations

import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Literal

from dbvitals_instrumentation import semconv

MOST_FRAMES = 80

_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"].replace("\\", "/") + "/"
_SCRIPTS = sysconfig.get_paths()["scripts"].replace("\\", "/") + "/"  # `celery`, `gunicorn`: they only call a main()
_OURSELVES = tuple(  # in a checkout, where each package has a source root of its own
    str(Path(__file__).parents[2] / root).replace("\\", "/") + "/"
    for root in ("instrumentation/dbvitals_instrumentation", "processors/dbvitals_processors")
)
_CARRIERS = frozenset(
    ("sqlalchemy", "sqlmodel", "flask_sqlalchemy", "redis", "fakeredis", "greenlet", "wrapt", "opentelemetry")
    + ("dbvitals_instrumentation", "dbvitals_optimizers", "dbvitals_processors")
    + ("ddtrace", "sentry_sdk", "starlette", "anyio", "gevent")
)
"""Installed packages that carry a query and never are its origin."""


def caller() -> dict[str, str | int] | None:
    """Function, file and line of the nearest frame that is the application's own, as ``code.*`` attributes.

    A package in site-packages, or the script that starts it, counts only where nothing else is found within
    :data:`MOST_FRAMES` frames; ``None`` where there is neither.
    """
    frame: FrameType | None = sys._getframe(1)
    installed: tuple[CodeType, int] | None = None
    for _ in range(MOST_FRAMES):
        if frame is None:
            break
        kind = _kind(frame.f_code.co_filename)
        if kind == "application":
            return _attributes(frame.f_code, frame.f_lineno)
        if kind == "installed" and installed is None:
            installed = (frame.f_code, frame.f_lineno)
        frame = frame.f_back or _frame_that_awaits(frame)
    return _attributes(*installed) if installed is not None else None


def _frame_that_awaits(outermost: FrameType) -> FrameType | None:
    """SQLAlchemy's async engines run in a greenlet: the application waits in the greenlet's parent."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return None
    parent = greenlet.getcurrent().parent
    frame: FrameType | None = parent.gr_frame if parent is not None else None
    return frame if frame is not outermost else None


def _attributes(code: CodeType, line: int) -> dict[str, str | int]:
    return {
        semconv.CODE_FUNCTION_NAME: getattr(code, "co_qualname", code.co_name),
        semconv.CODE_FILE_PATH: code.co_filename,
        semconv.CODE_LINE_NUMBER: line,
    }


@lru_cache(maxsize=4096)
def _kind(filename: str) -> Literal["application", "installed", "library"]:
    path = filename.replace("\\", "/")
    for folder in ("/site-packages/", "/dist-packages/"):
        if folder in path:
            package = path.rpartition(folder)[2].partition("/")[0]
            return "library" if package in _CARRIERS else "installed"
    if path.startswith(_SCRIPTS):
        return "installed"
    if path.startswith("<") or path.startswith(_STANDARD_LIBRARY) or path.startswith(_OURSELVES):
        return "library"
    return "application"
