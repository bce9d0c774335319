"""The log: one stream, one total order, one way to append. `MemoryLog` is the specification.

Promises that every implementation keeps (tests/contract/test_log.py):

- A decision is appended whole or not at all; its events have neighbouring positions.
- `append` names the last position of the aggregate that the decision saw. If the aggregate has moved on: `Conflict`.
- An appended event is durable before its position is returned, and is never changed or removed.
- An answer that never came is `Ambiguous`: the events may be there or not. The caller asks the history.
- `follow` gives every event after a position once, in order, without a gap, whole decisions at a time, and goes on
  through restarts of the broker.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from events.base import ORIGIN, Metadata, Position, StreamName
from events.codec import Recorded
from events.union import AnyEvent

Draft = tuple[AnyEvent, Metadata]
"""An event that is about to be appended."""


def check_decision(stream: StreamName, drafts: Sequence[Draft]) -> None:
    """Raises ValueError for what no log takes: a nameless aggregate, too few or too many events, wrong places in it."""
    if not (stream.category and stream.id):
        raise ValueError(f"an aggregate has a category and an id, not {stream!r}")
    if not 1 <= len(drafts) <= 1000:
        raise ValueError(f"a decision has 1 to 1000 events, not {len(drafts)}")
    for index, (_, meta) in enumerate(drafts):
        if (meta.index, meta.count) != (index, len(drafts)):
            raise ValueError(f"event {meta.id} says {meta.index} of {meta.count}, but is {index} of {len(drafts)}")


class Conflict(Exception):
    """The aggregate has moved on since the decision was made. `actual`: where it is now, 0 when not known."""

    def __init__(self, stream: StreamName, expected: Position, actual: Position) -> None:
        super().__init__(f"{stream} is at {actual or 'a later position'}, not at {expected}")
        self.actual = actual


class Ambiguous(Exception):
    """No answer: the events may have been appended."""


class LogUnavailable(Exception):
    """The log cannot be reached. Nothing was appended."""


class LogBroken(Exception):
    """The log is not what it was: missing, shrunk, or with a hole. A person has to look; nothing is recreated."""


class Log(Protocol):
    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        """Append one decision (1 to 1000 events) if the aggregate's last position is `expected` (0: it has none).

        Gives the position of the last event. A repeat of the same drafts gives the same position, or `Conflict`;
        it never appends twice. Raises Conflict, Ambiguous, LogUnavailable.
        """
        ...

    async def read(
        self, after: Position = ORIGIN, until: Position | None = None, stream: StreamName | None = None
    ) -> tuple[Recorded, ...]:
        """Events with after < position <= until (default: the head as of now), of one aggregate or of all."""
        ...

    async def head(self) -> Position:
        """The last position, 0 when the log is empty."""
        ...

    def follow(self, after: Position) -> AsyncIterator[tuple[Recorded, ...]]:
        """Batches of whole decisions, for ever. Raises LogBroken when n+1 can never come, or `after` never was."""
        ...

    @property
    def stale_since(self) -> float | None:
        """Monotonic time since when the log has been out of reach, None while it is in reach."""
        ...
