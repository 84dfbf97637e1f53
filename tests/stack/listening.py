"""What receivers have in common: a server on a free loopback port, with a thread of its own."""

from __future__ import annotations

import socketserver
import threading
from typing import TypeVar

Own = TypeVar("Own", bound="Listening")


class Listening:
    """Listens while the `with` block lasts."""

    def __init__(self, server: socketserver.TCPServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self: Own) -> Own:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
