"""Webhooks: who is told of which events, and what could not be delivered.

The secret that signs is never here: it lies with the other secrets, under the webhook's id. Deliveries as such are not
history (they would beget deliveries); where they stand is kept by events/signals/deliveries.py.
"""

from events.base import Event, EventId, Position, WebhookId


class WebhookRegistered(Event, frozen=True, kw_only=True):
    webhook_id: WebhookId
    url: str
    types: tuple[str, ...]
    """Of events, each exact or with `*` and `?`; none: all."""
    entities: tuple[str, ...]
    """Ids, one of which an event must name; none: all."""
    after: Position
    """Events after this position are delivered."""
    description: str


class WebhookMoved(Event, frozen=True, kw_only=True):
    """Whatever is still to be delivered goes to the new address."""

    webhook_id: WebhookId
    url: str


class WebhookRemoved(Event, frozen=True, kw_only=True):
    webhook_id: WebhookId


class DeliveryGivenUp(Event, frozen=True, kw_only=True):
    """A dead letter: the receiver refused this event too often. Later events of the same entity go on without it."""

    webhook_id: WebhookId
    position: Position
    event_id: EventId
    attempts: int
    reason: str


class RedeliveryRequested(Event, frozen=True, kw_only=True):
    webhook_id: WebhookId
    position: Position
    asked: int
    """The how-manieth time for this event."""


class RedeliverySucceeded(Event, frozen=True, kw_only=True):
    webhook_id: WebhookId
    position: Position
    attempts: int


class DeliveriesTaken(Event, frozen=True, kw_only=True):
    """From here on this control plane delivers to all webhooks, and no other one that works on the same log."""

    holder: str
    """Its machine."""
    instead_of: str
    """Who did until now; empty: nobody."""
    silent_for_s: float
    """How long nothing had been heard of that one."""
