"""Webhooks: added, moved, removed, looked at; their dead letters inspected and sent again. The secret is told once."""

import asyncio
from base64 import b64encode
from secrets import token_bytes
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from events.base import Position, WebhookId, derive
from events.signals.deliveries import Attempt, DeliveriesUnavailable, Place
from gateway.cloudevent import cloudevent
from gateway.control import bodies
from gateway.control.errors import ApiError, invalid, not_found
from gateway.control.identity import visit_of
from gateway.control.plane import Plane
from gateway.control.subscriptions import Subscriptions
from gateway.numbers import whole
from gateway.webhooks.targets import TargetRefused
from handlers.base import Refused
from handlers.deciders.webhook import MoveWebhook, RegisterWebhook, RemoveWebhook, RequestRedelivery
from projections.selection import no_such_type
from projections.webhooks import DeadLetter, Webhook

LIMIT, LIMIT_MAX = 100, 1000
SECRET_BYTES = 32


class NewWebhook(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    types: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    after: int | None = None
    """None: from now on."""
    description: str = ""


class Move(msgspec.Struct, forbid_unknown_fields=True):
    url: str


class Again(msgspec.Struct, forbid_unknown_fields=True):
    positions: tuple[int, ...] = ()
    all: bool = False


def install(router: APIRouter, plane: Plane, subscriptions: Subscriptions) -> None:
    _webhooks(router, plane, subscriptions)
    _letters(router, subscriptions)


def _webhooks(router: APIRouter, plane: Plane, subscriptions: Subscriptions) -> None:
    @router.post("/v1/webhooks")
    async def add(request: Request) -> Any:
        body = await bodies.decode(request, NewWebhook)
        visit, head = visit_of(request), plane.views.position
        if body.after is not None and not 0 <= body.after <= head:
            raise invalid(f"after must be a position from 0 to {head}, where the log ends, not {body.after}", "after")
        unknown = no_such_type(body.types)
        if unknown is not None:
            raise invalid(f"there is no event type {unknown[0]!r}; {unknown[1]}", "types")
        webhook_id = WebhookId(derive("webhook", visit.id))
        forbidden = await _forbidden(subscriptions, body.url)
        secret = await asyncio.to_thread(_secret, subscriptions, webhook_id)
        try:
            await visit.do(
                RegisterWebhook,
                webhook_id=webhook_id,
                url=body.url,
                types=body.types,
                entities=body.entities,
                after=head if body.after is None else Position(body.after),
                description=body.description,
                forbidden=forbidden,
            )
        except Refused:
            if webhook_id not in subscriptions.webhooks.state:
                await asyncio.to_thread(subscriptions.secrets.remove, webhook_id)
            raise
        return {**_shown(_find(subscriptions, webhook_id), None), "secret": secret}

    @router.get("/v1/webhooks")
    async def every() -> Any:
        webhooks = list(subscriptions.webhooks.state.values())
        places = await asyncio.gather(*(_place(subscriptions, each) for each in webhooks))
        return {"webhooks": [_shown(each, place) for each, place in zip(webhooks, places, strict=True)]}

    @router.get("/v1/webhooks/{webhook_id}")
    async def one(webhook_id: str) -> Any:
        found = _find(subscriptions, webhook_id)
        return _shown(found, await _place(subscriptions, found))

    @router.patch("/v1/webhooks/{webhook_id}")
    async def move(request: Request, webhook_id: str) -> Any:
        body = await bodies.decode(request, Move)
        found = _find(subscriptions, webhook_id)
        forbidden = await _forbidden(subscriptions, body.url)
        await visit_of(request).do(MoveWebhook, webhook_id=found.webhook_id, url=body.url, forbidden=forbidden)
        return _shown(_find(subscriptions, webhook_id), None)

    @router.delete("/v1/webhooks/{webhook_id}")
    async def remove(request: Request, webhook_id: str) -> Any:
        found = _find(subscriptions, webhook_id)
        await visit_of(request).do(RemoveWebhook, webhook_id=found.webhook_id)
        await asyncio.to_thread(subscriptions.secrets.remove, found.webhook_id)
        return {"id": found.webhook_id}


def _letters(router: APIRouter, subscriptions: Subscriptions) -> None:
    @router.get("/v1/webhooks/{webhook_id}/deliveries")
    async def attempts(request: Request, webhook_id: str) -> Any:
        found, limit = _find(subscriptions, webhook_id), _limit(request)
        try:
            newest = await subscriptions.deliveries.attempts(found.webhook_id, limit)
        except DeliveriesUnavailable as away:
            raise ApiError(503, f"the delivery log does not answer: {away}", code="away", retry_after_s=2) from away
        return {"deliveries": [_shown_attempt(each) for each in newest]}

    @router.get("/v1/webhooks/{webhook_id}/dead_letters")
    async def dead_letters(request: Request, webhook_id: str) -> Any:
        dead = sorted(_find(subscriptions, webhook_id).dead.values(), key=lambda each: each.position)
        shown = [await _shown_letter(subscriptions, each) for each in dead[: _limit(request)]]
        body = msgspec.json.encode({"dead_letters": shown, "count": len(dead)})
        return Response(body, media_type="application/json")

    @router.post("/v1/webhooks/{webhook_id}/redeliver")
    async def redeliver(request: Request, webhook_id: str) -> Any:
        body = await bodies.decode(request, Again)
        found, visit = _find(subscriptions, webhook_id), visit_of(request)
        if bool(body.positions) == body.all:
            raise invalid('say which: {"positions": [42]}, or {"all": true}', "positions")
        if len(body.positions) > LIMIT_MAX:
            raise invalid(f"at most {LIMIT_MAX} positions at once, not {len(body.positions)}", "positions")
        waiting = [each.position for each in found.dead.values() if not each.waiting]
        asked = sorted(waiting if body.all else map(Position, body.positions))[:LIMIT_MAX]
        for position in asked:
            await visit.do(RequestRedelivery, webhook_id=found.webhook_id, position=position)
        return {"redelivering": asked}


def _find(subscriptions: Subscriptions, webhook_id: str) -> Webhook:
    found = subscriptions.webhooks.state.get(WebhookId(webhook_id))
    if found is None:
        raise not_found(f"there is no webhook {webhook_id!r}: `GET /v1/webhooks` lists them", "webhook_id")
    return found


async def _forbidden(subscriptions: Subscriptions, url: str) -> str:
    """Why it may not be reached. The decider refuses it, so that the audit trail has who tried."""
    try:
        await subscriptions.targets.check_url(url, subscriptions.lookup)
    except TargetRefused as refused:
        return str(refused)
    except ValueError as error:
        return f"{url[:100]!r} is no address: {error}"
    return ""


def _secret(subscriptions: Subscriptions, webhook_id: WebhookId) -> str:
    """A request that is repeated gets the secret that it got before."""
    known = subscriptions.secrets.read(webhook_id)
    if known is None:
        known = f"whsec_{b64encode(token_bytes(SECRET_BYTES)).decode()}"
        subscriptions.secrets.store(webhook_id, known)
    return known


async def _place(subscriptions: Subscriptions, webhook: Webhook) -> Place | None:
    try:
        return await subscriptions.deliveries.place(webhook.webhook_id)
    except DeliveriesUnavailable:
        return None


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(LIMIT))
    limit = whole(text)
    if limit is None or not 1 <= limit <= LIMIT_MAX:
        raise invalid(f"limit must be 1 to {LIMIT_MAX}, not {text[:20]!r}", "limit")
    return limit


def _shown(webhook: Webhook, place: Place | None) -> dict[str, Any]:
    """`position`, `open` and `waits` are null until the worker has said where it stands."""
    return {
        "id": webhook.webhook_id,
        "url": webhook.url,
        "types": webhook.types,
        "entities": webhook.entities,
        "after": webhook.after,
        "description": webhook.description,
        "created_at": webhook.registered_at,
        "created_by": webhook.registered_by,
        "position": None if place is None else place.read_to,
        "open": None if place is None else len(place.open),
        "waits": None if place is None else place.waits,
        "dead_letters": len(webhook.dead),
    }


def _shown_attempt(attempt: Attempt) -> dict[str, Any]:
    return msgspec.structs.asdict(attempt)


async def _shown_letter(subscriptions: Subscriptions, letter: DeadLetter) -> dict[str, Any]:
    return {
        "position": letter.position,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "given_up_at": letter.given_up_at,
        "redelivering": letter.waiting,
        "event": cloudevent(await subscriptions.feed.one(letter.position)),
    }
