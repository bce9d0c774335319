"""Seals follow each other without a gap, end where a decision ends, and have the hash of what they seal."""

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log.memory import message_of
from events.log.segments import segment_of
from events.seal import LogSealed
from tests.sim.checkers.base import Checker, Violation


class SealsFollowEachOther(Checker):
    def __init__(self) -> None:
        self.unsealed: list[Recorded] = []
        self.last: Position = ORIGIN
        self.hash = ""

    def see(self, recorded: Recorded) -> None:
        self.unsealed.append(recorded)
        event = recorded.event
        if not isinstance(event, LogSealed):
            return
        sealed = self.unsealed[: event.last - self.last]
        if event.first != self.last + 1 or event.last >= recorded.position:
            raise Violation(f"{recorded.position}: seals {event.first} to {event.last}, after {self.last}")
        if sealed[-1].meta.index + 1 != sealed[-1].meta.count:
            raise Violation(f"{recorded.position}: the segment ends within a decision, at {event.last}")
        segment = segment_of(map(message_of, sealed), self.hash)
        if (segment.hash, segment.previous_hash) != (event.hash, event.previous_hash):
            raise Violation(f"{recorded.position}: the hash of {event.first} to {event.last} is another one")
        self.unsealed = self.unsealed[len(sealed) :]
        self.last, self.hash = event.last, event.hash
