"""Every event follows from an earlier event, from a person, an agent, or from a signal that a reactor names.

No command is carried out twice, and the events of a decision stand together.
"""

from events.base import CommandId, CorrelationId, EventId, Position
from events.codec import Recorded
from tests.sim.checkers.base import Checker, Violation

SIGNAL_DRIVEN = ("reactor:autoscale", "reactor:detect_lost")


class EveryEventHasACause(Checker):
    def __init__(self) -> None:
        self.seen: dict[EventId, tuple[Position, CorrelationId]] = {}
        self.commands: dict[CommandId, tuple[Position, int]] = {}

    def see(self, recorded: Recorded) -> None:
        meta = recorded.meta
        if meta.id in self.seen:
            raise Violation(f"{recorded.position}: event {meta.id} is there twice")
        self.seen[meta.id] = (recorded.position, meta.correlation_id)
        before = self.commands.get(meta.command_id)
        if before != ((Position(recorded.position - 1), meta.index - 1) if meta.index else None):
            raise Violation(f"{recorded.position}: command {meta.command_id} was carried out before, at {before}")
        self.commands[meta.command_id] = (recorded.position, meta.index)
        if meta.causation_id is not None:
            if meta.causation_id not in self.seen:
                raise Violation(f"{recorded.position}: its cause {meta.causation_id} is not in the log")
            if self.seen[meta.causation_id][1] != meta.correlation_id:
                raise Violation(f"{recorded.position}: another correlation than its cause")
        elif meta.actor.name.startswith("reactor:") and meta.actor.name not in SIGNAL_DRIVEN:
            raise Violation(f"{recorded.position}: {recorded.event} has no cause")
