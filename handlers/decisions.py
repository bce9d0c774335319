"""What deciders decide from: every aggregate folded in memory, with its last position and a trace of its commands.

A dispatch reads nothing from the log; this fold follows it, and optimistic concurrency guards the difference. Of the
commands of an aggregate only the last is kept by its id. Of each there are four bytes, which tell with certainty that a
command is new; whether one that may be an old one is, the history itself knows.
"""

from zlib import crc32

import msgspec

from events.base import ORIGIN, CommandId, Position, StreamName
from events.codec import Recorded
from events.union import UnknownEvent
from handlers.deciders import DECIDER_FOR, AggregateState
from projections.base import Projection


def fingerprint(command_id: CommandId) -> bytes:
    return crc32(command_id.encode()).to_bytes(4)


class Aggregate(msgspec.Struct):
    state: AggregateState | None
    position: Position = ORIGIN
    last_command: CommandId | None = None
    """That made the event at `position`."""
    fingerprints: bytearray = bytearray()
    """Of all commands that made events, one after the other."""
    unknown: str | None = None
    """Type of an event that this version cannot read: no decision may be made here."""

    def may_have_seen(self, command_id: CommandId) -> bool:
        """False: it certainly made no event here. Among a thousand commands, one in a million is taken for seen."""
        return fingerprint(command_id) in self.fingerprints


Aggregates = dict[StreamName, Aggregate]


def evolve(aggregates: Aggregates, recorded: Recorded) -> Aggregates:
    decider = DECIDER_FOR.get(recorded.stream.category)
    aggregate = aggregates.get(recorded.stream)
    if aggregate is None:
        aggregate = aggregates[recorded.stream] = Aggregate(decider.initial if decider else None)
    if decider is None or isinstance(recorded.event, UnknownEvent):
        aggregate.unknown = type(recorded.event).__name__ if decider is None else str(recorded.event)
    else:
        aggregate.state = decider.evolve(aggregate.state, recorded.event)
    aggregate.position = recorded.position
    command_id = recorded.meta.command_id
    if command_id != aggregate.last_command:
        aggregate.last_command = command_id
        aggregate.fingerprints += fingerprint(command_id)
    return aggregates


DECISIONS: Projection[Aggregates] = Projection("decisions", 4, dict[StreamName, Aggregate], dict, evolve)
