"""Receivers that fail, hang, answer slowly, are away, move: at least once, in order per entity, never lost."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.base import Position, WebhookId
from events.signals.deliveries import MemoryDeliveries, Place
from events.webhook import DeliveryGivenUp, RedeliveryRequested, RedeliverySucceeded
from gateway.webhooks.lanes import Policy
from handlers.deciders.webhook import MoveWebhook, RemoveWebhook, RequestRedelivery
from tests.gateway.webhooks.plant import QUICK, SECRET, Plant
from tests.gateway.webhooks.receivers import Receiver, Told, listening
from tests.nats import free_port

STUBBORN = Policy(first_pause_s=0.02, pause_max_s=0.1, away_pause_max_s=0.1, deadline_s=60, attempts_max=1000)
HASTY = Policy(first_pause_s=0.02, pause_max_s=0.1, away_pause_max_s=0.1, deadline_s=0.5, attempts_max=1000)


async def test_every_event_arrives_signed_once_in_order_with_its_position(tmp_path: Path) -> None:
    async def takes_a_moment(event: Told) -> int:
        await asyncio.sleep(0.005)
        return 200

    receiver = Receiver(takes_a_moment, SECRET)
    async with Plant(tmp_path).folding() as plant, listening(receiver), plant.working():
        await plant.webhook(receiver.url)
        positions = await plant.happen(50)
        await receiver.until(lambda: len(receiver.taken) == 50)
    assert sorted(receiver.positions) == positions and receiver.in_order()
    one = receiver.taken[0]
    assert one["specversion"] == "1.0" and one["type"] == "NodeDraining" and one["subject"].startswith("node.")
    assert one["data"]["type"] == "NodeDraining" and one["correlationid"]
    assert 1 < receiver.at_once_most <= QUICK.concurrency


async def test_a_receiver_that_fails_now_and_then_gets_all_in_order(tmp_path: Path) -> None:
    tries: dict[int, int] = {}

    async def flaky(event: Told) -> int:
        at = event["position"]
        tries[at] = tries.get(at, 0) + 1
        return 500 if tries[at] <= at % 3 else 204

    async with Plant(tmp_path).folding() as plant, listening(Receiver(flaky)) as receiver, plant.working():
        await plant.webhook(receiver.url)
        positions = await plant.happen(60)
        await receiver.until(lambda: len(receiver.taken) == 60)
    assert receiver.positions != sorted(receiver.positions), "entities do not wait for each other"
    assert sorted(receiver.positions) == positions and receiver.in_order()


async def test_a_receiver_that_hangs_gets_it_again(tmp_path: Path) -> None:
    hung: set[int] = set()

    async def hangs_once(event: Told) -> int:
        if event["position"] % 7 == 0 and event["position"] not in hung:
            hung.add(event["position"])
            await asyncio.sleep(60)
        return 200

    plant = Plant(tmp_path, policy=HASTY)
    async with plant.folding(), listening(Receiver(hangs_once)) as receiver, plant.working():
        me = await plant.webhook(receiver.url)
        positions = await plant.happen(30)
        await receiver.until(lambda: set(receiver.positions) == set(positions))
        await settled(plant, me)
        failed = [each for each in await plant.deliveries.attempts(me, 1000) if each.result == "failed"]
    assert receiver.in_order()
    assert {each.position for each in failed} >= hung and "no answer within" in failed[0].reason


async def test_a_receiver_that_is_away_misses_nothing_and_no_event_is_given_up(tmp_path: Path) -> None:
    port, gone = free_port(), Receiver()
    async with Plant(tmp_path).folding() as plant, plant.working():
        me = await plant.webhook(f"http://127.0.0.1:{port}/hook")
        positions = await plant.happen(40)
        await until(lambda: "cannot connect: " in (place_of(plant, me).waits or ""))
        async with listening(gone, port):
            await gone.until(lambda: len(gone.taken) == 40)
    assert sorted(gone.positions) == positions and gone.in_order()
    assert plant.shown(me).dead == {}


async def test_a_receiver_that_asks_for_patience_is_given_it(tmp_path: Path) -> None:
    patience = {"left": 4}

    async def busy(event: Told) -> int:
        patience["left"] -= 1
        return 200 if patience["left"] < 0 else 429

    async with Plant(tmp_path).folding() as plant, listening(Receiver(busy)) as receiver, plant.working():
        receiver.headers = {"Retry-After": "1"}
        me = await plant.webhook(receiver.url)
        await plant.happen(3, entities=1)
        await receiver.until(lambda: len(receiver.taken) == 3)
        await settled(plant, me)
        attempts = await plant.deliveries.attempts(me, 100)
    gaps = [a.at - b.at for a, b in pairwise(attempts) if b.result == "away"]
    assert len(gaps) == 4 and all(gap >= 0.99 for gap in gaps)


async def test_an_answer_that_is_no_text_troubles_only_who_gives_it(tmp_path: Path) -> None:
    """`Location` has bytes that are no UTF-8, `Retry-After` a number that no number holds."""

    async def scornful(event: Told) -> int:
        return 301

    async with (
        Plant(tmp_path).folding() as plant,
        listening(Receiver(scornful)) as scorns,
        listening(Receiver()) as takes,
        plant.working(),
    ):
        scorns.headers = {"Location": "http://a/\udcff\x9b", "Retry-After": "9" * 5000}
        me = await plant.webhook(scorns.url, "w1")
        await plant.webhook(takes.url, "w2")
        positions = await plant.happen(3)
        await until(lambda: len(plant.shown(me).dead) == 3)
        scorns.answering = busy
        positions += await plant.happen(3, first=3)
        await until(lambda: place_of(plant, me).waits is not None)
        await takes.until(lambda: len(takes.taken) == 6)
    assert sorted(takes.positions) == positions
    assert {each.reason for each in plant.shown(me).dead.values()} == {
        "answered 301 to http://a/: redirects are not followed; move the webhook"
    }


async def busy(event: Told) -> int:
    return 503


async def test_a_receiver_that_moves_gets_the_rest_at_its_new_address(tmp_path: Path) -> None:
    async def closed(event: Told) -> int:
        return 307

    async with (
        Plant(tmp_path, policy=HASTY).folding() as plant,
        listening(Receiver(closed)) as old,
        listening(Receiver()) as new,
        plant.working(),
    ):
        old.headers = {"Location": new.url}
        me = await plant.webhook(old.url)
        positions = await plant.happen(20)
        await old.until(lambda: len(old.seen) >= 5)
        assert new.seen == [], "a redirect is not followed"
        await plant.command(MoveWebhook, webhook_id=me, url=new.url)
        await new.until(lambda: set(new.positions) == set(positions))
    assert new.in_order()


async def test_a_webhook_whose_secret_is_elsewhere_says_so_and_goes_on_when_it_comes(tmp_path: Path) -> None:
    """As on the other machine of two, when it takes the turn."""
    secret = tmp_path / "secrets" / "w1"
    async with Plant(tmp_path).folding() as plant, listening(Receiver()) as receiver, plant.working():
        me = await plant.webhook(receiver.url)
        positions = await plant.happen(3)
        await receiver.until(lambda: len(receiver.taken) == 3)
        await settled(plant, me)
    value = secret.read_text()
    secret.unlink()
    async with plant.folding(), listening(receiver, int(receiver.url.split(":")[2].split("/")[0])), plant.working():
        await until(lambda: "secret is not on this machine" in (place_of(plant, me).waits or ""))
        assert place_of(plant, me).read_to >= positions[-1], "its place is kept"
        secret.write_text(value)
        positions += await plant.happen(3, first=3)
        await receiver.until(lambda: len(receiver.taken) == 6)
    assert sorted(receiver.positions) == positions


async def test_an_event_that_is_refused_for_ever_is_given_up_and_can_be_sent_again(tmp_path: Path) -> None:
    async def picky(event: Told) -> int:
        return 422 if event["data"]["reason"] == "3" else 200

    async with Plant(tmp_path).folding() as plant, listening(Receiver(picky)) as receiver, plant.working():
        me = await plant.webhook(receiver.url)
        positions = await plant.happen(20, entities=2)
        await receiver.until(lambda: len(receiver.taken) == 19)
        await until(lambda: len(plant.shown(me).dead) == 1)
        [letter] = plant.shown(me).dead.values()
        assert letter.position == positions[3] and letter.attempts == QUICK.attempts_max
        assert letter.reason == "answered 422: said so"

        await plant.command(RequestRedelivery, webhook_id=me, position=letter.position)
        await until(lambda: plant.shown(me).dead[letter.position].given_up_at != letter.given_up_at)
        receiver.answering = Receiver().answering
        await plant.command(RequestRedelivery, webhook_id=me, position=letter.position)
        await until(lambda: not plant.shown(me).dead)
        history = [each.event for each in await plant.log.read()]
    assert sorted(receiver.positions) == positions
    kinds = (DeliveryGivenUp, RedeliveryRequested, RedeliverySucceeded)
    told = [type(event).__name__ for event in history if isinstance(event, kinds)]
    assert told == [kind.__name__ for kind in (kinds[0], kinds[1], kinds[0], kinds[1], kinds[2])]


async def test_who_has_too_many_open_events_is_told_why_no_more_come(tmp_path: Path) -> None:
    async def picky(event: Told) -> int:
        return 500 if event["subject"] == "node.n0" else 200

    plant = Plant(tmp_path, policy=msgspec.structs.replace(STUBBORN, window=5))
    async with plant.folding(), listening(Receiver(picky)) as receiver, plant.working():
        me = await plant.webhook(receiver.url)
        await plant.happen(8, entities=1)
        await until(lambda: (place_of(plant, me).waits or "").endswith("events are open: the log is read no further"))
        other = await plant.happen(2, entities=2, first=20)
        await until(lambda: len(receiver.seen) > 20)
        assert receiver.taken == []
        receiver.answering = Receiver().answering
        await receiver.until(lambda: set(other) <= set(receiver.positions))
        await settled(plant, me)
    assert receiver.in_order() and place_of(plant, me).waits is None


async def test_a_webhook_for_everything_is_not_told_of_its_own_troubles(tmp_path: Path) -> None:
    async def refuses(event: Told) -> int:
        return 500

    async with Plant(tmp_path).folding() as plant, listening(Receiver(refuses)) as receiver, plant.working():
        me = await plant.webhook(receiver.url, types=())
        await plant.happen(4)
        await until(lambda: len(plant.shown(me).dead) == 5)
        receiver.answering = Receiver().answering
        await plant.happen(1, first=100)
        await receiver.until(lambda: len(receiver.taken) == 1)
    assert {each["type"] for each in receiver.seen} == {"WebhookRegistered", "NodeDraining"}


async def test_a_worker_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    refusing = {"on": True}

    async def stubborn(event: Told) -> int:
        return 500 if refusing["on"] and event["subject"] == "node.n0" else 200

    async with Plant(tmp_path, policy=STUBBORN).folding() as plant, listening(Receiver(stubborn)) as receiver:
        async with plant.working():
            me = await plant.webhook(receiver.url)
            positions = await plant.happen(40, entities=4)
            await until(lambda: len(place_of(plant, me).open) == 10)
        refusing["on"] = False
        more = await plant.happen(10, entities=4, first=100)
        async with plant.working():
            await receiver.until(lambda: set(receiver.positions) == {*positions, *more})
    assert receiver.in_order()
    assert sorted(receiver.positions) == sorted([*positions, *more]), "what had been noted is not sent again"


async def test_a_crash_before_a_note_repeats_and_loses_nothing(tmp_path: Path) -> None:
    async with Plant(tmp_path).folding() as plant, listening(Receiver()) as receiver:
        async with plant.working():
            await plant.webhook(receiver.url)
            positions = await plant.happen(30)
            await receiver.until(lambda: len(receiver.taken) == 30)
        plant.deliveries = MemoryDeliveries()
        async with plant.working():
            await receiver.until(lambda: len(receiver.taken) == 60)
    assert sorted(receiver.positions) == sorted([*positions, *positions]) and receiver.in_order()


async def test_a_webhook_that_is_removed_is_left_alone(tmp_path: Path) -> None:
    async with (
        Plant(tmp_path).folding() as plant,
        listening(Receiver()) as kept,
        listening(Receiver()) as removed,
        plant.working(),
    ):
        await plant.webhook(kept.url, "kept")
        gone = await plant.webhook(removed.url, "gone")
        await plant.happen(5)
        await removed.until(lambda: len(removed.taken) == 5)
        await settled(plant, gone)
        await plant.command(RemoveWebhook, webhook_id=gone)
        await plant.happen(5, first=10)
        await kept.until(lambda: len(kept.taken) == 10)
        assert len(removed.seen) == 5
        await until(lambda: place_of(plant, gone) == Place(Position(0)))
        assert await plant.deliveries.attempts(gone, 10) == [], "nothing is kept of what is gone"


async def test_an_internal_address_is_never_connected_to(tmp_path: Path) -> None:
    async with Plant(tmp_path, allowed=()).folding() as plant, listening(Receiver()) as receiver, plant.working():
        me = await plant.webhook(receiver.url)
        other = await plant.webhook(receiver.url.replace("127.0.0.1", "localhost"), "w2")
        await plant.happen(3)
        for each in (me, other):
            await until(lambda each=each: "is an internal address" in (place_of(plant, each).waits or ""))  # type: ignore[misc]
        assert receiver.seen == [] and plant.shown(me).dead == {}


@pytest.mark.parametrize("bad", ["refuses", "hangs", "away", "slow"])
async def test_one_bad_receiver_of_twenty_holds_up_nobody(tmp_path: Path, bad: str) -> None:
    behaviour: dict[str, Any] = {"refuses": (500, 0), "hangs": (200, 60), "slow": (200, 0.3), "away": (503, 0)}
    status, pause = behaviour[bad]

    async def misbehaves(event: Told) -> int:
        await asyncio.sleep(pause)
        return int(status)

    good = [Receiver() for _ in range(19)]
    async with (
        Plant(tmp_path, policy=HASTY).folding() as plant,
        listening(Receiver(misbehaves)) as dead,
        plant.working(),
    ):
        await plant.webhook(dead.url, "dead")
        servers = [listening(each) for each in good]
        try:
            for number, server in enumerate(servers):
                await plant.webhook((await server.__aenter__()).url, f"good{number}")
            wanted: set[int] = set(await plant.happen(100))
            for each in good:
                await each.until(lambda each=each: set(each.positions) == wanted, 120)  # type: ignore[misc]
        finally:
            for server in servers:
                await server.__aexit__(None, None, None)
    assert all(each.in_order() for each in good)
    assert bad == "slow" or not dead.taken


def place_of(plant: Plant, webhook_id: WebhookId) -> Place:
    """As it was last noted."""
    assert isinstance(plant.deliveries, MemoryDeliveries)
    return plant.deliveries.places.get(webhook_id, Place(Position(0)))


async def settled(plant: Plant, webhook_id: WebhookId) -> None:
    """Until all that was sent is noted."""
    head = await plant.log.head()
    await until(lambda: place_of(plant, webhook_id).read_to >= head and not place_of(plant, webhook_id).open)


async def until(ready: Callable[[], bool], deadline_s: float = 60) -> None:
    async with asyncio.timeout(deadline_s):
        while True:
            if ready():
                return
            await asyncio.sleep(0.02)
