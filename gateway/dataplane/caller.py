"""What a call may ask of the connection that it came on."""

from enum import IntEnum
from typing import Protocol

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


class Caller(Protocol):
    """The connection that the request came on."""

    peer: str
    scheme: str
    slow: bool
    """It takes the answer slowly."""

    @property
    def keeps_alive(self) -> bool: ...

    def write(self, out: bytes) -> None: ...

    def respond(self, problem: Problem, provenance: Provenance) -> None: ...

    def answered(self, *, keep_alive: bool) -> None: ...

    def splice(self) -> None: ...

    def close(self) -> None: ...

    def abort(self) -> None: ...

    def hold(self, why: Hold) -> None: ...

    def go_on(self, why: Hold) -> None: ...
