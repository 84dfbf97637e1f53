"""A receiver of notifications: an HTTP server that keeps what is posted to it."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from listening import Listening


class Webhook(Listening):
    """Listens on a free loopback port while the `with` block lasts; ``posts`` are the bodies, in their order."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                """Nothing."""

        super().__init__(ThreadingHTTPServer(("127.0.0.1", 0), Handler))

    @property
    def url(self) -> str:
        return f"http://{self.address}/"

    def alerts(self, name: str, status: str | None = None) -> list[dict[str, Any]]:
        """Each alert of that name in each notification, in their order."""
        return [
            alert
            for post in list(self.posts)
            for alert in post["alerts"]
            if alert["labels"]["alertname"] == name and status in (None, alert["status"])
        ]
