"""Rules of webhooks: what one looks like, and how a dead letter is asked for again."""

import pytest

from events.base import EventId, Position, WebhookId
from events.webhook import (
    DeliveryGivenUp,
    RedeliveryRequested,
    RedeliverySucceeded,
    WebhookMoved,
    WebhookRegistered,
    WebhookRemoved,
)
from handlers.deciders.webhook import (
    WEBHOOK,
    GiveUpDelivery,
    MoveWebhook,
    RegisterWebhook,
    RemoveWebhook,
    ReportRedelivery,
    RequestRedelivery,
)
from tests.spec import changed, given, ids

W, P = WebhookId("w"), Position(7)
URL, OTHER = "https://example.com/hook?team=1", "http://10.0.0.7:8080"
ADD = RegisterWebhook(
    **ids(), webhook_id=W, url=URL, types=("Replica*",), entities=("m1",), after=Position(3), description=""
)
ADDED = WebhookRegistered(
    webhook_id=W, url=URL, types=("Replica*",), entities=("m1",), after=Position(3), description=""
)
MOVE, MOVED = MoveWebhook(**ids(), webhook_id=W, url=OTHER), WebhookMoved(webhook_id=W, url=OTHER)
REMOVE, REMOVED = RemoveWebhook(**ids(), webhook_id=W), WebhookRemoved(webhook_id=W)
TOLD = {"webhook_id": W, "position": P, "event_id": EventId("e7"), "attempts": 12, "reason": "answered 500"}
GIVE_UP, GIVEN_UP = GiveUpDelivery(**ids(), **TOLD), DeliveryGivenUp(**TOLD)  # type: ignore[arg-type]
AGAIN = RequestRedelivery(**ids(), webhook_id=W, position=P)
ARRIVED = ReportRedelivery(**ids(), webhook_id=W, position=P, attempts=1)


def asked(times: int) -> RedeliveryRequested:
    return RedeliveryRequested(webhook_id=W, position=P, asked=times)


def test_a_webhook_is_registered_moved_and_removed() -> None:
    given(WEBHOOK).when(ADD).then(ADDED)
    given(WEBHOOK, ADDED).when(ADD).refused("conflict", "webhook_id")
    given(WEBHOOK, ADDED).when(MOVE).then(MOVED)
    given(WEBHOOK, ADDED, MOVED).when(MOVE).unchanged()
    given(WEBHOOK, ADDED).when(REMOVE).then(REMOVED)
    given(WEBHOOK, ADDED, REMOVED).when(REMOVE).unchanged()
    given(WEBHOOK, ADDED, REMOVED).when(ADD).refused("conflict", "webhook_id")


def test_what_the_edge_says_against_an_address_is_the_refusal() -> None:
    for before, command in (((), ADD), ((ADDED,), MOVE)):
        reason = (
            given(WEBHOOK, *before).when(changed(command, forbidden="an internal address")).refused("invalid", "url")
        )
        assert reason == "an internal address"


@pytest.mark.parametrize("command", [MOVE, REMOVE, AGAIN, GIVE_UP, ARRIVED])
def test_what_never_was_cannot_be_changed(command: MoveWebhook) -> None:
    given(WEBHOOK).when(command).refused("not_found", "webhook_id")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "https://",
        "https://user:word@example.com/",
        "https://a b/",
        "https://a/#x",
        "https://a/\0",
        "https://a\x1b/",
    ],
)
def test_an_address_is_http_without_user_and_fragment(url: str) -> None:
    given(WEBHOOK).when(changed(ADD, url=url)).refused("invalid", "url")
    given(WEBHOOK, ADDED).when(changed(MOVE, url=url)).refused("invalid", "url")


def test_types_are_names_or_patterns_of_names() -> None:
    given(WEBHOOK).when(changed(ADD, types=("evt.replica",))).refused("invalid", "types")
    given(WEBHOOK).when(changed(ADD, types=("Replica*",) * 101)).refused("invalid", "types")
    given(WEBHOOK).when(changed(ADD, after=Position(-1))).refused("invalid", "after")


@pytest.mark.parametrize("entity", ["", "x" * 501])
def test_an_entity_is_an_id_and_a_description_is_short(entity: str) -> None:
    given(WEBHOOK).when(changed(ADD, entities=("m1", entity))).refused("invalid", "entities")
    given(WEBHOOK).when(changed(ADD, description="x" * 501)).refused("invalid", "description")


def test_a_dead_letter_is_asked_for_again_as_often_as_it_dies() -> None:
    given(WEBHOOK, ADDED).when(GIVE_UP).then(GIVEN_UP)
    given(WEBHOOK, ADDED, GIVEN_UP).when(GIVE_UP).unchanged()
    given(WEBHOOK, ADDED, GIVEN_UP).when(AGAIN).then(asked(1))
    given(WEBHOOK, ADDED, GIVEN_UP, asked(1)).when(AGAIN).unchanged()
    given(WEBHOOK, ADDED, GIVEN_UP, asked(1)).when(GIVE_UP).then(GIVEN_UP)
    given(WEBHOOK, ADDED, GIVEN_UP, asked(1), GIVEN_UP).when(AGAIN).then(asked(2))


def test_only_a_dead_letter_is_asked_for_again_and_only_what_was_asked_for_arrives() -> None:
    given(WEBHOOK, ADDED).when(AGAIN).refused("not_found", "position")
    given(WEBHOOK, ADDED, GIVEN_UP).when(ARRIVED).unchanged()
    arrived = RedeliverySucceeded(webhook_id=W, position=P, attempts=1)
    given(WEBHOOK, ADDED, GIVEN_UP, asked(1)).when(ARRIVED).then(arrived)
    given(WEBHOOK, ADDED, GIVEN_UP, asked(1), arrived).when(ARRIVED).unchanged()
