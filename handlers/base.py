"""Commands, deciders, reactors, and the one way to say no.

A decider turns a command and an aggregate's state into events. A reactor folds the log (and hears signals) into a state
from which `due` names the commands that are now called for. Both are pure: time and ids arrive as data.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, Literal, TypeVar

import msgspec

from events.base import Actor, CommandId, CorrelationId, Event, EventId, Position, derive
from events.codec import Recorded
from events.signals import Signal

RefusedKind = Literal["invalid", "not_found", "conflict", "precondition", "capacity"]


class Refused(Exception):
    """A command that is not carried out. `reason` says what is wrong and what to do; `field` names the input."""

    def __init__(self, kind: RefusedKind, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.kind: RefusedKind = kind
        self.reason = reason
        self.field = field


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the imperative. The same id is the same request, however often it arrives."""

    id: CommandId
    actor: Actor
    correlation_id: CorrelationId
    causation_id: EventId | None = None


class Context(msgspec.Struct, frozen=True):
    """All that a decision may know besides its command and its state."""

    now: datetime


S = TypeVar("S")
C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Event)


def told(kind: type[E], command: Command, **more: object) -> E:
    """The event that states what the command asked: fields of the same name, and `more`. TypeError if one lacks."""
    fields = {name: getattr(command, name) for name in kind.__struct_fields__ if hasattr(command, name)}
    return kind(**{**fields, **more})


class Decider(msgspec.Struct, Generic[C, S], frozen=True):
    """One category's rules. `decide` gives the events (none: it is already so) or raises Refused."""

    category: str
    commands: tuple[type[C], ...]
    initial: S
    aggregate_id: Callable[[C], str]
    decide: Callable[[C, S, Context], Sequence[Event]]
    evolve: Callable[[S, Event], S]


NOW = datetime.min.replace(tzinfo=UTC)
"""Falls due at once."""


class Due(msgspec.Struct, frozen=True):
    """A command and when it is called for. Timers are data: a restart loses none and starts no task."""

    at: datetime
    command: Command


class Cause(msgspec.Struct, frozen=True):
    """The event that a later command follows from."""

    event_id: EventId
    correlation_id: CorrelationId
    position: Position


def cause(recorded: Recorded) -> Cause:
    return Cause(recorded.meta.id, recorded.meta.correlation_id, recorded.position)


class Reactor(msgspec.Struct, Generic[S], frozen=True):
    """Level-triggered: `due` reads the state, so nothing is lost when a process dies between an event and its reaction.

    The ids of its commands derive from the cause, so asking twice is asking once (ADR 0004).
    """

    name: str
    initial: Callable[[datetime], S]
    """Takes the time at which the reactor begins to hear."""
    evolve: Callable[[S, Recorded], S]
    due: Callable[[S], Iterable[Due]] = lambda state: ()
    hear: Callable[[S, Signal, datetime], S] = lambda state, signal, now: state
    ripe: Callable[[S, datetime], tuple[Sequence[Due], datetime | None]] | None = None
    """Instead of `due`, where listing all that may become due would cost too much: what is due now, and when to ask
    again though nothing happens. It may note in the state what it has looked at."""


def called_for(reactor: Reactor[S], state: S, now: datetime) -> Sequence[Due]:
    """What is due now."""
    if reactor.ripe is not None:
        return reactor.ripe(state, now)[0]
    return tuple(due for due in reactor.due(state) if due.at <= now)


def caused_by(why: Cause, reactor: str, *label: str | int) -> dict[str, Any]:
    """The identity fields of a reactor's command: the same cause and label give the same command."""
    return {
        "id": CommandId(derive(reactor, *label, why.event_id, length=24)),
        "actor": Actor(f"reactor:{reactor}", "internal"),
        "correlation_id": why.correlation_id,
        "causation_id": why.event_id,
    }
