"""What only the real PostgreSQL can show: logins for readers, and a server that hangs, dies or is emptied."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import asyncpg
import pytest

from events.base import (
    ORIGIN,
    Position,
)
from events.replica import ReplicaAssigned
from events.signals.refusals import KeptRefusal, MemoryRefusals
from ops.config import Settings
from ops.local.attach import status
from projections.audit import AuditQuery, audit_row
from projections.stores import audit, audit_rebuild, audit_sql
from projections.stores import postgres as postgres_store
from projections.stores.audit import (
    AuditUnavailable,
    ReaderRefused,
    follow_into,
    follow_refused_into,
)
from projections.stores.audit_rebuild import rebuild
from projections.stores.postgres import PostgresAuditStore
from tests.contract.databases import new_database
from tests.contract.trails import reached, refused
from tests.histories import history, two_versions_of_iris
from tests.ops.stacks import restarted


async def test_a_reader_reads_the_views_and_nothing_else(settings: Settings) -> None:
    url = await new_database(settings)
    store = PostgresAuditStore(url)
    log = await two_versions_of_iris()
    await store.append([audit_row(each) for each in await log.read()], ORIGIN)
    name = f"reader_{uuid4().hex}"
    await store.make_reader(name, "it's secret")
    await rebuild(log, store, switch=True)  # what was granted holds for the rebuilt table
    await store.close()
    reader = await asyncpg.connect(url.replace("postgres@", f"{name}@"))
    try:
        for view in audit_sql.VIEWS:
            await reader.fetch(f"select * from {view}")
        assert await reader.fetchval("select count(*) from audit") == await log.head()
        assert await reader.fetchval("select count(*) from replica_lives where type = 'ReplicaReady'") >= 2
        nodes = await reader.fetch("select distinct node_id from replica_lives")
        placed = {e.event.node_id for e in await log.read() if isinstance(e.event, ReplicaAssigned)}
        assert {each["node_id"] for each in nodes} == placed, "of all that a replica went through, not its first event"
        await reader.execute("set default_transaction_read_only = off")
        for forbidden in ("delete from audit", "select * from rows_2", "select * from cursor", "create table mine ()"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.execute(forbidden)
    finally:
        await reader.close()


async def test_only_a_login_that_can_do_nothing_else_is_made_a_reader(settings: Settings) -> None:
    """Also where the plane itself is no superuser: a database of its own on somebody's server."""
    url, name = await new_database(settings), uuid4().hex
    owner, clerk, reader = f"owner_{name}", f"clerk_{name}", f"reader_{name}"
    connection = await asyncpg.connect(url)
    store = PostgresAuditStore(url.replace("postgres@", f"{owner}@"))
    try:
        await connection.execute(f"create role {owner} login createrole; create role {clerk} login in role pg_monitor")
        await connection.execute(
            f"do $$ begin execute 'grant create on database ' || current_database() || ' to {owner}'; end $$"
        )
        before = await connection.fetch("select * from pg_roles r left join pg_db_role_setting s on s.setrole = r.oid")
        for other in (owner, clerk, "postgres", "pg_monitor", "public", "", "x" * 64, "\udcff"):
            with pytest.raises(ReaderRefused):
                await store.make_reader(other, "secret")
        after = await connection.fetch("select * from pg_roles r left join pg_db_role_setting s on s.setrole = r.oid")
        assert after == before
        for _ in range(2):
            await store.make_reader(reader, "secret")
        assert await connection.fetchval("select has_table_privilege($1, 'causeway.audit', 'select')", reader)
        assert await store.position() == ORIGIN
    finally:
        await store.close()
        await connection.close()


async def test_a_rebuild_waits_for_those_who_read_and_one_beside_it_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sql, "SWITCH_WAITS", "100ms")
    monkeypatch.setattr(audit_rebuild, "SWITCHES", 3)
    url, log = await new_database(settings), await two_versions_of_iris()
    store, other = PostgresAuditStore(url), PostgresAuditStore(url)
    reader = await asyncpg.connect(url)
    try:
        await store.append([audit_row(each) for each in await log.read()], ORIGIN)
        with_rows = await store.page(AuditQuery(limit=1000))
        reading = reader.transaction()
        await reading.start()
        await reader.fetch("select count(*) from causeway.audit")
        with pytest.raises(AuditUnavailable, match="one long transaction"):
            await rebuild(log, store, switch=True)
        async with store.rebuilding():
            with pytest.raises(AuditUnavailable, match="another rebuild"):
                await rebuild(log, other, switch=True)
        monkeypatch.setattr(audit_rebuild, "SWITCHES", 600)
        rebuilding = asyncio.create_task(rebuild(log, store, switch=True))
        assert await other.page(AuditQuery(limit=1000)) == with_rows
        await reading.rollback()
        assert (await rebuilding).switched
        assert await other.page(AuditQuery(limit=1000)) == with_rows
    finally:
        await reader.close()
        await store.close()
        await other.close()


@asynccontextmanager
async def that_can_hang(url: str) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event]]:
    """The same database behind a socket that passes bytes on while the first event is set; the second: some wait."""
    answering, waiting, folder = asyncio.Event(), asyncio.Event(), Path(tempfile.mkdtemp(prefix="causeway-"))
    answering.set()
    there = parse_qs(urlsplit(url).query)["host"][0]
    tasks: set[asyncio.Task[None]] = set()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while some := await reader.read(1 << 16):
            if not answering.is_set():
                waiting.set()
                await answering.wait()
            writer.write(some)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(f"{there}/.s.PGSQL.5432")
        for each in (passed_on(reader, questions), passed_on(answers, writer)):
            tasks.add(asyncio.create_task(each))

    server = await asyncio.start_unix_server(accept, folder / ".s.PGSQL.5432")
    try:
        yield url.replace(quote(there), quote(str(folder))), answering, waiting
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        shutil.rmtree(folder)


async def test_who_gives_up_a_server_that_does_not_answer_waits_no_longer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_store, "TIMEOUT_S", 3600.0)
    rows = tuple(map(audit_row, await (await two_versions_of_iris()).read()))
    async with that_can_hang(await new_database(settings)) as (url, answering, waiting):
        store = PostgresAuditStore(url)
        try:
            await store.append(rows[:5], ORIGIN)
            for hung in (lambda: store.page(AuditQuery()), lambda: store.append(rows[5:], Position(5))):
                answering.clear()
                waiting.clear()
                asked = asyncio.create_task(hung())
                async with asyncio.timeout(60):
                    await waiting.wait()
                asked.cancel()
                done, _ = await asyncio.wait({asked}, timeout=120)
                assert done and asked.cancelled()
                answering.set()
                assert await store.page(AuditQuery()) == rows[:5]
            assert await store.append(rows[5:], Position(5)) == len(rows)
        finally:
            answering.set()
            await store.close()


async def test_rows_of_another_shape_are_made_anew_and_those_who_read_them_still_do(settings: Settings) -> None:
    url, name = await new_database(settings), f"reader {uuid4().hex}"
    log = await two_versions_of_iris()
    old = PostgresAuditStore(url)
    connection = await asyncpg.connect(url)
    try:
        await old.append([audit_row(each) for each in await log.read()], ORIGIN)
        await old.append_refused([KeptRefusal(1, refused(1))], 0)
        await old.make_reader(name, "secret")
        await connection.execute("update causeway.cursor set shape = 2")
        store = PostgresAuditStore(url)
        try:
            assert await store.position() == ORIGIN
            assert [row.id for row in await store.page_refused(AuditQuery())] == ["refused-1"], "the log has them not"
        finally:
            await store.close()
        for view in audit_sql.VIEWS:
            can = "select has_table_privilege($1, $2, 'select')"
            assert await connection.fetchval(can, name, f"causeway.{view}"), view
    finally:
        await connection.close()
        await old.close()


async def test_postgres_killed_emptied_and_back_has_every_row_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LAST_PAUSE_S", 0.2)
    url = await new_database(settings)
    postgres = PostgresAuditStore(url)
    async with history() as plane:
        refusals = MemoryRefusals()
        following = asyncio.gather(follow_into(plane.log, postgres), follow_refused_into(refusals, postgres))
        await plane.push("iris")
        await refusals.keep(refused(1))
        await reached(postgres, await plane.head())
        rebuilding = asyncio.create_task(rebuild(plane.log, PostgresAuditStore(url), switch=True))
        stack = status(settings)
        assert stack is not None
        os.kill(stack.pids["postgres"], signal.SIGKILL)
        await plane.push("minilm")
        await refusals.keep(refused(2))
        await asyncio.gather(rebuilding, return_exceptions=True)
        await asyncio.to_thread(restarted, settings, "postgres", stack.pids["postgres"])
        await reached(postgres, await plane.head())
        connection = await asyncpg.connect(url)
        await connection.execute("drop schema causeway cascade")
        await connection.close()
        await plane.push("counter")
        await refusals.keep(refused(3))
        await reached(postgres, await plane.head())
        async with asyncio.timeout(150):
            while len(await postgres.page_refused(AuditQuery())) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await rebuild(plane.log, postgres, switch=True)).compared.differences == 0, "the one cut off is no harm"
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        kept = await postgres.page(AuditQuery(limit=1000))
        assert [row.id for row in await postgres.page_refused(AuditQuery())] == ["refused-1", "refused-2", "refused-3"]
        await postgres.close()
        assert kept == tuple(map(audit_row, await plane.log.read()))
