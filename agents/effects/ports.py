"""Ports of this machine's replicas: free when picked, and really their own when they answer."""

import random
import socket

import psutil

RANGE = (20_000, 32_000)
"""Below what the kernel gives to outgoing connections."""
_TRIES = 200


class Ports:
    def __init__(self, host: str) -> None:
        self._host = host
        self._taken: set[int] = set()

    def pick(self) -> int:
        """Somebody else may still be quicker to use it; then the server does not begin and another is picked."""
        for _ in range(_TRIES):
            port = random.randint(*RANGE)
            if port not in self._taken and self._is_free(port):
                self._taken.add(port)
                return port
        raise OSError(f"no free port from {RANGE[0]} to {RANGE[1]} on {self._host}")

    def keep(self, address: str) -> None:
        self._taken.add(port_of(address))

    def release(self, address: str) -> None:
        self._taken.discard(port_of(address))

    def _is_free(self, port: int) -> bool:
        with socket.socket() as tried:
            try:
                tried.bind((self._host, port))
            except OSError:
                return False
        return True


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def listens(server: psutil.Process | None, address: str) -> bool:
    """Whether it is this process that answers there."""
    if server is None:
        return False
    try:
        connections = server.net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port_of(address) for each in connections)
