"""What every keeper of refusals promises: kept once, followed in order, through a server that is killed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from structlog.testing import capture_logs

from events.signals.jetstream_refusals import JetStreamRefusals
from events.signals.refusals import MemoryRefusals, Refusals
from projections.audit import AuditQuery
from projections.stores import audit
from projections.stores.audit import MemoryAuditStore, follow_refused_into
from tests.contract.trails import refused
from tests.nats import NatsServer


@asynccontextmanager
async def closing(refusals: JetStreamRefusals) -> AsyncIterator[JetStreamRefusals]:
    try:
        yield refusals
    finally:
        await refusals.close()


async def filled(store: MemoryAuditStore, wanted: int) -> list[str]:
    async with asyncio.timeout(120):
        while len(rows := await store.page_refused(AuditQuery(limit=1000))) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return [row.id for row in rows]


async def kept_once_and_followed(refusals: Refusals) -> None:
    store = MemoryAuditStore()
    following = asyncio.create_task(follow_refused_into(refusals, store))
    try:
        for number in (1, 2, 2, 3, 1):
            await refusals.keep(refused(number))
        assert await filled(store, 3) == ["refused-1", "refused-2", "refused-3"]
        await refusals.keep(refused(4))
        assert await filled(store, 4) == ["refused-1", "refused-2", "refused-3", "refused-4"]
        assert await store.refused_sequence() == 4
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_in_memory() -> None:
    await kept_once_and_followed(MemoryRefusals())


async def test_in_jetstream(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        async with closing(JetStreamRefusals(server.url)) as refusals:
            await kept_once_and_followed(refusals)


async def test_what_is_no_refusal_is_said_so_and_ends_nothing(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        async with closing(JetStreamRefusals(server.url)) as refusals:
            store = MemoryAuditStore()
            await refusals.keep(refused(1))
            client = await nats.connect(server.url, connect_timeout=60)
            with capture_logs() as said:
                following = asyncio.create_task(follow_refused_into(refusals, store))
                try:
                    for body in (b"garbage", b"{}", b'{"id":"\xff"}'):
                        await client.jetstream(timeout=60).publish("refused.model.Other", body)
                    await refusals.keep(refused(2))
                    assert await filled(store, 2) == ["refused-1", "refused-2"]
                finally:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
                    await client.close()
            assert [line["at"] for line in said if line["event"].startswith("not a refusal")] == [2, 3, 4]


async def test_a_killed_server_delays_and_loses_nothing_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LAST_PAUSE_S", 0.2)
    with NatsServer(tmp_path) as server:
        async with closing(JetStreamRefusals(server.url)) as refusals:
            store = MemoryAuditStore()
            following = asyncio.create_task(follow_refused_into(refusals, store))
            await refusals.keep(refused(1))
            assert await filled(store, 1) == ["refused-1"]
            server.kill()
            with capture_logs() as said:
                await refusals.keep(refused(2))  # in vain, and neither an error nor a long wait
            assert [line["refusal"]["id"] for line in said if line["event"] == "a refusal is not kept"] == ["refused-2"]
            server.start()
            await until_kept(refusals)
            assert await filled(store, 2) == ["refused-1", "refused-3"]
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def test_a_store_that_was_emptied_is_filled_again_though_nothing_new_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.signals.jetstream_refusals.IDLE_S", 0.1)
    with NatsServer(tmp_path) as server:
        async with closing(JetStreamRefusals(server.url)) as refusals:
            store = MemoryAuditStore()
            following = asyncio.create_task(follow_refused_into(refusals, store))
            for number in (1, 2, 3):
                await refusals.keep(refused(number))
            await filled(store, 3)
            store.__init__()  # type: ignore[misc]
            assert await filled(store, 3) == ["refused-1", "refused-2", "refused-3"]
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def until_kept(refusals: JetStreamRefusals) -> None:
    """The client needs a moment to connect again."""
    async with asyncio.timeout(60):
        while True:
            with capture_logs() as said:
                await refusals.keep(refused(3))
            if not said:
                return
            await asyncio.sleep(0.05)
