"""After these events, what does a reactor call for? Reactors tested in their own words.

story = After(PROMOTE, REGISTERED, pushed("d1"), built("d1"), ready("d1"))
story.calls_for() == (StartPromotion, …)
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from events.base import Actor, CommandId, CorrelationId, EventId, Metadata, Position, StreamName
from events.codec import Recorded
from events.signals import Signal
from events.union import AnyEvent
from handlers.base import Command, Reactor, called_for

START = datetime(2026, 1, 1, tzinfo=UTC)


class After:
    def __init__(self, reactor: Reactor[Any], *events: AnyEvent) -> None:
        self._reactor = reactor
        self.now = START
        self.position = Position(0)
        self._state = reactor.initial(START)
        self.then(*events)

    def then(self, *events: AnyEvent, clock_s: float = 0.0) -> "After":
        """`clock_s`: how wrong the clock of the process that decided was."""
        for event in events:
            self.position = Position(self.position + 1)
            meta = Metadata(
                id=EventId(f"e{self.position}"),
                command_id=CommandId(f"c{self.position}"),
                correlation_id=CorrelationId("chain"),
                causation_id=None,
                actor=Actor("operator", "test"),
                at=self.now + timedelta(seconds=clock_s),
            )
            recorded = Recorded(self.position, StreamName("test", "one"), event, meta)
            self._state = self._reactor.evolve(self._state, recorded)
        return self

    def hears(self, signal: Signal) -> "After":
        self._state = self._reactor.hear(self._state, signal, self.now)
        return self

    def passes(self, seconds: float) -> "After":
        self.now += timedelta(seconds=seconds)
        return self

    def due(self) -> tuple[Command, ...]:
        commands = tuple(due.command for due in called_for(self._reactor, self._state, self.now))
        again = tuple(due.command for due in called_for(self._reactor, self._state, self.now))
        # One that says itself when it is ripe notes what it has looked at.
        assert again == (() if self._reactor.ripe is not None else commands), "asking twice is asking once"
        return commands

    def sleeps_s(self) -> float | None:
        """Of a reactor that says itself when it is ripe: for how long, if nothing happens; None: for ever."""
        assert self._reactor.ripe is not None
        ripe, next_at = self._reactor.ripe(self._state, self.now)
        assert not ripe, ripe
        return None if next_at is None else (next_at - self.now).total_seconds()

    def calls_for(self) -> tuple[type[Command], ...]:
        return tuple(type(command) for command in self.due())

    def the(self, kind: type[Any]) -> Any:
        """The one command of this kind that is called for."""
        (found,) = (command for command in self.due() if isinstance(command, kind))
        return found
