"""What deciders decide from: every aggregate folded in memory, with its last position and the commands it has seen.

A dispatch reads nothing from the log; this fold follows it, and optimistic concurrency guards the difference.
"""

import msgspec

from events.base import ORIGIN, CommandId, Position, StreamName
from events.codec import Recorded
from events.union import UnknownEvent
from handlers.deciders import DECIDER_FOR, AggregateState
from projections.base import Projection


class Aggregate(msgspec.Struct):
    state: AggregateState | None
    position: Position = ORIGIN
    commands: dict[CommandId, Position] = {}
    """Command id -> position of the last event that it made."""
    unknown: str | None = None
    """Type of an event that this version cannot read: no decision may be made here."""


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
    aggregate.commands[recorded.meta.command_id] = recorded.position
    return aggregates


DECISIONS: Projection[Aggregates] = Projection("decisions", 1, dict[StreamName, Aggregate], dict, evolve)
