"""Which webhooks there are, and their dead letters: what the delivery worker and its readers fold."""

import msgspec

from events.base import EventId, Position, WebhookId
from events.codec import Recorded
from events.webhook import (
    DeliveriesTaken,
    DeliveryGivenUp,
    RedeliveryRequested,
    RedeliverySucceeded,
    WebhookMoved,
    WebhookRegistered,
    WebhookRemoved,
)
from projections.base import Projection


class DeadLetter(msgspec.Struct, frozen=True):
    position: Position
    event_id: EventId
    attempts: int
    reason: str
    given_up_at: str
    asked: int = 0
    """The how-manieth redelivery of this webhook was last asked for; 0: none, for this event."""
    waiting: bool = False
    """It has been asked for again, and has not arrived yet."""


class Webhook(msgspec.Struct, frozen=True):
    webhook_id: WebhookId
    url: str
    types: tuple[str, ...]
    entities: tuple[str, ...]
    after: Position
    description: str
    registered_at: str
    registered_by: str
    dead: dict[Position, DeadLetter] = {}


class Turn(msgspec.Struct, frozen=True):
    """Who delivers, of several control planes on one log; nobody before the first webhook."""

    holder: str = ""
    position: Position = Position(0)


Webhooks = dict[WebhookId, Webhook]


def evolve(webhooks: Webhooks, recorded: Recorded) -> Webhooks:
    at, change = recorded.meta.at.isoformat(), msgspec.structs.replace
    match recorded.event:
        case WebhookRegistered() as new:
            webhooks[new.webhook_id] = Webhook(
                new.webhook_id, new.url, new.types, new.entities, new.after, new.description, at,
                recorded.meta.actor.name, {},
            )  # fmt: skip
        case WebhookMoved(webhook_id=webhook_id, url=url) if webhook_id in webhooks:
            webhooks[webhook_id] = change(webhooks[webhook_id], url=url)
        case WebhookRemoved(webhook_id=webhook_id):
            webhooks.pop(webhook_id, None)
        case DeliveryGivenUp(webhook_id=webhook_id, position=position) as given_up if webhook_id in webhooks:
            letter = DeadLetter(position, given_up.event_id, given_up.attempts, given_up.reason, at)
            hook = webhooks[webhook_id]
            webhooks[webhook_id] = change(hook, dead={**hook.dead, position: letter})
        case RedeliveryRequested(webhook_id=webhook_id, position=position, asked=asked) if webhook_id in webhooks:
            hook = webhooks[webhook_id]
            if position in hook.dead:
                letter = change(hook.dead[position], asked=asked, waiting=True)
                webhooks[webhook_id] = change(hook, dead={**hook.dead, position: letter})
        case RedeliverySucceeded(webhook_id=webhook_id, position=position) if webhook_id in webhooks:
            hook = webhooks[webhook_id]
            left = {at: letter for at, letter in hook.dead.items() if at != position}
            webhooks[webhook_id] = change(hook, dead=left)
    return webhooks


WEBHOOKS: Projection[Webhooks] = Projection("webhooks", 1, dict[WebhookId, Webhook], dict, evolve)


def _turn(turn: Turn, recorded: Recorded) -> Turn:
    event = recorded.event
    return Turn(event.holder, recorded.position) if isinstance(event, DeliveriesTaken) else turn


TURN: Projection[Turn] = Projection("turn", 1, Turn, Turn, _turn)
