"""Rules of seals: they follow each other without a gap, and each names the hash of the one before.

A loss is accepted once, and only behind what is sealed.
"""

from collections.abc import Sequence

import msgspec

from events.base import ORIGIN, Event, Position
from events.seal import LogSealed, LossAccepted
from handlers.base import Command, Context, Decider, Refused, told


class SealLog(Command, frozen=True, kw_only=True):
    """The segment has been read and hashed; this says so in the log."""

    first: Position
    last: Position
    hash: str
    previous_hash: str


class AcceptLoss(Command, frozen=True, kw_only=True):
    """The log goes on though events are lost that were known to be there."""

    first: Position
    last: Position


class LogState(msgspec.Struct, frozen=True, tag=True):
    last: Position = ORIGIN
    hash: str = ""
    lost_from: Position = ORIGIN
    """Where the last accepted loss began; 0: nothing was lost."""


def evolve(state: LogState, event: Event) -> LogState:
    match event:
        case LogSealed():
            return msgspec.structs.replace(state, last=event.last, hash=event.hash)
        case LossAccepted():
            return msgspec.structs.replace(state, lost_from=event.first)
        case _:
            return state


def decide(command: SealLog | AcceptLoss, state: LogState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, AcceptLoss):
        return _accept(command, state)
    if command.last == state.last and command.hash == state.hash:
        return ()
    if not command.first <= command.last:
        raise Refused("invalid", f"a segment from {command.first} to {command.last} has no events", "last")
    if command.first != state.last + 1:
        raise Refused("conflict", f"the log is sealed up to {state.last}: seal on from {state.last + 1}", "first")
    if command.previous_hash != state.hash:
        reason = f"the seal up to {state.last} has the hash {state.hash or '(none)'}, not {command.previous_hash!r}"
        raise Refused("conflict", reason, "previous_hash")
    return (told(LogSealed, command),)


def _accept(command: AcceptLoss, state: LogState) -> Sequence[Event]:
    if command.first == state.lost_from:
        return ()
    if not max(state.last, state.lost_from) < command.first <= command.last:
        reason = f"positions {command.first} to {command.last} are no end of a log that is sealed up to {state.last}"
        raise Refused("invalid", reason, "first")
    return (told(LossAccepted, command),)


LOG: Decider[SealLog | AcceptLoss, LogState] = Decider(
    category="log",
    commands=(SealLog, AcceptLoss),
    initial=LogState(),
    aggregate_id=lambda command: "seals",
    decide=decide,
    evolve=evolve,
)
