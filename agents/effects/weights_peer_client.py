"""Other nodes as a source of chunks: plain HTTP on kept connections, in threads, straight into the file.

A peer that does not answer in time, answers slowly, or cannot prove that it is one has failed; others are asked then.
A request names several chunks, and the answer has as many of the first as the peer has: what an answer costs by itself,
on both sides, is as much as a chunk's hash. Heads are read here since http.client would need more than that.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate

import msgspec
import structlog

from agents.effects.weights_outside import PeerFailed, PeerLacks
from agents.effects.weights_peer_wire import MORE, PROOF, Keyring, asking
from agents.effects.weights_region import Region, WrongLength, buffer_of_thread
from agents.weights.manifest import Chunk
from events.base import NodeId

_log = structlog.get_logger()
_HEAD_BYTES_MAX = 16 << 10
_WHY_BYTES = 1000


class PeerPatience(msgspec.Struct, frozen=True, kw_only=True):
    connect_s: float = 2.0
    silent_s: float = 10.0
    """For the first byte, which the owner may have to fetch from the mirror, and between any two."""
    slowest_bytes_s: float = 1 << 20
    """A second. What is slower altogether has failed."""


PEER_PATIENCE = PeerPatience()


class Head(msgspec.Struct, frozen=True):
    status: int
    fields: Mapping[str, str]
    """By name in lower case."""
    rest: bytes
    """What came of the body with it."""

    @property
    def length(self) -> int:
        """Of the body. Raises PeerFailed."""
        stated = self.fields.get("content-length", "")
        if not stated.isdecimal():
            raise PeerFailed("does not say how much it sends")
        return int(stated)


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
        self._idle: dict[str, list[socket.socket]] = {}
        self._reading: dict[int, socket.socket] = {}
        self._lock = threading.Lock()

    def read(self, node: NodeId, regions: Sequence[Region]) -> int:
        address = self.nodes().get(node)
        if address is None:
            raise PeerFailed("it has left")
        sock = self._connect(address)
        with self._lock:
            self._reading[id(regions[0])] = sock
        kept = False
        try:
            head = self._ask(sock, address, node, "GET", [region.chunk for region in regions])
            self._check(sock, head, node)
            given = _given(regions, head.length)
            body = _Body(sock, head.rest)
            for region in given:
                self._copy(body, region)
            kept = head.fields.get("connection", "").lower() != "close"
        finally:
            with self._lock:
                self._reading.pop(id(regions[0]), None)
                if kept:
                    self._idle.setdefault(address, []).append(sock)
            if not kept:
                sock.close()
        return len(given)

    def abort(self, regions: Sequence[Region]) -> None:
        with self._lock:
            sock = self._reading.get(id(regions[0]))
        if sock is not None:
            with suppress(OSError):  # It is closed already.
                sock.shutdown(socket.SHUT_RDWR)

    def doubt(self, node: NodeId, chunk: Chunk) -> None:
        address = self.nodes().get(node)
        if address is None:
            return
        try:
            with self._fresh(address) as sock:
                self._ask(sock, address, node, "POST", [chunk], "/doubt")
        except PeerFailed as error:
            _log.info("a peer cannot be told that its chunk is wrong", peer=node, why=str(error))

    def close(self) -> None:
        with self._lock:
            for idle in self._idle.values():
                for sock in idle:
                    sock.close()
            self._idle.clear()

    def _ask(
        self, sock: socket.socket, address: str, node: NodeId, method: str, chunks: Sequence[Chunk], what: str = ""
    ) -> Head:
        fields = {"Host": address, "Content-Length": "0", **self._keyring.asks(node)}
        if len(chunks) > 1:
            fields[MORE] = " ".join(map(asking, chunks[1:]))
        first = f"{method} /chunks/{asking(chunks[0])}{what} HTTP/1.1"
        lines = (first, *(f"{name}: {value}" for name, value in fields.items()))
        try:
            sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            return _head(sock)
        except (OSError, ValueError) as error:
            raise PeerFailed(f"{address}: {error!r}") from error

    def _check(self, sock: socket.socket, head: Head, node: NodeId) -> None:
        if head.status != 200:
            more = max(0, min(head.length, _WHY_BYTES) - len(head.rest))
            why = (head.rest + bytes(_receive(sock, buffer_of_thread()[:more]))).decode(errors="replace")
            raise PeerLacks(why) if head.status in (503, 507) else PeerFailed(f"answered {head.status}: {why}")
        if not self._keyring.is_answered_by(node, head.fields.get(PROOF.lower(), "")):
            raise PeerFailed("cannot prove that it is a node of this plane")

    def _copy(self, body: "_Body", region: Region) -> None:
        region.begin()
        began = time.monotonic()
        while left := region.chunk.size - region.length:
            piece = body.piece(left)
            if not piece:
                raise PeerFailed(f"ended {left} bytes early")
            region.write(piece)
            seconds = time.monotonic() - began
            if seconds > self._patience.silent_s + region.length / self._patience.slowest_bytes_s:
                raise PeerFailed(f"is slow: {region.length} bytes in {seconds:.1f} s")

    def _connect(self, address: str) -> socket.socket:
        with self._lock:
            idle = self._idle.get(address)
            while idle:
                sock = idle.pop()
                if not _was_closed(sock):
                    return sock
                sock.close()
        return self._fresh(address)

    def _fresh(self, address: str) -> socket.socket:
        host, _, port = address.rpartition(":")
        try:
            sock = socket.create_connection((host, int(port)), self._patience.connect_s)
        except OSError as error:
            raise PeerFailed(f"{address}: {error}") from error
        # The kernel's time limits instead of Python's, which would wake this thread for every packet.
        sock.settimeout(None)
        silent_s = self._patience.silent_s
        limit = struct.pack("ll", int(silent_s), int(silent_s % 1 * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, limit)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


class _Body:
    """Of one answer: what came with its head first."""

    def __init__(self, sock: socket.socket, rest: bytes) -> None:
        self._sock, self._rest = sock, memoryview(rest)

    def piece(self, size: int) -> memoryview:
        """At most so many bytes."""
        if not self._rest:
            return _receive(self._sock, buffer_of_thread()[:size])
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def _given(regions: Sequence[Region], length: int) -> Sequence[Region]:
    """Those that an answer of this length has: the first, or more."""
    totals = list(accumulate(region.chunk.size for region in regions))
    if length not in totals:
        raise WrongLength(f"{length} bytes, which none of its chunks end with")
    return regions[: totals.index(length) + 1]


def _head(sock: socket.socket) -> Head:
    """Raises OSError, and ValueError where it is none."""
    read = b""
    while (end := read.find(b"\r\n\r\n")) < 0:
        if len(read) > _HEAD_BYTES_MAX:
            raise ValueError(f"no end of the head within {_HEAD_BYTES_MAX} bytes")
        got = sock.recv(4096)
        if not got:
            raise ValueError("ended before its answer did")
        read += got
    first, *lines = read[:end].decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if version != "HTTP/1.1":
        raise ValueError(f"{first[:80]!r} is no answer")
    pairs = (line.partition(":") for line in lines)
    return Head(int(status[:3]), {name.lower(): value.strip() for name, _, value in pairs}, read[end + 4 :])


def _receive(sock: socket.socket, buffer: memoryview) -> memoryview:
    """As much as fits, or what there is when the other side ends or falls silent."""
    try:
        return buffer[: sock.recv_into(buffer, len(buffer), socket.MSG_WAITALL)]
    except BlockingIOError:
        raise PeerFailed("fell silent") from None
    except OSError as error:
        raise PeerFailed(f"broke off: {error!r}") from error


def _was_closed(sock: socket.socket) -> bool:
    """By the other side, while it was idle."""
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
