"""nats-server and PostgreSQL for real: started, killed, started again, with what was acknowledged still there."""

import os
import signal
from pathlib import Path

import asyncpg
import nats
from nats.js.api import StorageType

from ops.local.attach import attached, down
from ops.local.processes import is_alive, wait_gone
from tests.ops.stacks import restarted, running, settings_for, start


async def write_both(nats_url: str, postgres_url: str) -> None:
    client = await nats.connect(nats_url)
    try:
        stream = client.jetstream()
        await stream.add_stream(name="KEPT", subjects=["kept.>"], storage=StorageType.FILE)
        await stream.publish("kept.one", b"acknowledged")
    finally:
        await client.close()
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute("create table kept (line text)")
        await connection.execute("insert into kept values ('committed')")
    finally:
        await connection.close()


async def read_both(nats_url: str, postgres_url: str) -> tuple[bytes | None, str]:
    client = await nats.connect(nats_url)
    try:
        message = await client.jetstream().get_msg("KEPT", 1)
    finally:
        await client.close()
    connection = await asyncpg.connect(postgres_url)
    try:
        return message.data, await connection.fetchval("select line from kept")
    finally:
        await connection.close()


async def test_both_are_killed_and_come_back_with_everything_acknowledged(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    with running(settings, []) as stack:
        inside = attached(settings)
        assert inside.nats_url and inside.postgres_url
        await write_both(inside.nats_url, inside.postgres_url)
        for name in ("nats", "postgres"):
            os.kill(stack.pids[name], signal.SIGKILL)
            restarted(settings, name, stack.pids[name])
        assert await read_both(inside.nats_url, inside.postgres_url) == (b"acknowledged", "committed")
        os.kill(stack.supervisor.pid, signal.SIGKILL)
        assert all(wait_gone(each.process, 30) for each in stack.roles if each.process)

    again = start(settings, [])
    try:
        inside = attached(settings)
        assert inside.nats_url and inside.postgres_url
        assert await read_both(inside.nats_url, inside.postgres_url) == (b"acknowledged", "committed")
        assert all(is_alive(each.process) for each in again.roles if each.process)
    finally:
        assert down(settings)
