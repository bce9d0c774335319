"""Rules of webhooks. Whether an address may be reached is the edge's to know; it says so in the command."""

import re
from collections.abc import Sequence

import msgspec

from events.base import Event, EventId, Position, WebhookId
from events.webhook import (
    DeliveryGivenUp,
    RedeliveryRequested,
    RedeliverySucceeded,
    WebhookMoved,
    WebhookRegistered,
    WebhookRemoved,
)
from handlers.base import Command, Context, Decider, Refused, told

URL = re.compile(r"https?://[^\s\x00-\x1f\x7f/@?#]+(?:[/?][^\s\x00-\x1f\x7f#]*)?", re.ASCII)
CREDENTIALS = re.compile(r"[a-zA-Z]+://[^\s/?#]*@")
URL_MAX = 2000
PATTERNS_MAX = 100
ENTITY_MAX = DESCRIPTION_MAX = 500
TYPE_PATTERN = re.compile(r"[A-Za-z0-9*?]{1,100}")


class RegisterWebhook(Command, frozen=True, kw_only=True):
    webhook_id: WebhookId
    url: str
    types: tuple[str, ...]
    entities: tuple[str, ...]
    after: Position
    description: str
    forbidden: str = ""
    """Why the address may not be reached, as the edge sees it; empty if it may."""


class MoveWebhook(Command, frozen=True, kw_only=True):
    webhook_id: WebhookId
    url: str
    forbidden: str = ""


class RemoveWebhook(Command, frozen=True, kw_only=True):
    webhook_id: WebhookId


class GiveUpDelivery(Command, frozen=True, kw_only=True):
    webhook_id: WebhookId
    position: Position
    event_id: EventId
    attempts: int
    reason: str


class RequestRedelivery(Command, frozen=True, kw_only=True):
    webhook_id: WebhookId
    position: Position


class ReportRedelivery(Command, frozen=True, kw_only=True):
    """An event that had been given up has arrived after all."""

    webhook_id: WebhookId
    position: Position
    attempts: int


WebhookCommand = RegisterWebhook | MoveWebhook | RemoveWebhook | GiveUpDelivery | RequestRedelivery | ReportRedelivery


class WebhookState(msgspec.Struct, frozen=True, tag=True):
    url: str | None = None
    """None: there never was one, or it was removed."""
    removed: bool = False
    dead: tuple[Position, ...] = ()
    """Given up, and nobody has asked for them again."""
    asked: tuple[Position, ...] = ()
    """To be delivered once more."""
    times_asked: int = 0


def evolve(state: WebhookState, event: Event) -> WebhookState:
    change = msgspec.structs.replace
    match event:
        case WebhookRegistered(url=url) | WebhookMoved(url=url):
            return change(state, url=url)
        case WebhookRemoved():
            return WebhookState(removed=True)
        case DeliveryGivenUp(position=position):
            return change(state, dead=(*state.dead, position), asked=_without(state.asked, position))
        case RedeliveryRequested(position=position, asked=asked):
            dead = _without(state.dead, position)
            return change(state, dead=dead, asked=(*state.asked, position), times_asked=asked)
        case RedeliverySucceeded(position=position):
            return change(state, asked=_without(state.asked, position))
        case _:
            return state


def decide(command: WebhookCommand, state: WebhookState, ctx: Context) -> Sequence[Event]:
    if isinstance(command, RegisterWebhook):
        return _register(command, state)
    if state.url is None:
        if state.removed and isinstance(command, RemoveWebhook | GiveUpDelivery | ReportRedelivery):
            return ()
        raise Refused("not_found", f"there is no webhook {command.webhook_id!r}", "webhook_id")
    match command:
        case MoveWebhook(url=url, forbidden=forbidden):
            _check_url(url, forbidden)
            return () if url == state.url else (told(WebhookMoved, command),)
        case RemoveWebhook():
            return (told(WebhookRemoved, command),)
        case GiveUpDelivery(position=position):
            return () if position in state.dead else (told(DeliveryGivenUp, command),)
        case RequestRedelivery(position=position):
            return _ask_again(command, state)
        case ReportRedelivery(position=position):
            return (told(RedeliverySucceeded, command),) if position in state.asked else ()


def _register(command: RegisterWebhook, state: WebhookState) -> Sequence[Event]:
    _check_url(command.url, command.forbidden)
    if state.url is not None or state.removed:
        raise Refused("conflict", f"there was a webhook {command.webhook_id} already", "webhook_id")
    wrong = [each for each in command.types if not TYPE_PATTERN.fullmatch(each)]
    if wrong:
        raise Refused("invalid", f"{wrong[0]!r} is no event type: letters, with * and ? for any", "types")
    for field, given in (("types", command.types), ("entities", command.entities)):
        if len(given) > PATTERNS_MAX:
            raise Refused("invalid", f"at most {PATTERNS_MAX} {field}, not {len(given)}", field)
    if not all(0 < len(each) <= ENTITY_MAX for each in command.entities):
        raise Refused("invalid", f"an entity is an id of 1 to {ENTITY_MAX} characters", "entities")
    if len(command.description) > DESCRIPTION_MAX:
        reason = f"a description has at most {DESCRIPTION_MAX} characters, not {len(command.description)}"
        raise Refused("invalid", reason, "description")
    if command.after < 0:
        raise Refused("invalid", f"after is a position, 0 or more, not {command.after}", "after")
    return (told(WebhookRegistered, command),)


def _ask_again(command: RequestRedelivery, state: WebhookState) -> Sequence[Event]:
    if command.position in state.asked:
        return ()
    if command.position not in state.dead:
        reason = f"position {command.position} is not among the dead letters of webhook {command.webhook_id}"
        raise Refused("not_found", reason, "position")
    return (told(RedeliveryRequested, command, asked=state.times_asked + 1),)


def _check_url(url: str, forbidden: str) -> None:
    if CREDENTIALS.match(url):
        reason = "the address has a user or a password in it: leave them out; receivers check the signature instead"
        raise Refused("invalid", reason, "url")
    if len(url) > URL_MAX or not URL.fullmatch(url):
        shown = url[:100].replace("\n", " ")
        raise Refused("invalid", f"{shown!r} is no address: write one such as https://example.com/hook", "url")
    if forbidden:
        raise Refused("invalid", forbidden, "url")


def _without(positions: tuple[Position, ...], one: Position) -> tuple[Position, ...]:
    return tuple(each for each in positions if each != one)


WEBHOOK: Decider[WebhookCommand, WebhookState] = Decider(
    category="webhook",
    commands=(RegisterWebhook, MoveWebhook, RemoveWebhook, GiveUpDelivery, RequestRedelivery, ReportRedelivery),
    initial=WebhookState(),
    aggregate_id=lambda command: command.webhook_id,
    decide=decide,
    evolve=evolve,
)
