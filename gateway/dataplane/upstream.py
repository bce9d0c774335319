"""Connections to replicas: one HTTP/1.1 exchange at a time on each, kept alive between exchanges.

A connection reads heads strictly, follows the framing and relays payloads to the caller as they come. Whatever is not
exactly one answer to the one request that was asked ends the connection, so nothing of it can leak into the next
exchange.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from gateway.dataplane.framing import LAST_CHUNK, BadFraming, Chunked, Framing, Sized, UntilClose, chunk
from gateway.dataplane.heads import HEAD_BYTES_MAX, BadAnswer, ResponseHead, read_response
from gateway.dataplane.remembering import Known
from projections.routing import ReplicaRoute

_INTERIM_MAX = 8
_END = b"\r\n\r\n"


class Exchange(Protocol):
    """A request that uses a connection; told of all that happens to it."""

    def connected(self, connection: "Upstream") -> None: ...

    def connect_failed(self, reason: str) -> None: ...

    def replica_gone(self) -> None:
        """The replica left the table before there was a connection to it."""
        ...

    def answered(self, head: ResponseHead, length: int | None) -> None:
        """Either asks the connection to `relay` the answer, or gives the connection up."""
        ...

    def switched(self, head: ResponseHead) -> None:
        """101: what comes from now on is relayed as it is."""
        ...

    def answering(self) -> None:
        """The answer has begun, and more of it is to come."""
        ...

    def complete(self) -> None:
        """The answer has gone on to its last byte."""
        ...

    def upstream_lost(self, reason: str) -> None: ...

    def upstream_slow(self) -> None: ...

    def upstream_ready(self) -> None: ...


class Upstream(asyncio.Protocol):
    __slots__ = (
        "_answer", "_arrived", "_begun", "_chunks", "_exchange", "_framing", "_interim", "_known", "_lost", "_method",
        "_now", "_out", "_switching", "_write", "relayed", "replica", "reusable", "stirred_at", "transport", "used",
    )  # fmt: skip

    transport: asyncio.Transport
    _framing: Framing | None
    _answer: ResponseHead
    _write: Callable[[bytes], None]

    def __init__(self, replica: ReplicaRoute, lost: Callable[["Upstream"], None], now: Callable[[], float]) -> None:
        self.replica = replica
        self._now = now
        self._known: Known[ResponseHead] | None = None
        """The last head that can be known again."""
        self._lost = lost
        """Told when it ends while it belongs to no exchange."""
        self._exchange: Exchange | None = None
        self.used = 0
        """Exchanges begun on it: above 1, its replica may have closed it meanwhile."""
        self.stirred_at = now()
        """When something passed, either way."""
        self.relayed = 0
        """Bytes of the answer's body."""
        self.reusable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def begin(self, exchange: Exchange, method: str, request: bytes, switching: bool) -> None:
        self._exchange = exchange
        self._method, self._switching = method, switching
        self._framing = None
        self._arrived = self._out = b""
        self._interim = self.relayed = 0
        self._begun = self.reusable = False
        self.used += 1
        self.stirred_at = self._now()
        self.transport.write(request)

    def send(self, framed: bytes) -> None:
        """More of the request."""
        self.stirred_at = self._now()
        self.transport.write(framed)

    def relay(self, write: Callable[[bytes], None], head: bytes, chunked: bool) -> None:
        """The answer is wanted, with this head. `chunked`: in chunks, whatever way it comes."""
        self._write, self._out, self._chunks = write, head, chunked

    def abort(self) -> None:
        """The replica is told at once that nobody wants the answer any more."""
        self._exchange = None
        self.transport.abort()

    def close(self) -> None:
        self._exchange = None
        self.transport.close()

    def rest(self) -> None:
        """The exchange is over; the connection waits for the next."""
        self._exchange = None

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.transport.abort()
            return
        try:
            framing = self._framing
            if framing is None:
                self._read_head(exchange, data)
            elif isinstance(framing, Chunked) and self._chunks and (size := framing.plain(data)) is not None:
                self.stirred_at = self._now()
                self.relayed += size
                self._write(data)
            else:
                self._relay(exchange, framing, data)
        except (BadAnswer, BadFraming) as error:
            self.abort()
            exchange.upstream_lost(str(error))

    def _relay(self, exchange: Exchange, framing: Framing, data: bytes) -> None:
        self.stirred_at = self._now()
        pieces, used = framing.take(data) if data and not framing.done else ([], 0)
        for piece in pieces:
            self.relayed += len(piece)
        if self._chunks:
            pieces = [chunk(piece) for piece in pieces]
            if framing.done:
                pieces.append(LAST_CHUNK)
        if self._out:
            pieces = [self._out, *pieces]
            self._out = b""
        if pieces:
            self._write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if framing.done:
            self.reusable = self._answer.keep_alive and used == len(data)
            exchange.complete()
        elif not self._begun:
            self._begun = True
            exchange.answering()

    def _read_head(self, exchange: Exchange, data: bytes) -> None:
        arrived = self._arrived + data if self._arrived else data
        while True:
            known = self._known
            again = None if known is None else known.again(arrived)
            if known is not None and again is not None:
                head, (length, end) = known.head, again
            else:
                end = arrived.find(_END) + len(_END)
                if end < len(_END):
                    if len(arrived) > HEAD_BYTES_MAX:
                        raise BadAnswer("its response head is too long")
                    self._arrived = arrived
                    return
                head, length, self._known = read_response.read(arrived[:end])
            arrived = arrived[end:]
            if head.status >= 200 or head.status == 101:
                break
            self._interim += 1
            if self._interim > _INTERIM_MAX:
                raise BadAnswer("it sent too many interim responses")
        self._answer = head
        if head.status == 101:
            if not self._switching:
                raise BadAnswer("it switched protocols without being asked")
            framing: Framing = UntilClose()
            exchange.switched(head)
        elif length == len(arrived) and not head.bodyless and self._method != "HEAD":
            exchange.answered(head, length)
            if self._exchange is exchange:
                self._relay_all(exchange, arrived)
            return
        else:
            framing = _framing(head, length, self._method)
            exchange.answered(head, length)
        if self._exchange is exchange:
            self._framing = framing
            self._relay(exchange, framing, arrived)

    def _relay_all(self, exchange: Exchange, body: bytes) -> None:
        """Nearly every answer that is no stream comes in one piece."""
        self.stirred_at = self._now()
        self.relayed = len(body)
        self._write(self._out + body)
        self._out = b""
        self.reusable = self._answer.keep_alive
        exchange.complete()

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            self._lost(self)
            return
        framing = self._framing
        if exc is None and isinstance(framing, UntilClose) and self._answer.status != 101:
            framing.done = True
            self._relay(exchange, framing, b"")
        else:
            exchange.upstream_lost("it closed the connection" if exc is None else f"the connection broke: {exc}")

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_slow()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_ready()


def _framing(head: ResponseHead, length: int | None, method: str) -> Framing:
    if head.bodyless or method == "HEAD":
        return Sized(0)
    if head.chunked:
        return Chunked()
    return UntilClose() if length is None else Sized(length)
