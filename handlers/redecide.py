"""Deciding a history again with the code at hand: which decisions would be others now. Pure.

A log holds decisions, not commands, so each command is found again in one of two ways. What a reactor decided from the
log alone must be called for again, by the same id, in the state just before. What came from outside (an agent's report,
a measured load, a person) is put together from the fields of its events. A decision whose command cannot be found is
counted, never guessed. Where a reactor now calls for something that no history answers, that is told too.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import msgspec

from events.base import ORIGIN, CommandId, Position, StreamName
from events.codec import Recorded, event_type
from events.model import ModelRegistered
from events.union import UnknownEvent
from handlers.base import Command, Context, Decider, Reactor, Refused, called_for
from handlers.deciders import DECIDER_FOR, DECIDER_OF
from handlers.deciders.model import PushDeployment
from handlers.deciders.scaling import ScaleByLoad
from handlers.decisions import DECISIONS, Aggregate, Aggregates
from handlers.reactors import REACTORS

KNOWN_AGAIN = frozenset((
    "NodeJoined", "NodeResumed", "NodeDraining", "NodeLost", "NodeLeft",
    "BuildRequested", "BuildStarted", "BuildStepFinished", "BuildSucceeded", "BuildFailed", "BuildStopped",
    "ReplicaAssigned", "ReplicaEnvironmentReady",
    "WeightsPinned", "WeightsMirrored", "WeightsMirrorFailed", "WeightsDiscarded",
    "ReplicaWeightsReady", "ReplicaWeightsLate", "WeightsFoundCorrupt",
    "WeightsPrefetchRequested", "WeightsPrefetched", "WeightsPrefetchLate", "WeightsPrefetchFailed",
    "WeightsPrefetchWithdrawn",
    "ReplicaProcessStarted", "ReplicaReady", "ReplicaUnready", "ReplicaDraining", "ReplicaStopped", "ReplicaFailed",
    "ReplicaLost", "ModelRegistered", "DeploymentPushed", "KeyIssued", "KeyRevoked", "SecretStored", "SecretRemoved",
))  # fmt: skip
"""Decisions of these alone are known again by their fields: if no command gives the same, that is a difference."""
PATIENCE = timedelta(seconds=60)
"""So long a reactor may have called for something before it counts that history has no answer to it."""
LOOK_BACK = 32
"""A reactor that decided may have looked at the log so many decisions earlier."""

Kind = Literal["other events", "refused", "nothing decided", "not called for", "decided in addition"]


class Difference(msgspec.Struct, frozen=True):
    position: Position
    """Of the decision; of a decision in addition, where it was first called for."""
    kind: Kind
    actor: str
    stream: str
    command: str
    recorded: tuple[dict[str, Any], ...]
    """The events as plain values."""
    now: tuple[dict[str, Any], ...]
    reason: str = ""


class Redecided(msgspec.Struct, frozen=True):
    decisions: int
    alike: int
    differences: tuple[Difference, ...]
    not_decided: dict[str, int]
    """How many decisions could not be made again, by their first event."""
    reactors_asked: bool


def redecide(
    decisions: Iterable[tuple[Recorded, ...]], begin: Position = ORIGIN, aggregates: Aggregates | None = None
) -> Redecided:
    """`begin`, `aggregates`: where the history begins, and what had been decided by then. Reactors fold from the very
    beginning, so one that begins later is decided again without them."""
    return _Again(begin, {} if aggregates is None else aggregates).all(tuple(decisions))


class _Called(msgspec.Struct):
    """A command that a reactor calls for, since when."""

    command: Command
    reactor: str
    since: datetime
    position: Position


class _Again:
    def __init__(self, begin: Position, aggregates: Aggregates) -> None:
        self._aggregates = aggregates
        self._asked = begin == ORIGIN
        self._reactors: dict[str, Reactor[Any]] = {}
        self._states: dict[str, Any] = {}
        self._called: dict[CommandId, _Called] = {}
        self._lately: deque[dict[CommandId, Command]] = deque(maxlen=LOOK_BACK)
        self._answered: frozenset[CommandId] = frozenset()
        self._differences: list[Difference] = []
        self._unknown: Counter[str] = Counter()
        self._alike = 0

    def all(self, decisions: Sequence[tuple[Recorded, ...]]) -> Redecided:
        self._answered = frozenset(decision[0].meta.command_id for decision in decisions)
        if self._asked and decisions:
            for each in filter(_by_log_alone, REACTORS):
                self._reactors[each.name] = each
                self._states[each.name] = each.initial(decisions[0][0].meta.at)
        for decision in decisions:
            self._look_at(decision)
            self._fold(decision)
        found = tuple(sorted(self._differences, key=lambda each: each.position))
        return Redecided(len(decisions), self._alike, found, dict(sorted(self._unknown.items())), self._asked)

    def _fold(self, decision: tuple[Recorded, ...]) -> None:
        for recorded in decision:
            DECISIONS.evolve(self._aggregates, recorded)
            for name, reactor in self._reactors.items():
                self._states[name] = reactor.evolve(self._states[name], recorded)

    def _look_at(self, decision: tuple[Recorded, ...]) -> None:
        first = decision[0]
        if self._reactors:
            self._ask_reactors(first)
        if any(isinstance(each.event, UnknownEvent) for each in decision):
            self._unknown[event_type(first.event)] += 1
            return
        _, dash, reactor = first.meta.actor.name.partition("reactor:")
        if dash and reactor in self._reactors:
            wanted = first.meta.command_id
            # The newest look first: it is the one that counts, unless the reactor lagged behind.
            commands = [each[wanted] for each in reversed(self._lately) if wanted in each]
            if commands:
                self._compare(decision, commands, must=True)
            else:
                self._differs(decision, "not called for", "", (), f"{reactor} does not call for it in this state")
            return
        known_again = all(event_type(each.event) in KNOWN_AGAIN for each in decision)
        self._compare(decision, _commands_of(decision), must=known_again)

    def _compare(self, decision: tuple[Recorded, ...], commands: Sequence[Command], *, must: bool) -> None:
        recorded = tuple(msgspec.to_builtins(each.event) for each in decision)
        first: Difference | None = None
        for command in commands:
            now, reason = self._decided(decision[0].stream, command, decision[0].meta.at)
            if now == recorded:
                self._alike += 1
                return
            kind: Kind = "refused" if now is None else "other events" if now else "nothing decided"
            first = first or self._difference(decision, kind, type(command).__name__, now or (), reason)
        if must and first is not None:
            self._differences.append(first)
        elif must:
            self._differs(decision, "not called for", "", (), "no command of this code leads to such events")
        else:
            self._unknown[event_type(decision[0].event)] += 1

    def _decided(
        self, stream: StreamName, command: Command, now: datetime
    ) -> tuple[tuple[dict[str, Any], ...] | None, str]:
        """None: refused, and why."""
        decider = DECIDER_OF[type(command)]
        aggregate = self._aggregates.get(stream) or Aggregate(decider.initial)
        try:
            events = decider.decide(command, aggregate.state, Context(now))
        except Refused as refused:
            return None, refused.reason
        return tuple(msgspec.to_builtins(each) for each in events), ""

    def _ask_reactors(self, before: Recorded) -> None:
        """What is called for just before an event; what has been for long, and nobody ever answers, is a difference."""
        now = before.meta.at
        called = {
            due.command.id: _Called(due.command, name, now, before.position)
            for name, reactor in self._reactors.items()
            for due in called_for(reactor, self._states[name], now)
        }
        self._lately.append({name: each.command for name, each in called.items()})
        self._called = {name: self._called.get(name, each) for name, each in called.items()}
        for each in self._called.values():
            if each.command.id in self._answered or now - each.since < PATIENCE:
                continue
            self._answered |= {each.command.id}
            decider = DECIDER_OF[type(each.command)]
            stream = StreamName(decider.category, decider.aggregate_id(each.command))
            events, _ = self._decided(stream, each.command, now)
            if events:
                name = type(each.command).__name__
                self._differences.append(
                    Difference(
                        each.position, "decided in addition", f"reactor:{each.reactor}", str(stream), name, (), events
                    )
                )

    def _differs(
        self, decision: tuple[Recorded, ...], kind: Kind, command: str, now: tuple[dict[str, Any], ...], reason: str
    ) -> None:
        self._differences.append(self._difference(decision, kind, command, now, reason))

    def _difference(
        self, decision: tuple[Recorded, ...], kind: Kind, command: str, now: tuple[dict[str, Any], ...], reason: str
    ) -> Difference:
        first = decision[0]
        recorded = tuple(msgspec.to_builtins(each.event) for each in decision)
        return Difference(
            first.position, kind, first.meta.actor.name, str(first.stream), command, recorded, now, reason
        )


_DEAF = Reactor("", lambda now: None, lambda state, recorded: state).hear


def _by_log_alone(reactor: Reactor[Any]) -> bool:
    """What it decides follows from the log: it hears no signals, which are not history."""
    return reactor.ripe is None and reactor.hear is _DEAF


def _commands_of(decision: tuple[Recorded, ...]) -> Sequence[Command]:
    """Every command of the category that the fields of the events fill; the best filled first."""
    decider: Decider[Any, Any] | None = DECIDER_FOR.get(decision[0].stream.category)
    meta = decision[0].meta
    identity = {
        "id": meta.command_id,
        "actor": meta.actor,
        "correlation_id": meta.correlation_id,
        "causation_id": meta.causation_id,
    }
    fields = _fields(decision)
    found: list[tuple[int, int, Command]] = []
    for kind in decider.commands if decider is not None else ():
        own = {**fields, **_measured(decision)} if kind is ScaleByLoad else fields
        types = {each.name: each.type for each in msgspec.structs.fields(kind) if each.name not in identity}
        lacking = [name for name in types if name not in own]
        try:
            filled = {
                name: _nothing(each) if name in lacking else msgspec.convert(own[name], each)
                for name, each in types.items()
            }
        except (msgspec.ValidationError, LookupError):
            continue
        found.append((len(lacking), -len(types), kind(**identity, **filled)))
        if kind is PushDeployment:  # Who gives no name gets one by the number, or by what it is.
            found.append((len(lacking), -len(types), kind(**identity, **{**filled, "name": None})))
    return tuple(command for _, _, command in sorted(found, key=lambda each: each[:2]))


def _fields(decision: tuple[Recorded, ...]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for recorded in decision:
        event = recorded.event
        fields |= {name: getattr(event, name) for name in event.__struct_fields__}
        if isinstance(event, ModelRegistered):
            fields["model_name"] = event.name
    # The name matters to the first push only, which registers it.
    return {"model_name": fields.get("model_id"), **fields}


def _measured(decision: tuple[Recorded, ...]) -> Mapping[str, Any]:
    return {"target": getattr(decision[-1].event, "previous", 0)}


def _nothing(kind: Any) -> Any:
    """A value for what the events do not tell, because it left no trace in them. Raises LookupError."""
    if kind is type(None) or type(None) in get_args(kind):
        return None
    for known, value in ((str, ""), (bool, False), (int, 0), (tuple, ())):
        if kind is known or getattr(kind, "__supertype__", None) is known or getattr(kind, "__origin__", None) is known:
            return value
    raise LookupError(f"nothing stands for {kind}")
