"""Webhooks on the dashboard: how far each is, what it waits for, its deliveries and its dead letters; now and then."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from events.base import EventId, Position, WebhookId
from events.signals.deliveries import Attempt, DeliveriesUnavailable, MemoryDeliveries, Note, Open, Place
from events.webhook import DeliveryGivenUp, RedeliveryRequested, WebhookRegistered, WebhookRemoved
from gateway.dashboard import sources
from tests.gateway.control.dashboards import Checked, settled, signed_in
from tests.gateway.control.stand import Stand

ME, URL = WebhookId("hook1"), "https://example.com/hook?team=<b>1"


@pytest.fixture
async def browser(stand: Stand) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(stand) as client:
        yield client


async def registered(stand: Stand) -> Position:
    new = WebhookRegistered(
        webhook_id=ME, url=URL, types=("Key*",), entities=("m1",), after=Position(0), description="the pager"
    )
    await stand.happened("webhook", ME, new)
    return await stand.log.head()


async def shown(browser: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await browser.get(f"/dashboard/webhooks{path}")
    assert answer.status_code == status, answer.text
    Checked(answer.text)
    return answer.text


async def test_how_far_each_is_and_what_it_waits_for(stand: Stand, browser: httpx.AsyncClient) -> None:
    assert "causeway webhook add URL" in await shown(browser, "")
    head = await registered(stand)
    listed = await shown(browser, "")
    assert "https://example.com/hook?team=&lt;b&gt;1</a>" in listed and ">not begun<" in listed and ">Key*<" in listed
    attempts = (
        Attempt(Position(1), EventId("e1"), "KeyIssued", 1.5, 1, "delivered", 204, "", 0.012),
        Attempt(Position(2), EventId("e2"), "KeyIssued", 2.5, 3, "failed", 500, "answered 500: <oops>", 0.25),
    )
    await stand.subscriptions.deliveries.keep(ME, Note(Place(head, (Open(Position(2), 3),)), attempts))
    assert ">delivers<" in await shown(browser, "")
    one = await shown(browser, f"/{ME}")
    assert one.index("answered 500: &lt;oops&gt;") < one.index(">delivered<"), "the newest first"
    assert ">204<" in one and "12 ms" in one and "the pager" in one and "WebhookRegistered" in one
    await stand.subscriptions.deliveries.keep(ME, Note(Place(Position(1), (), "name not known"), ()))
    waiting = await shown(browser, "")
    assert ">waits<" in waiting and "name not known" in waiting and f" {head - 1} behind" in waiting


async def test_dead_letters_are_shown_and_how_to_send_them_again(stand: Stand, browser: httpx.AsyncClient) -> None:
    await registered(stand)
    assert "no event was given up" in await shown(browser, f"/{ME}")
    for position in (1, 2):
        given_up = DeliveryGivenUp(
            webhook_id=ME, position=Position(position), event_id=EventId("e"), attempts=14, reason="answered 422"
        )
        await stand.happened("webhook", ME, given_up)
    before = await stand.log.head()
    await stand.happened("webhook", ME, RedeliveryRequested(webhook_id=ME, position=Position(2), asked=1))
    assert ">has dead letters<" in await shown(browser, "")
    now = await shown(browser, f"/{ME}")
    assert now.count("answered 422") >= 2 and "asked for again" in now
    assert f"causeway webhook redeliver {ME} --all" in now
    await settled(stand)
    then = await shown(browser, f"/{ME}?at={before}")
    assert "answered 422" in then and "asked for again" not in then and "of a past moment are not kept" in then


async def test_one_that_was_removed_is_found_where_it_was(stand: Stand, browser: httpx.AsyncClient) -> None:
    head = await registered(stand)
    await stand.happened("webhook", ME, WebhookRemoved(webhook_id=ME))
    await settled(stand)
    await shown(browser, f"/{ME}", 404)
    assert ">as it was<" in await shown(browser, f"/{ME}?at={head}")
    await shown(browser, f"/{ME}?at={head - 1}", 404)


async def test_a_delivery_log_that_is_away_is_said_so(
    stand: Stand, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DeliveriesUnavailable("away")

    await registered(stand)
    for name in ("place", "attempts"):
        monkeypatch.setattr(MemoryDeliveries, name, away)
    assert "The delivery log does not answer" in await shown(browser, f"/{ME}")
    assert URL.split("<")[0] in await shown(browser, "")

    async def hanging(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(sources, "DELIVERIES_DEADLINE_S", 0.05)
    for name in ("place", "attempts"):
        monkeypatch.setattr(MemoryDeliveries, name, hanging)
    assert "The delivery log does not answer" in await shown(browser, f"/{ME}")
