"""Where webhooks stand, and what became of their last deliveries. Telemetry and cursors, not history.

Each note holds a place and the attempts since the note before it, so that both go together. Losing notes means that
events are delivered again, never that one is left out.
"""

from typing import Literal, Protocol

import msgspec

from events.base import EventId, Position, WebhookId

NOTES_KEPT = 1000
"""Of one webhook."""

Result = Literal["delivered", "failed", "away"]
"""`failed`: the receiver did not take this event. `away`: it could not be asked at all, or asked for patience."""


class Attempt(msgspec.Struct, frozen=True, array_like=True):
    position: Position
    event_id: EventId
    type: str
    at: float
    """UTC, seconds."""
    number: int
    """The how-manieth for this event."""
    result: Result
    status: int | None
    reason: str
    seconds: float


class Open(msgspec.Struct, frozen=True, array_like=True):
    """An event that has not arrived yet."""

    position: Position
    attempts: int


class Place(msgspec.Struct, frozen=True, array_like=True):
    read_to: Position
    """The log has been looked through up to here."""
    open: tuple[Open, ...] = ()
    """Of what was found, what is still to be delivered."""
    waits: str | None = None
    """Why nothing is sent at the moment."""
    losses: tuple[EventId, ...] = ()
    """The accepted losses that were read on the way there."""


class Note(msgspec.Struct, frozen=True, array_like=True):
    place: Place
    attempts: tuple[Attempt, ...] = ()


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Note).decode


class DeliveriesUnavailable(Exception):
    """The store does not answer."""


class Deliveries(Protocol):
    """Every method raises DeliveriesUnavailable."""

    async def keep(self, webhook_id: WebhookId, note: Note) -> None: ...

    async def place(self, webhook_id: WebhookId) -> Place | None:
        """That of the last note; None: there is none."""
        ...

    async def attempts(self, webhook_id: WebhookId, most: int) -> list[Attempt]:
        """The newest first."""
        ...

    async def forget(self, webhook_id: WebhookId) -> None:
        """All notes on it."""
        ...


class MemoryDeliveries:
    def __init__(self) -> None:
        self._notes: dict[WebhookId, list[Note]] = {}
        self.places: dict[WebhookId, Place] = {}

    async def keep(self, webhook_id: WebhookId, note: Note) -> None:
        notes = self._notes.setdefault(webhook_id, [])
        # Through the codec, so that nothing lives here that could not live on a wire.
        notes.append(decode(encode(note)))
        del notes[:-NOTES_KEPT]
        self.places[webhook_id] = note.place

    async def place(self, webhook_id: WebhookId) -> Place | None:
        return self.places.get(webhook_id)

    async def attempts(self, webhook_id: WebhookId, most: int) -> list[Attempt]:
        return newest(self._notes.get(webhook_id, []), most)

    async def forget(self, webhook_id: WebhookId) -> None:
        self._notes.pop(webhook_id, None)
        self.places.pop(webhook_id, None)


def newest(notes: list[Note], most: int) -> list[Attempt]:
    return [attempt for note in reversed(notes) for attempt in reversed(note.attempts)][:most]
