"""Other nodes as a source of chunks: plain HTTP on kept connections, in threads, straight into the file.

A peer that does not answer in time, answers slowly, or cannot prove that it is one has failed; others are asked then.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse

import msgspec
import structlog

from agents.effects.weights_chunks import PeerFailed, PeerLacks
from agents.effects.weights_peer import PROOF, Keyring
from agents.effects.weights_region import PIECE_BYTES, Region
from agents.weights.manifest import Chunk
from events.base import NodeId

_log = structlog.get_logger()


class PeerPatience(msgspec.Struct, frozen=True, kw_only=True):
    connect_s: float = 2.0
    silent_s: float = 10.0
    """For the first byte, which the owner may have to fetch from the mirror, and between any two."""
    slowest_bytes_s: float = 1 << 20
    """A second. What is slower altogether has failed."""


PEER_PATIENCE = PeerPatience()


class HttpPeers:
    """Threads may share it."""

    def __init__(
        self,
        keyring: Keyring,
        nodes: Callable[[], Mapping[NodeId, str]],
        patience: PeerPatience = PEER_PATIENCE,
    ) -> None:
        self.nodes = nodes
        self._keyring, self._patience = keyring, patience
        self._idle: dict[str, list[HTTPConnection]] = {}
        self._reading: dict[int, HTTPConnection] = {}
        self._lock = threading.Lock()

    def read(self, node: NodeId, region: Region) -> None:
        address = self.nodes().get(node)
        if address is None:
            raise PeerFailed("it has left")
        chunk = region.chunk
        connection = self._connect(address)
        with self._lock:
            self._reading[id(region)] = connection
        done = False
        try:
            self._copy(self._ask(connection, node, chunk), region)
            done = True
        finally:
            with self._lock:
                self._reading.pop(id(region), None)
                if done:
                    self._idle.setdefault(address, []).append(connection)
            if not done:
                connection.close()

    def abort(self, region: Region) -> None:
        with self._lock:
            connection = self._reading.get(id(region))
        if connection is not None and connection.sock is not None:
            with suppress(OSError):  # It is closed already.
                connection.sock.shutdown(socket.SHUT_RDWR)

    def doubt(self, node: NodeId, chunk: Chunk) -> None:
        address = self.nodes().get(node)
        if address is None:
            return
        try:
            with closing(self._fresh(address)) as connection:
                headers = self._keyring.asks(node)
                connection.request("POST", f"/chunks/{chunk.hash}/{chunk.size}/doubt", headers=headers)
                connection.getresponse().read()
        except (HTTPException, OSError, PeerFailed) as error:
            _log.info("a peer cannot be told that its chunk is wrong", peer=node, why=str(error))

    def close(self) -> None:
        with self._lock:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
            self._idle.clear()

    def _ask(self, connection: HTTPConnection, node: NodeId, chunk: Chunk) -> HTTPResponse:
        try:
            connection.request("GET", f"/chunks/{chunk.hash}/{chunk.size}", headers=self._keyring.asks(node))
            answer = connection.getresponse()
            why = "" if answer.status == 200 else answer.read(1000).decode(errors="replace")
        except (HTTPException, OSError) as error:
            raise PeerFailed(f"{connection.host}:{connection.port}: {error!r}") from error
        if answer.status in (503, 507):
            raise PeerLacks(why)
        if answer.status != 200:
            raise PeerFailed(f"answered {answer.status}: {why}")
        if not self._keyring.is_answered_by(node, answer.headers.get(PROOF, "")):
            raise PeerFailed("cannot prove that it is a node of this plane")
        return answer

    def _copy(self, answer: HTTPResponse, region: Region) -> None:
        """All that it sends, so that the connection can be kept."""
        buffer = memoryview(bytearray(PIECE_BYTES))
        began = time.monotonic()
        while got := _receive(answer, buffer):
            region.write(buffer[:got])
            seconds = time.monotonic() - began
            if seconds > self._patience.silent_s + region.length / self._patience.slowest_bytes_s:
                raise PeerFailed(f"is slow: {region.length} bytes in {seconds:.1f} s")
        if answer.length:
            raise PeerFailed(f"ended {answer.length} bytes early")

    def _connect(self, address: str) -> HTTPConnection:
        with self._lock:
            idle = self._idle.get(address)
            while idle:
                connection = idle.pop()
                if not _was_closed(connection, self._patience.silent_s):
                    return connection
                connection.close()
        return self._fresh(address)

    def _fresh(self, address: str) -> HTTPConnection:
        host, _, port = address.rpartition(":")
        connection = HTTPConnection(host, int(port), timeout=self._patience.connect_s)
        try:
            connection.connect()
        except OSError as error:
            raise PeerFailed(f"{address}: {error}") from error
        connection.sock.settimeout(self._patience.silent_s)
        return connection


def _receive(answer: HTTPResponse, buffer: memoryview) -> int:
    try:
        return answer.readinto(buffer)
    except (HTTPException, OSError) as error:
        raise PeerFailed(f"broke off: {error!r}") from error


def _was_closed(connection: HTTPConnection, timeout_s: float) -> bool:
    """By the other side, while it was idle."""
    try:
        connection.sock.setblocking(False)
        return connection.sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connection.sock.settimeout(timeout_s)
