"""Rules of seals: they follow each other without a gap, and each names the hash of the one before."""

from collections.abc import Sequence

import msgspec

from events.base import ORIGIN, Event, Position
from events.seal import LogSealed
from handlers.base import Command, Context, Decider, Refused, told


class SealLog(Command, frozen=True, kw_only=True):
    """The segment has been read and hashed; this says so in the log."""

    first: Position
    last: Position
    hash: str
    previous_hash: str


class LogState(msgspec.Struct, frozen=True, tag=True):
    last: Position = ORIGIN
    hash: str = ""


def evolve(state: LogState, event: Event) -> LogState:
    return LogState(event.last, event.hash) if isinstance(event, LogSealed) else state


def decide(command: SealLog, state: LogState, ctx: Context) -> Sequence[Event]:
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


LOG: Decider[SealLog, LogState] = Decider(
    category="log",
    commands=(SealLog,),
    initial=LogState(),
    aggregate_id=lambda command: "seals",
    decide=decide,
    evolve=evolve,
)
