"""HTTP as the doctor asks it: every failure in a few words, and no password in any of them."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import SplitResult, unquote, urlencode, urlsplit, urlunsplit

from dbvitals_instrumentation.config import ConfigError


class Unanswered(Exception):
    """There was no answer that can be used.

    Attributes:
        status: of the HTTP answer, where there was one.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


def shown(url: str) -> str:
    """The address without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, address(parts), parts.path, "", ""))


def address(parts: SplitResult) -> str:
    """Host and port."""
    return parts.netloc.rpartition("@")[2]


def get(url: str, *, timeout: float, accept: str = "*/*", token: str = "") -> str:
    """The body of a successful answer.

    Raises:
        Unanswered: there was none.
    """
    parts = urlsplit(url)
    headers = {"Accept": accept}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    bare = urlunsplit((parts.scheme, address(parts), parts.path, parts.query, ""))
    if parts.scheme not in ("http", "https"):
        raise ConfigError(f"{shown(url)}: http or https is expected")
    try:
        request = urllib.request.Request(bare, headers=headers)  # noqa: S310 - its scheme was looked at
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return str(answer.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        with error:
            raise Unanswered(f"{shown(url)} answers {error.code} {error.reason}", error.code) from None
    except urllib.error.URLError as error:
        raise Unanswered(f"{shown(url)}: {_words(error.reason)}") from None
    except OSError as error:
        raise Unanswered(f"{shown(url)}: {_words(error)}") from None
    except ValueError:
        raise Unanswered(f"{shown(url)}: what answers does not speak HTTP") from None


def get_json(url: str, *, timeout: float, token: str = "", **query: str) -> Any:
    """The JSON that is answered.

    Raises:
        Unanswered: there was none.
    """
    text = get(f"{url}?{urlencode(query)}" if query else url, timeout=timeout, token=token)
    try:
        return json.loads(text)
    except ValueError:
        raise Unanswered(f"{shown(url)} answers with something else than JSON") from None


def _words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason).strip() or type(reason).__name__
