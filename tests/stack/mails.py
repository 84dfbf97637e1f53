"""A receiver of mail: a server that speaks as much SMTP as it takes to be given a message."""

from __future__ import annotations

import email
import email.policy
import socketserver
from email.message import EmailMessage

from listening import Listening


class Mailbox(Listening):
    """Listens on a free loopback port while the `with` block lasts; ``mails`` are the messages, in their order."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        mails = self.mails

        class Handler(socketserver.StreamRequestHandler):
            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

            def handle(self) -> None:
                self.say("220 here")
                for line in self.rfile:
                    verb = line[:4].upper().strip()
                    if verb == b"DATA":
                        self.say("354 go on")
                        lines = list(iter(self.rfile.readline, b".\r\n"))
                        text = b"".join(part[1:] if part.startswith(b"..") else part for part in lines)
                        mails.append(email.message_from_bytes(text, policy=email.policy.default))  # type: ignore[arg-type]
                    self.say("221 bye" if verb == b"QUIT" else "250 fine")
                    if verb == b"QUIT":
                        return

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        super().__init__(server)
