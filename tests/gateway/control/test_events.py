"""Events as pages and as a stream: filters, resuming, heartbeats, slow readers, who may read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from events.base import NodeId
from events.node import NodeDraining
from gateway.cloudevent import encoded
from gateway.control.rest import events as module
from tests.gateway.control.served import served
from tests.gateway.control.stand import INVOKE, MANAGE, Stand

KEY = {"Authorization": f"Api-Key {MANAGE}"}


class Stream:
    """A reader of server-sent events that knows only their specification."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.last_id: str | None = None
        self.comments = 0

    async def next(self) -> dict[str, Any]:
        """The next event that has data."""
        kind, data = "message", b""
        async with asyncio.timeout(30):
            while True:
                line = await self._response.content.readuntil(b"\n")
                name, _, value = line.rstrip(b"\n").partition(b": ")
                match name:
                    case b"id":
                        self.last_id = value.decode()
                    case b"event":
                        kind = value.decode()
                    case b"data":
                        data += value
                    case b"" if value:
                        self.comments += 1
                    case b"" if data:
                        return {"event": kind, "sse_id": self.last_id, **msgspec.json.decode(data)}

    async def ended(self) -> None:
        async with asyncio.timeout(30):
            while await self._response.content.read(65536):
                pass


@asynccontextmanager
async def stream(url: str, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    async with aiohttp.ClientSession() as session:
        asked = {**KEY, "Accept": "text/event-stream", **headers}
        async with session.get(f"{url}/v1/events{query}", headers=asked) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "text/event-stream"
            yield Stream(response)


async def happen(stand: Stand, node: str, *reasons: str) -> None:
    for reason in reasons:
        await stand.happened("node", node, NodeDraining(node_id=NodeId(node), reason=reason))


async def test_pages_hold_cloudevents_and_say_where_to_go_on(stand: Stand) -> None:
    await happen(stand, "n1", "a", "b", "c")
    first = (await stand.client.get("/v1/events?types=Node*&limit=2")).json()
    assert [each["data"]["reason"] for each in first["events"]] == ["a", "b"]
    assert first["events"][0] | {"position": 3, "type": "NodeDraining", "subject": "node.n1"} == first["events"][0]
    assert (first["next_after"], first["head"]) == (4, 5)
    rest = (await stand.client.get(f"/v1/events?types=Node*&after={first['next_after']}")).json()
    assert [each["position"] for each in rest["events"]] == [5] and rest["next_after"] == rest["head"]


async def test_filters_by_type_entity_and_correlation(stand: Stand) -> None:
    await happen(stand, "n1", "a")
    await happen(stand, "n2", "b")

    async def found(query: str) -> list[str]:
        answer = (await stand.client.get(f"/v1/events?{query}")).json()
        return [each["type"] for each in answer["events"]]

    assert await found("types=KeyIssued,NodeDraining&entity=n2&entity=beef1234") == ["KeyIssued", "NodeDraining"]
    assert await found("types=Node?raining&entity=n1") == ["NodeDraining"]
    assert await found("correlation=test") == ["KeyIssued", "KeyIssued"]
    assert await found("types=Replica*") == []
    assert await found("types=Node*&entity=&correlation=") == ["NodeDraining", "NodeDraining"], "empty is not given"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("after=99", "after"),
        ("after=-1", "after"),
        ("after=x", "after"),
        ("types=Replca", "types"),
        ("types=KeyIssued,Zz*", "types"),
        ("typ=KeyIssued", "typ"),
        ("after=1&after=2", "after"),
        ("limit=1.5", "limit"),
    ],
)
async def test_a_wrong_query_is_refused_by_field(stand: Stand, query: str, field: str | None) -> None:
    answer = await stand.client.get(f"/v1/events?{query}")
    assert answer.status_code == 400 and answer.json().get("field") == field, answer.text


async def test_only_a_key_that_manages_reads_events(stand: Stand) -> None:
    for key, status in ((INVOKE, 403), (None, 401)):
        async with stand.client_with(key) as client:
            assert (await client.get("/v1/events")).status_code == status


async def test_a_stream_begins_now_or_where_it_is_told(tmp_path: Path) -> None:
    async with served(tmp_path) as (stand, url):
        await happen(stand, "n1", "old")
        async with stream(url) as live, stream(url, "?after=0&types=Node*") as whole:
            await happen(stand, "n1", "new")
            assert (await live.next())["data"]["reason"] == "new"
            assert [(await whole.next())["data"]["reason"] for _ in range(2)] == ["old", "new"]
            one = await asyncio.gather(live.next(), happen(stand, "n1", "newest"))
            assert one[0]["event"] == "NodeDraining" and one[0]["sse_id"] == str(one[0]["position"])


async def test_a_stream_that_was_cut_goes_on_after_the_last_event_that_was_seen(tmp_path: Path) -> None:
    async with served(tmp_path) as (stand, url):
        await happen(stand, "n1", *(str(number) for number in range(30)))
        seen: list[str] = []
        last = "0"
        while len(seen) < 30:
            async with stream(url, "?types=NodeDraining&after=7", **{"Last-Event-ID": last}) as part:
                for _ in range(7):
                    if len(seen) < 30:
                        seen.append((await part.next())["data"]["reason"])
                last = part.last_id or last
        assert seen == [str(number) for number in range(30)]
        async with aiohttp.ClientSession() as session:
            for wrong in ("x", "99", "9" * 5000):
                asked = {**KEY, "Accept": "text/event-stream", "Last-Event-ID": wrong}
                async with session.get(f"{url}/v1/events", headers=asked) as response:
                    assert response.status == 400 and (await response.json())["field"] == "Last-Event-ID"


async def test_a_quiet_stream_beats_and_its_beats_carry_the_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    async with served(tmp_path) as (stand, url), stream(url, "?types=KeyRevoked&after=0") as quiet:
        waiting = asyncio.create_task(quiet.next())
        await happen(stand, "n1", "a", "b")
        async with asyncio.timeout(30):
            while True:
                if quiet.last_id == "4":
                    break
                await asyncio.sleep(0.02)
        assert quiet.comments >= 1
        waiting.cancel()
        await asyncio.wait({waiting})


async def test_a_log_that_reads_slower_than_a_stream_looks_up_is_read_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.02)
    async with served(tmp_path) as (stand, url):
        await happen(stand, "n1", "a", "b")
        quick = stand.log.read

        async def slow(*where: Any, **named: Any) -> Any:
            await asyncio.sleep(0.2)
            return await quick(*where, **named)

        monkeypatch.setattr(stand.log, "read", slow)
        async with stream(url, "?after=0&types=Node*") as whole:
            assert [(await whole.next())["data"]["reason"] for _ in range(2)] == ["a", "b"]


async def test_a_reader_that_does_not_read_is_not_read_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def counted(recorded: Any) -> bytes:
        nonlocal made
        made += 1
        return encoded(recorded)

    monkeypatch.setattr(module, "encoded", counted)
    async with served(tmp_path) as (stand, url):
        bulk = "x" * 20_000
        for number in range(40):
            await stand.happened(
                "node", f"n{number}", *(NodeDraining(node_id=NodeId(f"n{number}"), reason=bulk) for _ in range(50))
            )
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        request = f"GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {MANAGE}\r\n"
        writer.write(f"{request}Accept: text/event-stream\r\n\r\n".encode())
        before = -1
        while made != before or made == 0:
            before = made
            await asyncio.sleep(0.5)
        assert made < 1500, "40 MB are there, and nobody takes them"
        async with stream(url) as other:
            await happen(stand, "n0", "for others")
            assert (await other.next())["data"]["reason"] == "for others"
        while made < 2000:
            assert await asyncio.wait_for(reader.read(1 << 20), 30)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_stream_ends_when_its_key_is_revoked_or_its_gateway_is_replaced(tmp_path: Path) -> None:
    async with served(tmp_path) as (stand, url):
        made = await stand.client.post("/v1/api_keys", json={"type": "WORKSPACE_MANAGE_ALL"})
        key = made.json()["api_key"]
        async with stream(url) as stays, stream(url, Authorization=f"Api-Key {key}") as goes:
            await stand.client.delete(f"/v1/api_keys/{key.split('.')[0]}")
            await goes.ended()
            assert (await stays.next())["type"] == "KeyRevoked"
            stand.ending = True
            await stays.ended()
