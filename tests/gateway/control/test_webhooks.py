"""Webhooks over REST: registering is an event, the secret is told once and lies with the secrets."""

import stat

import pytest

from events.base import EventId, Position, WebhookId
from events.signals.deliveries import Attempt, Note, Open, Place
from events.webhook import DeliveryGivenUp, RedeliveryRequested, WebhookMoved, WebhookRegistered, WebhookRemoved
from tests.gateway.control.stand import INVOKE, Stand

URL = "https://203.0.113.9/hook"
PUBLIC = "https://8.8.8.8/hook"


async def added(stand: Stand, **more: object) -> dict[str, object]:
    answer = await stand.client.post("/v1/webhooks", json={"url": PUBLIC, **more})
    assert answer.status_code == 200, answer.text
    made: dict[str, object] = answer.json()
    return made


async def test_a_webhook_is_added_listed_moved_and_removed_and_each_is_an_event(stand: Stand) -> None:
    made = await added(stand, types=["Replica*"], entities=["m1"], description="pager")
    secret = str(made["secret"])
    assert secret.startswith("whsec_") and made["after"] == 2
    path = stand.state / "secrets" / "webhooks" / str(made["id"])
    assert path.read_text() == secret and stat.S_IMODE(path.stat().st_mode) == 0o600

    [listed] = (await stand.client.get("/v1/webhooks")).json()["webhooks"]
    assert listed | {"types": ["Replica*"], "created_by": "key:abcd1234", "dead_letters": 0} == listed
    assert "secret" not in listed
    moved = await stand.client.patch(f"/v1/webhooks/{made['id']}", json={"url": "https://8.8.4.4/"})
    assert moved.json()["url"] == "https://8.8.4.4/"
    await stand.client.delete(f"/v1/webhooks/{made['id']}")
    assert (await stand.client.get(f"/v1/webhooks/{made['id']}")).status_code == 404
    assert not path.exists()
    history = await stand.recorded()
    assert [type(each) for each in history[2:]] == [WebhookRegistered, WebhookMoved, WebhookRemoved]
    assert secret not in str(history)


async def test_a_request_that_is_repeated_is_the_same_webhook_with_the_same_secret(stand: Stand) -> None:
    ask = {"url": PUBLIC}
    one, two = [
        (await stand.client.post("/v1/webhooks", json=ask, headers={"Idempotency-Key": "k"})).json() for _ in range(2)
    ]
    assert (one["id"], one["secret"]) == (two["id"], two["secret"])
    assert len((await stand.client.get("/v1/webhooks")).json()["webhooks"]) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "http://127.0.0.1/x"}, "url"),
        ({"url": "http://localhost:9000/x"}, "url"),
        ({"url": "http://[::1]/x"}, "url"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": URL}, "url"),
        ({"url": "ftp://8.8.8.8"}, "url"),
        ({"url": "http://8.8.8.8:99999/"}, "url"),
        ({"url": "http://[::127.0.0.1]/x"}, "url"),
        ({"url": "http://[fec0::1]/x"}, "url"),
        ({"url": PUBLIC, "types": ["no type"]}, "types"),
        ({"url": PUBLIC, "types": ["Replca"]}, "types"),
        ({"url": PUBLIC, "types": ["Zz*"]}, "types"),
        ({"url": PUBLIC, "after": 99}, "after"),
        ({"url": PUBLIC, "entities": [""]}, "entities"),
        ({"url": PUBLIC, "description": "x" * 600}, "description"),
        ({"url": PUBLIC, "type": ["KeyIssued"]}, "type"),
        ({}, None),
    ],
)
async def test_a_webhook_that_cannot_be_is_refused_by_field(stand: Stand, body: object, field: str | None) -> None:
    answer = await stand.client.post("/v1/webhooks", json=body)
    assert answer.status_code == 400 and answer.json().get("field") == field, answer.text
    assert (await stand.client.get("/v1/webhooks")).json()["webhooks"] == []


async def test_what_only_looks_like_a_field_is_refused_and_changes_nothing(stand: Stand) -> None:
    """Else whoever misspells a filter, or tries to change one, sends everything to the address and does not know."""
    made = await added(stand)
    path = f"/v1/webhooks/{made['id']}"
    moved = await stand.client.patch(path, json={"url": "https://8.8.4.4/", "types": ["Node*"]})
    assert moved.status_code == 400 and moved.json()["field"] == "types" and "known are url" in moved.json()["fix"]
    again = await stand.client.post(f"{path}/redeliver", json={"all": True, "position": 3})
    assert again.status_code == 400 and again.json()["field"] == "position"
    assert (await stand.client.get(path)).json()["url"] == made["url"]


async def test_who_tried_an_internal_address_is_kept_without_the_password_in_it(stand: Stand) -> None:
    for url in ("http://169.254.169.254/latest", "https://ada:hunter22@8.8.8.8/hook"):
        assert (await stand.client.post("/v1/webhooks", json={"url": url})).status_code == 400
    internal, named = stand.refusals.kept
    assert (internal.command, internal.field, internal.actor.name) == ("RegisterWebhook", "url", "key:abcd1234")
    assert "is an internal address" in internal.reason and "169.254.169.254" in internal.body
    assert "password" in named.reason and "hunter22" not in named.body + named.reason and "8.8.8.8" in named.body
    assert not any((stand.state / "secrets" / "webhooks").glob("*")), "whose webhook was refused has no secret"


async def test_only_a_key_that_manages_adds_webhooks(stand: Stand) -> None:
    async with stand.client_with(INVOKE) as client:
        assert (await client.post("/v1/webhooks", json={"url": PUBLIC})).status_code == 403


async def test_where_it_stands_and_its_last_deliveries_are_shown(stand: Stand) -> None:
    made = await added(stand)
    me = WebhookId(str(made["id"]))
    assert (await stand.client.get(f"/v1/webhooks/{me}/deliveries")).json() == {"deliveries": []}
    attempts = [
        Attempt(Position(2), EventId(f"e{number}"), "KeyIssued", 1.5, number, "failed", 500, "answered 500", 0.25)
        for number in (1, 2)
    ]
    note = Note(Place(Position(3), (Open(Position(2), 1),), "answered 500"), tuple(attempts))
    await stand.subscriptions.deliveries.keep(me, note)
    shown = (await stand.client.get(f"/v1/webhooks/{me}")).json()
    assert (shown["position"], shown["open"], shown["waits"]) == (3, 1, "answered 500")
    newest = (await stand.client.get(f"/v1/webhooks/{me}/deliveries?limit=1")).json()["deliveries"]
    assert [(each["number"], each["status"], each["result"]) for each in newest] == [(2, 500, "failed")]
    for wrong in ("x", "9" * 5000):
        assert (await stand.client.get(f"/v1/webhooks/{me}/deliveries?limit={wrong}")).json()["field"] == "limit"


async def test_dead_letters_are_inspected_and_asked_for_again(stand: Stand) -> None:
    me = WebhookId(str((await added(stand))["id"]))
    for position in (1, 2):
        given_up = DeliveryGivenUp(
            webhook_id=me, position=Position(position), event_id=EventId("e"), attempts=12, reason="answered 422"
        )
        await stand.happened("webhook", me, given_up)
    shown = (await stand.client.get(f"/v1/webhooks/{me}/dead_letters?limit=1")).json()
    [letter] = shown["dead_letters"]
    assert shown["count"] == 2 and letter["event"]["type"] == "KeyIssued" and letter["reason"] == "answered 422"

    nothing = await stand.client.post(f"/v1/webhooks/{me}/redeliver", json={})
    assert nothing.status_code == 400 and nothing.json()["field"] == "positions"
    many = await stand.client.post(f"/v1/webhooks/{me}/redeliver", json={"positions": [1] * 1001})
    assert many.status_code == 400 and many.json()["field"] == "positions", "nothing is left out unsaid"
    wrong = await stand.client.post(f"/v1/webhooks/{me}/redeliver", json={"positions": [9]})
    assert wrong.status_code == 404 and "not among the dead letters" in wrong.json()["message"]
    one = await stand.client.post(f"/v1/webhooks/{me}/redeliver", json={"positions": [2]})
    assert one.json() == {"redelivering": [2]}
    rest = await stand.client.post(f"/v1/webhooks/{me}/redeliver", json={"all": True})
    assert rest.json() == {"redelivering": [1]}
    letters = (await stand.client.get(f"/v1/webhooks/{me}/dead_letters")).json()["dead_letters"]
    assert [each["redelivering"] for each in letters] == [True, True]
    assert sum(isinstance(each, RedeliveryRequested) for each in await stand.recorded()) == 2
