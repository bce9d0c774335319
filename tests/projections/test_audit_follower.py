"""The loop that fills the audit trail: nothing lost, nothing twice, whatever happens to its store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from events.base import ORIGIN, Position
from events.log import LogBroken
from events.log.memory import MemoryLog
from projections.audit import AuditQuery, AuditRow, audit_row
from projections.stores import audit
from projections.stores.audit import AuditUnavailable, MemoryAuditStore, follow_into
from tests.histories import copied, history, two_versions_of_iris

GENEROUS_S = 120.0


class RoughStore(MemoryAuditStore):
    """Fails every other append: before it wrote, or after, when nobody can tell; and can be emptied."""

    def __init__(self) -> None:
        super().__init__()
        self.appends = 0
        self.away = False

    async def append(self, rows: Sequence[AuditRow], after: Position) -> Position:
        self.appends += 1
        if self.away or self.appends % 4 == 1:
            raise AuditUnavailable("away")
        reached = await super().append(rows, after)
        if self.appends % 4 == 3:
            raise AuditUnavailable("the connection broke while it answered")
        return reached

    def empty(self) -> None:
        self._rows.clear()


@asynccontextmanager
async def following(log: MemoryLog, store: MemoryAuditStore) -> AsyncIterator[None]:
    task = asyncio.create_task(follow_into(log, store))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def filled(store: MemoryAuditStore, log: MemoryLog) -> None:
    async with asyncio.timeout(GENEROUS_S):
        while await store.position() != await log.head():  # noqa: ASYNC110  # a store announces nothing
            await asyncio.sleep(0.005)


async def all_rows(store: MemoryAuditStore) -> tuple[AuditRow, ...]:
    return await store.page(AuditQuery(limit=10_000))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(audit, "LAST_PAUSE_S", 0.01)


async def test_the_trail_follows_the_log_through_every_failure_of_its_store() -> None:
    store = RoughStore()
    async with history() as plane:
        async with following(plane.log, store):
            for name in ("iris", "minilm", "counter"):
                await plane.push(name)
                await filled(store, plane.log)
            store.away = True
            await plane.push("stream")
            store.away = False
            await filled(store, plane.log)
            store.empty()
            await plane.push("late")
            await filled(store, plane.log)
        assert await all_rows(store) == tuple(map(audit_row, await plane.log.read()))


async def test_two_followers_of_one_store_write_every_row_once() -> None:
    log = await copied(await (await two_versions_of_iris()).read())
    store = MemoryAuditStore()
    async with following(log, store), following(log, store):
        await filled(store, log)
    assert await all_rows(store) == tuple(map(audit_row, await log.read()))


async def test_a_store_ahead_of_the_log_is_a_loud_error() -> None:
    whole = await (await two_versions_of_iris()).read()
    store = MemoryAuditStore()
    await store.append([audit_row(each) for each in whole], ORIGIN)
    shrunk = await copied(whole[:1])
    with pytest.raises(LogBroken, match=f"reaches position {len(whole)}, but the log ends at 1"):
        await follow_into(shrunk, store)


async def test_a_store_that_has_seen_another_log_is_a_loud_error() -> None:
    whole = await (await two_versions_of_iris()).read()
    store = MemoryAuditStore()
    await store.append([audit_row(each) for each in whole[:1]], ORIGIN)
    async with history() as other:
        await other.push("another")
    with pytest.raises(LogBroken, match="not the one that the audit trail has seen"):
        await follow_into(await copied(await other.log.read()), store)
