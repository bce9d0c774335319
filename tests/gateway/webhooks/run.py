"""Many events on a real JetStream log to twenty webhooks, one of them dead: `make webhooks`, a little of it in tests.

Everything is real: log, notes, signatures, connections. The worker is ended and begun again half way.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from events.base import WebhookId
from events.log.jetstream import JetStreamLog
from events.log.nats_wire import Login
from events.signals.jetstream_deliveries import JetStreamDeliveries
from gateway.webhooks.lanes import Policy
from tests.gateway.webhooks.plant import SECRET, Plant
from tests.gateway.webhooks.receivers import Receiver, listening
from tests.nats import NatsServer, free_port

ENTITIES = 200
DEADLINE_S = 3600


class Outcome(msgspec.Struct, frozen=True):
    delivered: int
    repeated: int
    missing: int
    out_of_order: int
    given_up_by_the_dead: int
    open_at_the_dead: int
    seconds: float


async def run(events: int, subscribers: int, folder: Path) -> Outcome:
    good = [Receiver(secret=SECRET) for _ in range(subscribers - 1)]
    async with AsyncExitStack() as stack:
        server = stack.enter_context(NatsServer(folder))
        log = await JetStreamLog.connect(server.url, create=True)
        stack.push_async_callback(log.close)
        deliveries = JetStreamDeliveries(Login(url=server.url))
        stack.push_async_callback(deliveries.close)
        plant = await stack.enter_async_context(
            Plant(folder, log=log, deliveries=deliveries, policy=Policy(first_pause_s=0.1)).folding()
        )
        dead = await plant.webhook(f"http://127.0.0.1:{free_port()}/", "dead")
        for number, receiver in enumerate(good):
            await stack.enter_async_context(listening(receiver))
            await plant.webhook(receiver.url, f"good{number}")
        started = time.monotonic()
        async with plant.working():
            positions = await plant.happen(events // 2, ENTITIES)
            for receiver in good:
                await receiver.until(lambda each=receiver: len(each.taken) >= events // 4, DEADLINE_S)  # type: ignore[misc]
        async with plant.working():
            positions += await plant.happen(events - events // 2, ENTITIES, events)
            wanted: set[int] = set(positions)
            for receiver in good:
                await receiver.until(lambda each=receiver: _all(each, wanted), DEADLINE_S)  # type: ignore[misc]
            seconds = time.monotonic() - started
            place = await deliveries.place(dead)
        return _outcome(good, wanted, plant, dead, 0 if place is None else len(place.open), seconds)


def _all(receiver: Receiver, wanted: set[int]) -> bool:
    # The cheap question first: it is asked after every delivery.
    return len(receiver.taken) >= len(wanted) and wanted <= set(receiver.positions)


def _outcome(
    good: list[Receiver], wanted: set[int], plant: Plant, dead: WebhookId, open_at_dead: int, seconds: float
) -> Outcome:
    delivered = sum(len(each.taken) for each in good)
    return Outcome(
        delivered=delivered,
        repeated=delivered - sum(len(set(each.positions)) for each in good),
        missing=sum(len(wanted - set(each.positions)) for each in good),
        out_of_order=sum(not each.in_order() for each in good),
        given_up_by_the_dead=len(plant.shown(dead).dead),
        open_at_the_dead=open_at_dead,
        seconds=seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--subscribers", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(run(asked.events, asked.subscribers, Path(folder)))
    print(msgspec.json.format(msgspec.json.encode(outcome)).decode())
    if outcome.missing or outcome.out_of_order or outcome.given_up_by_the_dead:
        raise SystemExit("not all of it arrived as it should")


if __name__ == "__main__":
    main()
