"""Cursors in a JetStream stream: one subject a name, its last message the place, and the losses known there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from events.base import EventId, Position
from events.log.cursors import Cursor, CursorsUnavailable
from events.log.jetstream_link import client_options
from events.log.nats_wire import Login

STREAM = "CAUSEWAY_CURSORS"
CONNECT_S = 5.0
_SETTINGS = StreamConfig(
    name=STREAM,
    description="How far subscribers have read.",
    subjects=["cursors.>"],
    storage=StorageType.FILE,
    discard=DiscardPolicy.OLD,
    max_msgs_per_subject=1,
)


class JetStreamCursors:
    """Made by `open_cursors`. The stream is made when a place is to be kept."""

    def __init__(self, jetstream: JetStreamContext) -> None:
        self._jetstream = jetstream
        self._there = False

    async def load(self, name: str) -> Cursor | None:
        try:
            last = await self._jetstream.get_last_msg(STREAM, f"cursors.{name}")
        except NotFoundError:
            return None
        except (Error, TimeoutError, OSError) as error:
            raise CursorsUnavailable(str(error) or type(error).__name__) from error
        position, *losses = (last.data or b"0").decode().split()
        return Cursor(Position(int(position)), tuple(map(EventId, losses)))

    async def save(self, name: str, cursor: Cursor) -> None:
        try:
            if not self._there:
                await self._jetstream.add_stream(_SETTINGS)
                self._there = True
            await self._jetstream.publish(f"cursors.{name}", " ".join((str(cursor.position), *cursor.losses)).encode())
        except (Error, TimeoutError, OSError) as error:
            # The stream itself may be gone: a server that was brought back from the archive has the log and no more.
            self._there = False
            raise CursorsUnavailable(str(error) or type(error).__name__) from error


@asynccontextmanager
async def open_cursors(login: Login) -> AsyncIterator[JetStreamCursors]:
    """Raises CursorsUnavailable."""
    client = Client()
    try:
        async with asyncio.timeout(CONNECT_S):
            await client.connect(**client_options(login, "causeway cursors"))
    except (Error, OSError, TimeoutError) as error:
        await client.close()
        raise CursorsUnavailable(str(error) or type(error).__name__) from error
    try:
        yield JetStreamCursors(client.jetstream())
    finally:
        await client.close()
