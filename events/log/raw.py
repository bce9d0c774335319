"""The log as bytes: what seals are made of, what an archive holds, what a damaged log still gives.

Nothing is decoded here, so a message says the same to every version of the code.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from events.base import Position


class RawMessage(msgspec.Struct, frozen=True, gc=False):
    position: Position
    subject: str
    """`evt.<category>.<id>.<type>`."""
    headers: str
    """As they lie in the log; empty in logs that have none. Not sealed: they repeat the body."""
    body: bytes


class RawLog(Protocol):
    def raw(self, after: Position, until: Position) -> AsyncIterator[RawMessage]:
        """Messages with after < position <= until, in order. Positions that cannot be read are left out, not an error.

        Raises LogUnavailable.
        """
        ...

    async def raw_head(self) -> Position:
        """Where the log says that it ends, whatever of it can be read. Raises LogUnavailable, LogBroken."""
        ...
