"""What a failed Redis command says of itself: the prefix of the server's error, never the message."""

from __future__ import annotations

from dbvitals_instrumentation import errors

_BY_CLASS = {
    "AskError": "ASK",
    "AuthenticationWrongNumberOfArgsError": "ERR",
    "BusyLoadingError": "LOADING",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "ExecAbortError": "EXECABORT",
    "MasterDownError": "MASTERDOWN",
    "ModuleError": "ERR",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "NoScriptError": "NOSCRIPT",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
"""redis-py takes the prefix off errors that have a class of their own, and before 8 it kept it nowhere."""

_PREFIXES = frozenset(
    [
        "BUSY",
        "BUSYGROUP",
        "BUSYKEY",
        "CLUSTERDOWN",
        "CROSSSLOT",
        "DENIED",
        "ERR",
        "EXECABORT",
        "IOERR",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "NOAUTH",
        "NOGOODSLAVE",
        "NOGROUP",
        "NOPERM",
        "NOPROTO",
        "NOQUORUM",
        "NOREPLICAS",
        "NOSCRIPT",
        "NOTBUSY",
        "NOTREADY",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "UNBLOCKED",
        "UNKILLABLE",
        "WRONGPASS",
        "WRONGTYPE",
    ]
)
"""Prefixes of Redis and its modules: only these are shown, since a script may put anything first in its message."""

_IN_PIPELINE = "of pipeline caused error: "


def status_code(error: BaseException) -> str | None:
    """``db.response.status_code``: the prefix of the Redis error, ``None`` where the server said nothing."""
    code = getattr(error, "status_code", None)
    if code in _PREFIXES or code in _BY_CLASS.values():
        return str(code)
    kind = type(error).__name__
    known = _BY_CLASS.get(kind)
    if known is not None or kind != "ResponseError":
        return known
    message = str(error.args[0]) if error.args else ""
    first = message.rpartition(_IN_PIPELINE)[2].partition(" ")[0]
    if first in _PREFIXES:
        return first
    return None if first.isupper() else "ERR"  # the one prefix that redis-py takes off and keeps no trace of


def error_type(error: BaseException) -> str:
    """``error.type``: the prefix, else the exception's canonical name."""
    return status_code(error) or errors.error_type(error)


def description(error: BaseException) -> str | None:
    """The status description of a span; ``None`` for a lost race (``WatchError``), which is no fault of anything."""
    kind = type(error).__name__
    if kind == "WatchError":
        return None
    code = status_code(error)
    return f"{kind} ({code})" if code else kind
