"""Notes on deliveries and cursors: the twin in memory and JetStream keep the same promises, also through a restart."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from events.base import EventId, Position, WebhookId
from events.log.cursors import Cursor, Cursors, CursorsUnavailable, MemoryCursors
from events.log.jetstream_cursors import open_cursors
from events.log.jetstream_link import client_options
from events.log.nats_wire import Login
from events.signals.deliveries import (
    NOTES_KEPT,
    Attempt,
    Deliveries,
    DeliveriesUnavailable,
    MemoryDeliveries,
    Note,
    Open,
    Place,
)
from events.signals.jetstream_deliveries import JetStreamDeliveries
from tests.nats import NatsServer

W, OTHER = WebhookId("w1"), WebhookId("w2")


def attempt(number: int) -> Attempt:
    return Attempt(Position(number), EventId(f"e{number}"), "NodeLeft", 1.0, 1, "delivered", 200, "", 0.01)


@pytest.fixture(params=["memory", "jetstream"])
async def deliveries(request: pytest.FixtureRequest) -> AsyncIterator[Deliveries]:
    if request.param == "memory":
        yield MemoryDeliveries()
        return
    server: NatsServer = request.getfixturevalue("server")
    store = JetStreamDeliveries(Login(url=server.url))
    yield store
    await store.close()


@pytest.fixture(params=["memory", "jetstream"])
async def cursors(request: pytest.FixtureRequest) -> AsyncIterator[Cursors]:
    if request.param == "memory":
        yield MemoryCursors()
        return
    server: NatsServer = request.getfixturevalue("server")
    async with open_cursors(Login(url=server.url)) as store:
        yield store


async def test_the_last_note_is_the_place_and_attempts_come_newest_first(deliveries: Deliveries) -> None:
    assert await deliveries.place(W) is None and await deliveries.attempts(W, 10) == []
    await deliveries.keep(W, Note(Place(Position(3)), (attempt(1), attempt(2))))
    last = Place(Position(9), (Open(Position(4), 2),), "answered 500")
    await deliveries.keep(W, Note(last, (attempt(3),)))
    await deliveries.keep(OTHER, Note(Place(Position(5))))
    assert await deliveries.place(W) == last
    assert [each.position for each in await deliveries.attempts(W, 2)] == [3, 2]
    assert await deliveries.place(OTHER) == Place(Position(5)) and await deliveries.attempts(OTHER, 9) == []


async def test_notes_on_one_webhook_are_forgotten_and_on_another_are_not(deliveries: Deliveries) -> None:
    await deliveries.forget(W)
    for webhook_id in (W, OTHER):
        await deliveries.keep(webhook_id, Note(Place(Position(3)), (attempt(1),)))
    await deliveries.forget(W)
    assert (await deliveries.place(W), await deliveries.attempts(W, 10)) == (None, [])
    assert await deliveries.place(OTHER) == Place(Position(3)) and len(await deliveries.attempts(OTHER, 10)) == 1


async def test_only_so_many_notes_are_kept_of_one_webhook_and_nothing_of_another_goes(deliveries: Deliveries) -> None:
    await deliveries.keep(OTHER, Note(Place(Position(1)), (attempt(7),)))
    for number in range(NOTES_KEPT + 5):
        await deliveries.keep(W, Note(Place(Position(number)), (attempt(number),)))
    positions = [each.position for each in await deliveries.attempts(W, 2 * NOTES_KEPT)]
    assert (len(positions), positions[0], positions[-1]) == (NOTES_KEPT, NOTES_KEPT + 4, 5)
    assert [each.position for each in await deliveries.attempts(OTHER, 9)] == [7]


async def test_notes_outlive_the_server_and_an_absent_one_is_said_to_be_away(server: NatsServer) -> None:
    store = JetStreamDeliveries(Login(url=server.url))
    await store.keep(W, Note(Place(Position(3))))
    server.kill()
    with pytest.raises(DeliveriesUnavailable):
        await store.keep(W, Note(Place(Position(4))))
    server.start()
    later = JetStreamDeliveries(Login(url=server.url))
    assert await later.place(W) == Place(Position(3))
    await later.close()
    async with asyncio.timeout(60):
        while True:
            try:
                await store.keep(W, Note(Place(Position(5))))
                break
            except DeliveriesUnavailable:
                await asyncio.sleep(0.1)
    assert await store.place(W) == Place(Position(5)), "the same connection is made again"
    await store.close()


async def test_a_server_that_stays_away_is_told_of_once_not_at_every_try(caplog: pytest.LogCaptureFixture) -> None:
    tell = client_options(Login(url="nats://127.0.0.1:1"), "causeway deliveries")["error_cb"]
    for _ in range(20):
        await tell(ConnectionRefusedError("nobody listens"))
    assert caplog.messages == ["causeway deliveries: the connection to NATS: nobody listens"]
    assert "Traceback" not in caplog.text


async def test_a_cursor_is_the_last_place_saved_under_its_name(cursors: Cursors) -> None:
    assert await cursors.load("a") is None
    for position in (5, 9):
        await cursors.save("a", Cursor(Position(position)))
    there = Cursor(Position(2), (EventId("one"), EventId("two")))
    await cursors.save("b", there)
    assert (await cursors.load("a"), await cursors.load("b")) == (Cursor(Position(9)), there)


async def test_cursors_without_a_server_are_away(server: NatsServer) -> None:
    server.kill()
    with pytest.raises(CursorsUnavailable):
        async with open_cursors(Login(url=server.url)):
            raise AssertionError("there is no server")
