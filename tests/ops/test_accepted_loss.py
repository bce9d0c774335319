"""After `log restore --accept-loss` on a real JetStream store: who had read what is lost goes on rightly, and is told.

The log grows again, to less than it was or to more, before anybody looks: a place is not known by its number alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from events.base import Position
from events.codec import Recorded
from events.log import Log, LogBroken
from events.log.jetstream import JetStreamLog
from events.log.nats_wire import Login
from events.log.subscribe import subscribe
from events.signals.jetstream_deliveries import JetStreamDeliveries
from ops.config import Settings
from ops.local.alone import nats_alone
from ops.wiring.parts import open_log
from projections.audit import AuditQuery, audit_row
from projections.base import fold
from projections.fleet import FLEET, Fleet
from projections.follow import Follower
from projections.stores.audit import MemoryAuditStore, follow_into
from projections.stores.snapshots import Snapshots
from projections.view import View
from tests.gateway.webhooks.plant import Plant
from tests.gateway.webhooks.receivers import Receiver, listening
from tests.ops.cli_runs import Shell
from tests.ops.sealed import block, flip, settings_of

KEPT, LOST = 30, 20


class Readers:
    """All that keep a place of their own in the log."""

    def __init__(self, settings: Settings, receiver: Receiver) -> None:
        self.settings, self.receiver = settings, receiver
        self.rows = MemoryAuditStore()

    @asynccontextmanager
    async def life(self) -> AsyncIterator[tuple[str, JetStreamLog, Plant]]:
        async with nats_alone(self.settings) as url, open_log(self.settings.but(nats_url=url), may_create=True) as log:
            deliveries = JetStreamDeliveries(Login(url=url))
            plant = Plant(self.settings.state, log=log, deliveries=deliveries)
            try:
                async with plant.folding():
                    yield url, log, plant
            finally:
                await deliveries.close()

    async def webhook(self, plant: Plant, count: int) -> list[int]:
        """Until so many have been delivered in all, and it is noted that nothing is left to do."""
        head = await plant.log.head()
        (webhook_id,) = plant.view.state
        async with plant.working():
            await self.receiver.until(lambda: len(self.receiver.positions) >= count)
            async with asyncio.timeout(60):
                while True:
                    place = await plant.deliveries.place(webhook_id)
                    if place is not None and place.read_to >= head and not place.open:
                        return self.receiver.positions
                    await asyncio.sleep(0.05)

    async def program(self, url: str, until: Position) -> list[Recorded]:
        """What a subscriber of nodes gets, up to a position; the last one counts as not seen yet."""
        found: list[Recorded] = []
        async with asyncio.timeout(60), aclosing(subscribe(url, "program", types=("Node*",))) as subscription:
            async for recorded in subscription:
                found.append(recorded)
                if recorded.position >= until:
                    break
        return found

    def role(self, log: Log) -> tuple[View[Fleet], Follower]:
        view = View(FLEET)
        return view, Follower(log, (view,), Snapshots(self.settings.state / "snapshots" / "role"))

    async def audit(self, log: Log) -> None:
        """Until the trail says what the log says."""
        rows = tuple(map(audit_row, await log.read()))
        following = asyncio.create_task(follow_into(log, self.rows))
        try:
            async with asyncio.timeout(60):
                while rows != await self.rows.page(AuditQuery(limit=10_000)):
                    assert not following.done(), following.exception()
                    await asyncio.sleep(0.05)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@pytest.fixture
async def readers(tmp_path: Path) -> AsyncIterator[Readers]:
    async with listening(Receiver()) as receiver:
        yield Readers(settings_of(tmp_path / "state"), receiver)


async def lose(readers: Readers) -> Position:
    """All have read everything; then the log's end is lost, and a person goes on without. Where the loss begins."""
    async with readers.life() as (url, log, plant):
        await plant.webhook(readers.receiver.url)
        await plant.happen(KEPT)
        first, *_, last = await plant.happen(LOST, first=KEPT)
        assert (await readers.program(url, last))[-1].position == last
        await readers.role(log)[1].catch_up()
        await readers.audit(log)
        await readers.webhook(plant, KEPT + LOST)
    state = readers.settings.state
    file = block(state)
    file.write_bytes(flip(file.read_bytes(), first))
    refused = await asyncio.to_thread(Shell(state, None).run, "log restore")
    assert refused.code == 1 and "--accept-loss" in refused.err
    done = await asyncio.to_thread(Shell(state, None).run, "log restore --accept-loss -o json")
    assert (done.code, done.json["head"], done.json["lost"]) == (0, first, LOST), done.err
    return first


@pytest.mark.parametrize("grown", [LOST // 2, 2 * LOST])
async def test_each_goes_on_before_the_loss_and_gets_what_came_in_its_place(readers: Readers, grown: int) -> None:
    first, before = await lose(readers), KEPT + LOST
    async with readers.life() as (url, log, plant):
        new = [first, *await plant.happen(grown, first=1000)]
        assert await readers.program(url, new[-1]) == list(await log.read(Position(first - 1)))
        view, follower = readers.role(log)
        await follower.catch_up()
        assert (view.position, view.state) == (new[-1], fold(FLEET, await log.read()))
        await readers.audit(log)
        assert [row.position for row in await readers.rows.lost()] == [*range(first, first + LOST)]
        assert (await readers.webhook(plant, before + len(new)))[before:] == new
        assert readers.receiver.taken[before]["type"].endswith("LossAccepted")

    async with readers.life() as (url, log, plant):  # They know of the loss now.
        (more,) = await plant.happen(1, first=5000)
        assert [each.position for each in await readers.program(url, more)] == [new[-1], more]
        assert (await readers.webhook(plant, before + len(new) + 1))[before + len(new) :] == [more]
    ids = [each["id"] for each in readers.receiver.taken]
    assert len(set(ids)) == len(ids), "nothing was delivered twice"


async def test_who_began_without_the_log_is_stopped_and_not_led_on(readers: Readers) -> None:
    await lose(readers)
    async with readers.life() as (_, log, plant):
        await plant.happen(2 * LOST, first=1000)
        _, follower = readers.role(log)
        await follower.restore()  # As a gateway does while the log is away.
        with pytest.raises(LogBroken, match="is not the one that was known"):
            async with asyncio.timeout(60):
                await follower.run()
