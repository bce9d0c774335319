"""A caller's connection as a call sees it: where its answer goes, and how fast bytes pass.

Reading stops while there is a reason to, and goes on when there is none: the reasons are counted here, so that no two
parts of the data plane wake what the other has put to sleep.
"""

import asyncio
from abc import abstractmethod
from enum import IntEnum
from typing import cast

from uvicorn.protocols.utils import get_remote_addr, is_ssl

from gateway.dataplane.rewrite import Provenance
from gateway.errors import Problem


class Hold(IntEnum):
    """Why the caller's bytes are not read at the moment."""

    KEPT = 1
    """Enough of the body is kept until a replica takes it."""
    SLOW = 2
    """The replica takes it slowly."""
    BACKLOG = 4
    """The caller is ahead of its own request."""


class Caller(asyncio.Protocol):
    __slots__ = ("_holds", "peer", "scheme", "slow", "transport", "write")

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._holds = 0
        self.slow = False
        """It takes the answer slowly."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.write = self.transport.write
        address = get_remote_addr(self.transport)
        self.peer = address[0] if address else "unknown"
        self.scheme = "https" if is_ssl(self.transport) else "http"

    @property
    @abstractmethod
    def keeps_alive(self) -> bool:
        """Another request may follow on this connection."""

    @abstractmethod
    def respond(self, problem: Problem, provenance: Provenance) -> None:
        """The gateway's own answer, and the end of the call."""

    @abstractmethod
    def answered(self, *, keep_alive: bool) -> None:
        """The answer has been written to its last byte."""

    @abstractmethod
    def splice(self) -> None:
        """All that comes from now on is for the other side as it is."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def abort(self) -> None:
        """The answer cannot be completed; a caller must not take what it has for the whole."""

    def hold(self, why: Hold) -> None:
        if not self._holds:
            self.transport.pause_reading()
        self._holds |= why

    def go_on(self, why: Hold) -> None:
        if self._holds & why:
            self._holds &= ~why
            if not self._holds and not self.transport.is_closing():
                self.transport.resume_reading()

    def read_on(self) -> None:
        """Whatever it was held for."""
        if self._holds:
            self._holds = 0
            self.transport.resume_reading()
