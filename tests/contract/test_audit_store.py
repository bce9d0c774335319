"""What every audit store promises: rows and position together, once, in order, found by every filter."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import asyncpg
import pytest

from events.base import ORIGIN, Position
from ops.config import Settings
from ops.local.attach import attached, status
from projections.audit import AuditQuery, AuditRow, audit_row, wanted
from projections.stores import audit
from projections.stores.audit import AuditStore, AuditUnavailable, CursorMoved, MemoryAuditStore, follow_into
from projections.stores.postgres import PostgresAuditStore
from tests.histories import history, two_versions_of_iris
from tests.ops.stacks import ELSEWHERE, restarted, running, settings_for


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Of a stack of PostgreSQL alone."""
    with TemporaryDirectory() as folder:
        given = settings_for(Path(folder), CAUSEWAY_NATS_URL=ELSEWHERE["CAUSEWAY_NATS_URL"])
        with running(given, []):
            yield given


async def new_database(settings: Settings) -> str:
    """URL of an empty one."""
    url = attached(settings).postgres_url
    assert url is not None
    name = f"audit_{uuid4().hex}"
    connection = await asyncpg.connect(url)
    await connection.execute(f"create database {name}")
    await connection.close()
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[AuditStore]:
    if request.param == "memory":
        yield MemoryAuditStore()
        return
    postgres = PostgresAuditStore(await new_database(request.getfixturevalue("settings")))
    yield postgres
    await postgres.close()


@pytest.fixture
async def rows() -> tuple[AuditRow, ...]:
    log = await two_versions_of_iris()
    return tuple(audit_row(each) for each in await log.read())


async def test_an_empty_store_is_at_the_origin_and_has_no_rows(store: AuditStore) -> None:
    assert await store.position() == ORIGIN
    assert await store.page(AuditQuery()) == ()


async def test_rows_come_back_as_they_were_and_the_position_with_them(
    store: AuditStore, rows: tuple[AuditRow, ...]
) -> None:
    assert await store.append(rows[:5], ORIGIN) == 5
    assert await store.append(rows[5:], Position(5)) == len(rows)
    assert await store.position() == len(rows)
    assert await store.page(AuditQuery(limit=1000)) == rows


async def test_a_writer_that_starts_from_elsewhere_writes_nothing(
    store: AuditStore, rows: tuple[AuditRow, ...]
) -> None:
    await store.append(rows[:5], ORIGIN)
    for start in (ORIGIN, Position(4), Position(6)):
        with pytest.raises(CursorMoved) as moved:
            await store.append(rows[5:], start)
        assert moved.value.actual == 5
    assert await store.page(AuditQuery(limit=1000)) == rows[:5]


async def test_appending_nothing_changes_nothing(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows[:5], ORIGIN)
    assert await store.append((), Position(5)) == 5
    assert await store.position() == 5


async def test_every_filter_finds_what_the_pure_rule_finds(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows, ORIGIN)
    deployment_id = next(row.body["deployment_id"] for row in rows if "deployment_id" in row.body)
    middle = rows[len(rows) // 2].at
    queries = (
        AuditQuery(types=("ReplicaReady",)),
        AuditQuery(types=("Replica*", "Build?tarted")),
        AuditQuery(types=("replica*",)),
        AuditQuery(actor="key:ada"),
        AuditQuery(actor="reactor:*"),
        AuditQuery(actor="reactor_*"),
        AuditQuery(actor="%"),
        AuditQuery(entity=deployment_id),
        AuditQuery(entity="node-a"),
        AuditQuery(entity="builder-a"),
        AuditQuery(entity="nobody"),
        AuditQuery(correlation=rows[3].correlation_id),
        AuditQuery(since=middle),
        AuditQuery(until=middle),
        AuditQuery(since=middle, until=middle + timedelta(seconds=1)),
        AuditQuery(after=Position(7), until_position=Position(9)),
        AuditQuery(entity=deployment_id, types=("Replica*",), actor="agent:*", since=rows[0].at),
    )
    for query in queries:
        found = await store.page(query)
        assert found == tuple(filter(wanted(query), rows))[:100], query
    assert [len(await store.page(query)) > 0 for query in queries].count(False) == 4


async def test_pages_follow_each_other_by_position(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows, ORIGIN)
    seen: list[AuditRow] = []
    while page := await store.page(AuditQuery(after=seen[-1].position if seen else ORIGIN, limit=7)):
        seen += page
    assert tuple(seen) == rows


async def test_the_newest_rows_are_given_oldest_first(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows, ORIGIN)
    assert await store.page(AuditQuery(limit=3, newest=True)) == rows[-3:]


async def reached(store: AuditStore, position: Position) -> None:
    async with asyncio.timeout(150):
        while True:
            try:
                if await store.position() >= position:
                    return
            except AuditUnavailable:
                pass  # restarting
            await asyncio.sleep(0.02)


async def test_postgres_killed_emptied_and_back_has_every_row_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LAST_PAUSE_S", 0.2)
    url = await new_database(settings)
    postgres = PostgresAuditStore(url)
    async with history() as plane:
        following = asyncio.create_task(follow_into(plane.log, postgres))
        await plane.push("iris")
        await reached(postgres, await plane.head())
        stack = status(settings)
        assert stack is not None
        os.kill(stack.pids["postgres"], signal.SIGKILL)
        await plane.push("minilm")
        await asyncio.to_thread(restarted, settings, "postgres", stack.pids["postgres"])
        await reached(postgres, await plane.head())
        connection = await asyncpg.connect(url)
        await connection.execute("drop schema causeway cascade")
        await connection.close()
        await plane.push("counter")
        await reached(postgres, await plane.head())
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        kept = await postgres.page(AuditQuery(limit=1000))
        await postgres.close()
        assert kept == tuple(map(audit_row, await plane.log.read()))
