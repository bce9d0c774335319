"""Given these events, when this command comes, then these events follow: deciders tested in their own words.

given(MODEL, pushed).when(command).then(event, …) | .refused("conflict") | .unchanged()
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from events.base import Actor, CommandId, CorrelationId, Event
from handlers.base import Command, Context, Decider, Refused

AT = datetime(2026, 1, 1, tzinfo=UTC)
CONTEXT = Context(AT)


def ids(name: str = "c1") -> dict[str, Any]:
    """The identity fields of a test's command."""
    return {"id": CommandId(name), "actor": Actor("operator", "test"), "correlation_id": CorrelationId(name)}


class Given:
    def __init__(self, decider: Decider[Any, Any], history: Sequence[Event]) -> None:
        self._decider = decider
        self._history = tuple(history)

    def when(self, command: Command) -> "When":
        return When(self._decider, self._history, command)


class When:
    def __init__(self, decider: Decider[Any, Any], history: Sequence[Event], command: Command) -> None:
        self._decider = decider
        self._command = command
        self._state = decider.initial
        for event in history:
            self._state = decider.evolve(self._state, event)

    def _decide(self) -> tuple[Event, ...]:
        return tuple(self._decider.decide(self._command, self._state, CONTEXT))

    def then(self, *expected: Event) -> None:
        assert self._decide() == expected

    def then_like(self, *expected: tuple[type[Event], dict[str, Any]]) -> tuple[Event, ...]:
        """Compares only the named fields."""
        events = self._decide()
        shown = tuple(
            (type(event), {name: getattr(event, name) for name in fields})
            for event, (_, fields) in zip(events, expected, strict=False)
        )
        assert (len(events), shown) == (len(expected), tuple(expected))
        return events

    def unchanged(self) -> None:
        assert self._decide() == ()

    def refused(self, kind: str, field: str | None = None) -> str:
        """Gives the reason, for a test that wants to look at the words."""
        try:
            events = self._decide()
        except Refused as refused:
            assert (refused.kind, refused.field) == (kind, field or refused.field)
            return refused.reason
        raise AssertionError(f"expected a refusal ({kind}), got {events}")


def given(decider: Decider[Any, Any], *history: Event) -> Given:
    return Given(decider, history)


def changed(command: msgspec.Struct, **fields: Any) -> Any:
    return msgspec.structs.replace(command, **fields)
