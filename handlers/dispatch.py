"""The only caller of `append`: decide from the fold, append under its position, and on a conflict decide again.

What happens when the process or the broker dies in between: the command's id is in the history or it is not. The
same command sent again therefore gives the first outcome, never a second effect.
"""

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime
from typing import cast

import msgspec
import structlog

from events.base import ORIGIN, CommandId, Event, EventId, Metadata, Position, StreamName, derive
from events.codec import event_type
from events.log import Ambiguous, Conflict, Draft, Log
from events.signals.refusals import Refusal, Refusals
from events.union import AnyEvent
from handlers.base import Command, Context, Refused
from handlers.clock import Clock
from handlers.deciders import DECIDER_FOR, DECIDER_OF
from handlers.decisions import Aggregate, Aggregates
from projections.view import View

_log = structlog.get_logger()
ATTEMPTS = 5
_IDENTITY = frozenset(Command.__struct_fields__)
_PASSWORD = re.compile(r"(?<=://)[^\s/:@\"]*:[^\s/@\"]+(?=@)")
"""In an address. What was refused is kept for long, and may be wrong in just this."""


class Contended(Exception):
    """Others kept changing the aggregate, or the log gave no answer. Asking again with the same id is safe."""


class Outcome(msgspec.Struct, frozen=True):
    position: Position
    """Reached once a view has seen this command's events, or what made it unnecessary."""
    events: tuple[Event, ...] = ()
    """Empty: it was already so, or the command had been carried out before."""


class Dispatch:
    """`await dispatch(command)` gives an Outcome. Raises Refused, Contended, LogUnavailable.

    `refusals`: where it is kept who tried what in vain; None keeps nothing.
    """

    def __init__(self, log: Log, decisions: View[Aggregates], clock: Clock, refusals: Refusals | None = None) -> None:
        self._log = log
        self._decisions = decisions
        self._clock = clock
        self._refusals = refusals

    async def __call__(self, command: Command) -> Outcome:
        stream = _stream_of(command)
        try:
            return await self._carry_out(command, stream)
        except Refused as refused:
            await self.keep(refusal_of(command, stream, refused, self._clock.now(), self._decisions.position))
            raise

    async def keep(self, refusal: Refusal) -> None:
        """Also of what was refused before it became a command."""
        if self._refusals is not None:
            await self._refusals.keep(refusal)

    async def _carry_out(self, command: Command, stream: StreamName) -> Outcome:
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(0.002 * 2**attempt)
            done_at = await self._done_at(stream, command.id)
            if done_at is not None:
                return Outcome(done_at)
            aggregate = self._aggregate(stream)
            events = self._decide(command, stream, aggregate)
            if not events:
                return Outcome(self._decisions.position)
            position = await self._append(stream, self._drafts(command, events), aggregate.position)
            if position is not None:
                return Outcome(position, events)
        raise Contended(f"{stream} was changed by others {ATTEMPTS} times while {type(command).__name__} was decided")

    def foretell(self, command: Command) -> tuple[Event, ...]:
        """What would be appended if it were dispatched now. Nothing is. Raises Refused."""
        stream = _stream_of(command)
        return self._decide(command, stream, self._aggregate(stream))

    async def _done_at(self, stream: StreamName, command_id: CommandId) -> Position | None:
        """Where the last event of the command is, as far as the fold reaches at the moment of the answer."""
        not_until = ORIGIN
        while True:
            aggregate = self._aggregate(stream)
            if command_id == aggregate.last_command:
                return aggregate.position
            if aggregate.position == not_until or not aggregate.may_have_seen(command_id):
                return None
            not_until = aggregate.position
            for recorded in reversed(await self._log.read(until=not_until, stream=stream)):
                if recorded.meta.command_id == command_id:
                    return recorded.position

    def _aggregate(self, stream: StreamName) -> Aggregate:
        return self._decisions.state.get(stream, Aggregate(DECIDER_FOR[stream.category].initial))

    def _decide(self, command: Command, stream: StreamName, aggregate: Aggregate) -> tuple[Event, ...]:
        if aggregate.unknown is not None:
            reason = f"{stream} holds an event of a newer version ({aggregate.unknown}): upgrade"
            raise Refused("precondition", reason)
        return tuple(DECIDER_OF[type(command)].decide(command, aggregate.state, Context(self._clock.now())))

    async def _append(self, stream: StreamName, drafts: tuple[Draft, ...], expected: Position) -> Position | None:
        """None: decide again; what has happened meanwhile is in the fold by then."""
        try:
            position = await self._log.append(stream, drafts, expected)
        except Conflict as conflict:
            _log.info("conflict", stream=str(stream), expected=expected, actual=conflict.actual)
            await self._decisions.reached(conflict.actual or await self._log.head())
            return None
        except Ambiguous:
            _log.warning("no answer to an append", stream=str(stream), command_id=drafts[0][1].command_id)
            await self._decisions.reached(await self._log.head())
            return None
        await self._decisions.reached(position)
        return position

    def _drafts(self, command: Command, events: Sequence[Event]) -> tuple[Draft, ...]:
        now = self._clock.now()
        drafts = []
        for index, event in enumerate(events):
            known = cast(AnyEvent, event)
            meta = Metadata(
                id=EventId(derive("event", command.id, event_type(known), index, length=24)),
                command_id=command.id,
                correlation_id=command.correlation_id,
                causation_id=command.causation_id,
                actor=command.actor,
                at=now,
                index=index,
                count=len(events),
            )
            drafts.append((known, meta))
        return tuple(drafts)


def _stream_of(command: Command) -> StreamName:
    decider = DECIDER_OF[type(command)]
    return StreamName(decider.category, decider.aggregate_id(command))


def refusal_of(command: Command, stream: StreamName, refused: Refused, at: datetime, position: Position) -> Refusal:
    body = {name: getattr(command, name) for name in command.__struct_fields__ if name not in _IDENTITY}
    return Refusal(
        id=derive("refused", command.id, refused.kind, refused.reason, length=24),
        at=at,
        command=type(command).__name__,
        category=stream.category,
        entity=stream.id,
        actor=command.actor,
        kind=refused.kind,
        reason=_PASSWORD.sub("…", refused.reason),
        field=refused.field,
        correlation_id=command.correlation_id,
        causation_id=command.causation_id,
        command_id=command.id,
        position=position,
        body=_PASSWORD.sub("…", msgspec.json.encode(body).decode()),
    )
