"""Connections to replicas: one HTTP/1.1 exchange at a time on each, kept alive between exchanges.

A connection reads heads strictly, follows the framing and hands payloads on as they come. Whatever is not exactly one
answer to the one request that was asked ends the connection, so nothing of it can leak into the next exchange.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from gateway.dataplane.framing import BadFraming, Chunked, Framing, Sized, UntilClose
from gateway.dataplane.heads import HEAD_BYTES_MAX, BadAnswer, ResponseHead, read_response
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

    def answered(self, head: ResponseHead, length: int | None) -> bool:
        """False: the answer is not wanted, and the connection has been given up."""
        ...

    def answer(self, pieces: list[bytes], last: bool) -> None:
        """Follows `answered` at once, maybe with nothing in it yet, and then whenever something arrives."""
        ...

    def switched(self, head: ResponseHead, arrived: bytes) -> None: ...

    def spliced(self, arrived: bytes) -> None: ...

    def upstream_lost(self, reason: str) -> None: ...

    def upstream_slow(self) -> None: ...

    def upstream_ready(self) -> None: ...


class Upstream(asyncio.Protocol):
    __slots__ = (
        "_answer", "_arrived", "_exchange", "_framing", "_interim", "_lost", "_method", "_switching",
        "idle_since", "replica", "reusable", "transport", "used",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, replica: ReplicaRoute, lost: Callable[["Upstream"], None]) -> None:
        self.replica = replica
        self._lost = lost
        """Told when it ends while it belongs to no exchange."""
        self._exchange: Exchange | None = None
        self.used = 0
        """Exchanges begun on it: above 1, its replica may have closed it meanwhile."""
        self.idle_since = 0.0
        self.reusable = False
        self._method = ""
        self._switching = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def begin(self, exchange: Exchange, method: str, request: bytes, *, switching: bool) -> None:
        self._exchange = exchange
        self._method, self._switching = method, switching
        self._arrived = b""
        self._interim = 0
        self._answer: ResponseHead | None = None
        self._framing: Framing | None = None
        self.reusable = False
        self.used += 1
        self.transport.write(request)

    def abort(self) -> None:
        """The replica is told at once that nobody wants the answer any more."""
        self._exchange = None
        self.transport.abort()

    def close(self) -> None:
        self._exchange = None
        self.transport.close()

    def rest(self, now: float) -> None:
        """The exchange is over; the connection waits for the next."""
        self._exchange = None
        self.idle_since = now

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.transport.abort()
        elif self._answer is not None and self._answer.status == 101:
            exchange.spliced(data)
        else:
            try:
                self._read(exchange, data)
            except (BadAnswer, BadFraming) as error:
                self.abort()
                exchange.upstream_lost(str(error))

    def _read(self, exchange: Exchange, data: bytes) -> None:
        begins = self._framing is None
        if begins:
            rest = self._read_head(exchange, data)
            if rest is None:
                return
            data = rest
        framing = self._framing
        assert framing is not None
        pieces, used = framing.take(data) if data and not framing.done else ([], 0)
        if framing.done:
            assert self._answer is not None
            self.reusable = self._answer.keep_alive and used == len(data)
            exchange.answer(pieces, True)
        elif pieces or begins:
            exchange.answer(pieces, False)

    def _read_head(self, exchange: Exchange, data: bytes) -> bytes | None:
        """What follows the head once there is one; None while there is nothing to go on with."""
        arrived = self._arrived + data if self._arrived else data
        while True:
            end = arrived.find(_END)
            if end < 0:
                if len(arrived) > HEAD_BYTES_MAX:
                    raise BadAnswer("its response head is too long")
                self._arrived = arrived
                return None
            head, length = read_response(arrived[: end + 4])
            arrived = arrived[end + 4 :]
            if head.status >= 200:
                break
            if head.status == 101:
                self._switch(exchange, head, arrived)
                return None
            self._interim += 1
            if self._interim > _INTERIM_MAX:
                raise BadAnswer("it sent too many interim responses")
        self._arrived = b""
        self._answer, self._framing = head, _framing(head, length, self._method)
        return arrived if exchange.answered(head, length) else None

    def _switch(self, exchange: Exchange, head: ResponseHead, arrived: bytes) -> None:
        if not self._switching:
            raise BadAnswer("it switched protocols without being asked")
        self._answer = head
        exchange.switched(head, arrived)

    def connection_lost(self, exc: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            self._lost(self)
        elif exc is None and isinstance(self._framing, UntilClose):
            exchange.answer([], True)
        else:
            exchange.upstream_lost("it closed the connection" if exc is None else f"the connection broke: {exc}")

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_slow()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.upstream_ready()


def _framing(head: ResponseHead, length: int | None, method: str) -> Framing:
    if method == "HEAD" or head.status in (204, 304):
        return Sized(0)
    if head.chunked:
        return Chunked()
    return UntilClose() if length is None else Sized(length)
