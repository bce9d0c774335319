"""Webhooks and streams of a whole stack: through a dead control process, and past an address that is not allowed."""

import asyncio
import os
import signal

import httpx

from events.log.subscribe import subscribe
from ops.local import attach
from tests.e2e.plane import Plane, until
from tests.gateway.webhooks.receivers import Receiver, listening


async def store(plane: Plane, name: str) -> None:
    said = await plane.causeway("secret", "set", name, stdin="value")
    assert said.code == 0, said


async def test_a_webhook_gets_signed_events_through_a_control_process_that_dies(plane: Plane) -> None:
    async with listening(Receiver()) as receiver:
        said = await plane.causeway("webhook", "add", receiver.url, "--type", "Secret*", "-o", "json")
        assert said.code == 0, said
        receiver.secret = said.json["secret"]
        await store(plane, "first")
        await receiver.until(lambda: len(receiver.taken) == 1)
        running = attach.status(plane.settings)
        assert running is not None
        os.kill(running.pids["control"], signal.SIGKILL)
        await store(plane, "second")
        await receiver.until(lambda: receiver.taken[-1]["data"]["name"] == "second", 120)
        assert receiver.taken[0]["data"]["name"] == "first" and receiver.in_order()

        async def noted() -> bool:
            [shown] = (await plane.causeway("webhook", "list", "-o", "json")).json
            return bool(shown["open"] == 0 and shown["position"] >= receiver.taken[-1]["position"])

        await until(noted, "the place is noted")
        said = await plane.causeway("webhook", "deliveries", said.json["id"], "--limit", "50")
        assert "SecretStored" in said.out and "delivered" in said.out


async def test_the_same_events_come_as_a_stream_as_pages_and_typed(plane: Plane, http: httpx.AsyncClient) -> None:
    query = "/v1/events?types=SecretStored&after=0"
    await store(plane, "streamed")
    page = (await http.get(query)).json()["events"]
    names = [each["data"]["name"] for each in page]
    assert names[-1] == "streamed"
    async with http.stream("GET", query, headers={"Accept": "text/event-stream"}) as stream:
        count = 0
        async for line in stream.aiter_lines():
            count += line == "event: SecretStored"
            if count == len(names):
                break
    url = attach.attached(plane.settings).nats_url
    assert url is not None
    seen: list[str] = []
    subscription = subscribe(url, "e2e", types=("SecretStored",))
    async with asyncio.timeout(60):
        while len(seen) < len(names):
            seen.append(getattr((await anext(subscription)).event, "name", ""))
    await subscription.aclose()
    assert seen == names


async def test_a_private_address_is_refused_in_words(plane: Plane) -> None:
    said = await plane.causeway("webhook", "add", "http://169.254.169.254/latest/meta-data")
    assert said.code == 1 and "internal address" in said.told and "CAUSEWAY_WEBHOOK_NETWORKS" in said.told


async def test_a_gateway_that_is_replaced_ends_its_streams_at_once(plane: Plane, http: httpx.AsyncClient) -> None:
    await store(plane, "before")
    running = attach.status(plane.settings)
    assert running is not None
    async with http.stream("GET", "/v1/events?after=0", headers={"Accept": "text/event-stream"}) as stream:
        lines = stream.aiter_lines()
        assert (await anext(lines)).startswith("retry: ")
        os.kill(running.pids["gateway"], signal.SIGTERM)
        last = 0
        async with asyncio.timeout(60):
            async for line in lines:
                last = int(line[4:]) if line.startswith("id: ") else last

    async def again() -> bool:
        try:
            page = await http.get(f"/v1/events?after={last}")
        except httpx.TransportError:
            return False
        return page.status_code == 200

    assert last > 0
    await until(again, "the next gateway answers")
