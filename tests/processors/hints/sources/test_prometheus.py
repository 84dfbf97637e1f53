"""The workload in Prometheus; the answers are those of Prometheus 2.42, from a server in this process."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dbvitals_processors.hints.model import AdvisorError, WorkloadQuery
from dbvitals_processors.hints.sources.prometheus import TENANT, TOKEN, read

NOW = 1_700_000_000.0


def vector(*results: tuple[dict[str, str], float | str]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [NOW, str(value)]} for labels, value in results]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def of(fingerprint: str, value: float | str) -> tuple[dict[str, str], float | str]:
    return {"dbvitals_query_fingerprint": fingerprint, "db_system_name": "postgresql"}, value


def info(fingerprint: str, text: str) -> tuple[dict[str, str], float | str]:
    return {"dbvitals_query_fingerprint": fingerprint, "db_query_text": text}, 1


@dataclass
class Server:
    """What the server says to each kind of question, and what it was asked."""

    counts: Any = field(default_factory=lambda: vector(of("aaaa", 240), of("bbbb", 48), of("gone", 5), of("cccc", 9)))
    sums: Any = field(default_factory=lambda: vector(of("aaaa", 6), of("bbbb", 480), of("cccc", "NaN")))
    texts: Any = field(
        default_factory=lambda: vector(
            info("aaaa", "SELECT a FROM t WHERE b = ?"), info("bbbb", "UPDATE t SET a = ?"), info("cccc", "BEGIN")
        )
    )
    since: Any = field(default_factory=lambda: vector(({}, NOW - 100 * 3600)))
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    asked: list[tuple[str, str, Message]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, query: str, headers: Message) -> bytes:
        self.asked.append((path, query, headers))
        if self.body is not None:
            return self.body
        kinds = {"timestamp(": self.since, "_count": self.counts, "_sum": self.sums, "dbvitals_query_info": self.texts}
        return json.dumps(next(told for word, told in kinds.items() if word in query)).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = told.answer(parts.path, parse_qs(parts.query)["query"][0], self.headers)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield told
    http.shutdown()
    http.server_close()
    thread.join()


def ask(server: Server, url: str | None = None, **options: Any) -> list[WorkloadQuery]:
    return read(url or server.url, **{"environ": {}, "clock": lambda: NOW, **options})


def test_text_calls_and_time_are_joined_by_fingerprint(server: Server) -> None:
    assert ask(server) == [
        WorkloadQuery("bbbb", "UPDATE t SET a = ?", 2.0, 20.0),
        WorkloadQuery("aaaa", "SELECT a FROM t WHERE b = ?", 10.0, 0.25),
    ]


def test_it_asks_for_translated_names_over_the_window(server: Server) -> None:
    ask(server, hours=2)
    queries = [query for _, query, _ in server.asked]
    by = "sum by (dbvitals_query_fingerprint,db_system_name)"
    histogram = '{__name__=~"db_client_operation_duration(_seconds)?'
    chosen = 'dbvitals_query_fingerprint!="",dbvitals_query_fingerprint!="other"}'
    assert queries == [
        f'{by} (increase({histogram}_count",{chosen}[7200s]))',
        f'{by} (increase({histogram}_sum",{chosen}[7200s]))',
        "group by (dbvitals_query_fingerprint,db_query_text) "
        '(last_over_time({__name__=~"dbvitals_query_info(_ratio)?"}[7200s]))',
        f'min(min_over_time(timestamp({histogram}_count",{chosen})[7200s:15s]))',
    ]


def test_a_service_that_is_younger_than_the_window_has_its_own_rate(server: Server) -> None:
    server.since = vector(({}, NOW - 6 * 3600))
    assert [query.calls for query in ask(server)] == [8.0, 40.0]


def test_a_namespace_is_asked_for_with_its_schemas(server: Server) -> None:
    ask(server, namespace='sh.op"')
    for _, query, _ in server.asked[:2]:
        assert r'db_namespace=~"sh\\.op\"([|].*)?"' in query


@pytest.mark.parametrize("path", ["/prometheus", "/prometheus/", "/prometheus/api/v1", "/prometheus/api/v1/query"])
def test_a_path_prefix_may_come_before_the_api(server: Server, path: str) -> None:
    ask(server, server.url + path)
    assert {path for path, _, _ in server.asked} == {"/prometheus/api/v1/query"}


def test_credentials_come_from_the_url_or_the_environment(server: Server) -> None:
    ask(server, server.url.replace("://", "://us%40er:pass@"), environ={TOKEN: "unused"})
    assert server.asked[-1][2]["Authorization"] == "Basic " + base64.b64encode(b"us@er:pass").decode()
    ask(server, environ={TOKEN: " token ", TENANT: "team"})
    assert server.asked[-1][2]["Authorization"] == "Bearer token"
    assert server.asked[-1][2]["X-Scope-OrgID"] == "team"


def change(**fields: Any) -> Callable[[Server], None]:
    return lambda server: server.__dict__.update(fields)


@pytest.mark.parametrize(
    "so, reason",
    [
        (
            change(status=401, body=b"no"),
            "refuses us (401): put user:password@ into the URL, or a bearer token into " + TOKEN,
        ),
        (
            change(status=404, body=b"no"),
            "has no /api/v1/query; it is not Prometheus, or the URL lacks its path prefix",
        ),
        (change(status=502, body=b"<html>"), "answers 502 Bad Gateway"),
        (
            change(status=302, body=b"", headers={"Location": "http://user:secret@else.where/x?token=secret"}),
            "redirects to http://else.where/x; give that URL",
        ),
        (change(status=400, body=b'{"status":"error","error":"parse\\nerror"}'), "parse error"),
        (change(body=b'{"status":"error","error":"too many samples"}'), "too many samples"),
        (change(body=b"<html>hello</html>"), "answers, but not as Prometheus does; is the path right?"),
        (change(body=b'{"status":"success","data":[]}'), "answers, but not as Prometheus does; is the path right?"),
        (change(body=b"[" * 100_000), "answers, but not as Prometheus does; is the path right?"),
        (
            change(counts=vector()),
            "no db_client_operation_duration_seconds_count with dbvitals_query_fingerprint within the last 24 h: "
            "is a service with dbvitals exporting metrics there?",
        ),
        (
            change(texts=vector(info("zzzz", "SELECT 1"))),
            "no dbvitals_query_info for these queries, so their text is not known: DBVITALS_QUERY_INFO must be true "
            "and db_query_text must not be dropped on the way",
        ),
        (
            change(texts=vector(info("aaaa", "BEGIN"))),
            "none of the queries within the last 24 h reads or writes a table",
        ),
    ],
)
def test_trouble_is_one_line(server: Server, so: Callable[[Server], None], reason: str) -> None:
    so(server)
    with pytest.raises(AdvisorError) as error:
        ask(server, server.url.replace("://", "://user:secret@"))
    assert str(error.value) == f"{server.url}: {reason}"


@pytest.mark.parametrize(
    "url, reason",
    [
        ("http://127.0.0.1:1", r"^http://127\.0\.0\.1:1: cannot be reached: .*refused"),
        ("http://127.0.0.1:port", r"^Prometheus: no URL that can be used: "),
        ("ftp://host", r"^Prometheus: http://host:port or https://host/prefix is expected$"),
        ("file:///etc/passwd", r"^Prometheus: http://host:port or https://host/prefix is expected$"),
        ("localhost:9090", r"^Prometheus: http://host:port or https://host/prefix is expected$"),
    ],
)
def test_a_url_that_leads_nowhere_is_refused(url: str, reason: str) -> None:
    with pytest.raises(AdvisorError, match=reason):
        read(url, environ={})
    with pytest.raises(AdvisorError, match="hours=0: must be more than 0"):
        read(url, hours=0, environ={})


def test_a_server_that_does_not_answer_in_time_is_given_up() -> None:
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # listens, and nobody serves
    try:
        with pytest.raises(AdvisorError, match="cannot be reached: timed out"):
            read(f"http://127.0.0.1:{http.server_port}", timeout=0.05, environ={})
    finally:
        http.server_close()
