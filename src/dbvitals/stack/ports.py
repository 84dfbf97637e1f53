"""The ports of the pipeline, all on loopback."""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass

from dbvitals.stack.processes import free_ports

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Who listens where."""

    grpc: int = 4317
    http: int = 4318
    exporter: int = 9464
    telemetry: int = 8888
    health: int = 13133
    prometheus: int = 9090
    alertmanager: int = 9093

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody listens on."""
        names = list(asdict(cls()))
        return cls(**dict(zip(names, free_ports(len(names)), strict=True)))

    def busy(self) -> dict[str, int]:
        """Those that somebody listens on already, by what they are for."""
        return {name: port for name, port in asdict(self).items() if _taken(port)}

    def addresses(self) -> dict[str, str]:
        """What takes the place of the addresses that the configuration files have."""
        usual = asdict(Ports())
        return {f"{HOST}:{usual[name]}": f"{HOST}:{port}" for name, port in asdict(self).items()}


def _taken(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger are no listener
        try:
            attempt.bind((HOST, port))
        except OSError:
            return True
        return False
