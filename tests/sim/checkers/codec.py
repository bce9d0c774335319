"""Every event survives the wire."""

from events.codec import Recorded, decode, encode
from events.union import UnknownEvent
from tests.sim.checkers.base import Checker, Violation


class EventsSurviveTheWire(Checker):
    def see(self, recorded: Recorded) -> None:
        if isinstance(recorded.event, UnknownEvent):
            raise Violation(f"{recorded.position}: {recorded.event} is not known")
        if decode(encode(recorded.event, recorded.meta)) != (recorded.event, recorded.meta):
            raise Violation(f"{recorded.position}: {recorded.event} does not survive the wire")
