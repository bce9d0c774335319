"""Ports of this machine's replicas: free when picked, and really their own when they answer."""

import os
import random
import socket
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import psutil

RANGE = (20_000, 32_000)
"""Below what the kernel gives to outgoing connections."""
_TRIES = 200
_LISTEN = "0A"
_LINE_BYTES = 150


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
    proc = Path(f"/proc/{server.pid}")
    try:
        own = {_link(each) for each in (proc / "fd").iterdir()}
        return any(f"socket:[{inode}]" in own for inode in _listening(proc / "net", port_of(address)))
    except FileNotFoundError:  # It has ended.
        return False


def _listening(tables: Path, port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on the port, as they are named in the kernel's tables."""
    for name in ("tcp", "tcp6"):
        try:
            table = (tables / name).open("rb", buffering=0)
        except FileNotFoundError:  # A kernel without IPv6.
            continue
        with table:
            for line in _first_lines(table):
                local, state, inode = (line.split()[column] for column in (1, 3, 9))
                if state != _LISTEN:
                    break
                if int(local.rpartition(":")[2], 16) == port:
                    yield inode


def _first_lines(table: FileIO) -> Iterator[str]:
    """Those who listen come first; to find all others, the kernel searches for 10 ms. It goes no further than asked."""
    rest = b""
    while chunk := table.read(_LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in lines if b": " in line)  # not the heading


def _link(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:  # Closed meanwhile.
        return ""
