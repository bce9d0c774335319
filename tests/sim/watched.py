"""The simulator's log: the one in memory, with every checker looking at every commit as it happens."""

import hashlib
from collections.abc import Callable

from events.base import ORIGIN, Position, StreamName
from events.codec import Recorded, encode
from events.log import Draft
from events.log.memory import MemoryLog
from events.union import UnknownEvent
from tests.sim.checkers.base import Checker


class WatchedLog(MemoryLog):
    def __init__(
        self,
        checkers: tuple[Checker, ...],
        tell: Callable[[Recorded], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        super().__init__()
        self._checkers = checkers
        self._tell = tell
        self._broken = broken
        """What a checker found must not be raised into the code under test, which might survive it."""

    async def append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position:
        before = len(self._recorded)
        position = await super().append(stream, drafts, expected)
        fresh = self._recorded[before:]
        try:
            for recorded in fresh:
                self._tell(recorded)
                for checker in self._checkers:
                    checker.see(recorded)
            if fresh:
                for checker in self._checkers:
                    checker.commit()
        except Exception as error:
            self._broken(error)
        return position

    @property
    def last(self) -> Position:
        return Position(len(self._recorded))

    def history(self, until: Position | None = None, after: Position = ORIGIN) -> tuple[Recorded, ...]:
        return tuple(self._recorded[after : len(self._recorded) if until is None else until])

    def digest(self) -> str:
        """Of all that was ever appended: two runs are the same run if this is."""
        whole = hashlib.sha256()
        for recorded in self._recorded:
            assert not isinstance(recorded.event, UnknownEvent), "only events of this version are appended here"
            whole.update(encode(recorded.event, recorded.meta))
        return whole.hexdigest()
