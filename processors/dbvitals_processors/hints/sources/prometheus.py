"""The workload that Prometheus has stored (or Mimir, Thanos, VictoriaMetrics: whoever speaks its HTTP API).

``dbvitals.query.info`` says which text a fingerprint has, the histogram of durations how often it ran and how long.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

from dbvitals_instrumentation import semconv
from dbvitals_processors.hints.model import AdvisorError, WorkloadQuery
from dbvitals_processors.hints.sources.merging import HOUR, costliest_first, merge
from dbvitals_processors.hints.sources.sql import is_workload

TOKEN = "DBVITALS_PROMETHEUS_TOKEN"  # noqa: S105 - the name of a variable
TENANT = "DBVITALS_PROMETHEUS_TENANT"
MOST_BYTES = 64_000_000
TIMEOUT = 30.0
LOOKS = 1440
"""Moments of the window at which is looked for the first measurement."""


def translated(name: str) -> str:
    """A name of OpenTelemetry as Prometheus has it."""
    return re.sub(r"[^A-Za-z0-9_:]", "_", name)


# Units become suffixes unless the translation is told not to: `_seconds`, and `_ratio` for a gauge of unit 1.
DURATION = translated(semconv.OPERATION_DURATION)
INFO = translated(semconv.QUERY_INFO)
FINGERPRINT = translated(semconv.FINGERPRINT)
NAMESPACE = translated(semconv.DB_NAMESPACE)
TEXT = translated(semconv.DB_QUERY_TEXT)
SYSTEM = translated(semconv.DB_SYSTEM_NAME)


def read(
    url: str,
    *,
    namespace: str | None = None,
    hours: float = 24.0,
    timeout: float = TIMEOUT,
    environ: Mapping[str, str] | None = None,
    clock: Callable[[], float] = time.time,
) -> list[WorkloadQuery]:
    """The statements that ran within the last ``hours``, the most expensive first.

    Rates are over that window, or since the first measurement where that is later.

    Args:
        url: where the API is, without ``/api/v1``; may hold ``user:password@`` for basic authentication.
        namespace: take this database's statements only; ``shop`` stands for all schemas of ``shop|…``.
        hours: how far to look back.
        timeout: seconds for each of four questions.
        environ: where a bearer token (:data:`TOKEN`) and a tenant (:data:`TENANT`) are looked up.
        clock: Unix time in seconds.

    Raises:
        AdvisorError: it cannot be asked, or knows nothing; the message is one line.
    """
    if not hours > 0:
        raise AdvisorError(f"hours={hours}: must be more than 0")
    hours = max(hours, 1 / 60)
    api = _Api(url, timeout, os.environ if environ is None else environ)
    now = clock()
    window = f"[{round(hours * HOUR)}s]"
    chosen = "" if namespace is None else f",{NAMESPACE}=~{_text(_escaped(namespace) + '([|].*)?')}"
    by = f"sum by ({FINGERPRINT},{SYSTEM})"
    of = f'{FINGERPRINT}!="",{FINGERPRINT}!={_text(semconv.OTHER)}{chosen}'
    counts = f'{{__name__=~"{DURATION}(_seconds)?_count",{of}}}'
    sums = f'{{__name__=~"{DURATION}(_seconds)?_sum",{of}}}'
    calls = _by_query(api.ask(f"{by} (increase({counts}{window}))", now))
    if not any(calls.values()):
        where = "" if namespace is None else f" for {NAMESPACE} {namespace}"
        raise AdvisorError(
            f"{api.shown}: no {DURATION}_seconds_count with {FINGERPRINT}{where} within the last {hours:g} h: "
            "is a service with dbvitals exporting metrics there?"
        )
    seconds = _by_query(api.ask(f"{by} (increase({sums}{window}))", now))
    info = f'{{__name__=~"{INFO}(_ratio)?"}}'
    texts = {
        labels.get(FINGERPRINT, ""): labels.get(TEXT, "")
        for labels, _ in api.ask(f"group by ({FINGERPRINT},{TEXT}) (last_over_time({info}{window}))", now)
    }
    if not any(texts.get(fingerprint) for fingerprint, _ in calls):
        raise AdvisorError(
            f"{api.shown}: no {INFO} for these queries, so their text is not known: DBVITALS_QUERY_INFO must be true "
            f"and {TEXT} must not be dropped on the way"
        )
    step = max(15, round(hours * HOUR / LOOKS))
    since = api.ask(f"min(min_over_time(timestamp({counts}){window[:-1]}:{step}s]))", now)
    covered = min(hours, max(now - since[0][1] if since else 0.0, step) / HOUR)
    found = merge(
        WorkloadQuery(key[0], texts[key[0]], count / covered, seconds.get(key, 0.0) / covered)
        for key, count in calls.items()
        if count > 0 and texts.get(key[0]) and is_workload(texts[key[0]], key[1])
    )
    if not found:
        raise AdvisorError(f"{api.shown}: none of the queries within the last {hours:g} h reads or writes a table")
    return costliest_first(found)


def _by_query(answer: list[tuple[dict[str, str], float]]) -> dict[tuple[str, str], float]:
    return {(labels.get(FINGERPRINT, ""), labels.get(SYSTEM, "")): value for labels, value in answer}


def _escaped(text: str) -> str:
    """For a pattern of RE2, which takes fewer escapes than Python."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", text)


def _text(text: str) -> str:
    """As a string of PromQL."""
    return json.dumps(text, ensure_ascii=False)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Passwords are not carried to where a server points."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class _Api:
    """The HTTP API at one URL."""

    def __init__(self, url: str, timeout: float, environ: Mapping[str, str]) -> None:
        try:
            parts = urlsplit(url)
            host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
            host += f":{parts.port}" if parts.port else ""
        except ValueError as error:
            raise AdvisorError(f"Prometheus: no URL that can be used: {error}") from error
        if parts.scheme not in ("http", "https") or not host:
            raise AdvisorError("Prometheus: http://host:port or https://host/prefix is expected")
        path = re.sub(r"/+(api/v1/?(query)?)?/*\Z", "", parts.path)
        self.shown = urlunsplit((parts.scheme, host, path, "", ""))
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirect())
        self._headers = {"Accept": "application/json", "User-Agent": "dbvitals"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        elif environ.get(TOKEN, "").strip():
            self._headers["Authorization"] = f"Bearer {environ[TOKEN].strip()}"
        if environ.get(TENANT, "").strip():
            self._headers["X-Scope-OrgID"] = environ[TENANT].strip()

    def ask(self, query: str, now: float) -> list[tuple[dict[str, str], float]]:
        """Labels and values of an instant vector.

        Raises:
            AdvisorError: there is no answer.
        """
        body = self._fetch(f"{self.shown}/api/v1/query?{urlencode({'query': query, 'time': f'{now:.3f}'})}")
        try:
            answer = json.loads(body)
            if answer["status"] != "success":
                raise AdvisorError(f"{self.shown}: {_line(str(answer.get('error', 'no reason given')))}")
            read = [(dict(one["metric"]), float(one["value"][1])) for one in answer["data"]["result"]]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise AdvisorError(f"{self.shown}: answers, but not as Prometheus does; is the path right?") from error
        return [(labels, value) for labels, value in read if isfinite(value)]

    def _fetch(self, url: str) -> bytes:
        try:
            request = urllib.request.Request(url, headers=self._headers)  # noqa: S310 - http or https, checked above
            with self._opener.open(request, timeout=self._timeout) as response:
                body: bytes = response.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise AdvisorError(f"{self.shown}: {self._refusal(error)}") from error
        except urllib.error.URLError as error:
            raise AdvisorError(f"{self.shown}: cannot be reached: {_line(str(error.reason))}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = _line(str(error)) or type(error).__name__
            raise AdvisorError(f"{self.shown}: cannot be reached: {reason}") from error
        if len(body) > MOST_BYTES:
            raise AdvisorError(f"{self.shown}: answers with more than {MOST_BYTES:,} bytes; name a namespace")
        return body

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        if error.code in (401, 403):
            return f"refuses us ({error.code}): put user:password@ into the URL, or a bearer token into {TOKEN}"
        if 300 <= error.code < 400:
            place = urlsplit(error.headers.get("Location", ""))  # without what may be secret in it
            return f"redirects to {place.scheme}://{place.hostname}{place.path}; give that URL"
        try:
            told = json.loads(error.read(MOST_BYTES))["error"]
        except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError, RecursionError):
            if error.code == 404:
                return "has no /api/v1/query; it is not Prometheus, or the URL lacks its path prefix"
            return f"answers {error.code} {_line(str(error.reason))}"
        return _line(str(told))


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
