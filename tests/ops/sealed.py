"""A log on a real JetStream store, sealed and archived, and hands to damage it: what the tests of integrity share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

from events.base import ORIGIN, Position
from events.log.jetstream import JetStreamLog
from events.log.jetstream_raw import JetStreamRaw
from events.log.raw import RawMessage
from handlers.clock import SystemClock
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch
from handlers.notary import Notary
from ops.bench.history import history
from ops.config import Settings, load
from ops.local.alone import nats_alone
from ops.wiring.archive import open_archive
from ops.wiring.parts import open_log
from projections.follow import Follower
from projections.seals import SEALS, Seals
from projections.view import View

EVENTS, SEGMENT = 150, 40


def settings_of(state: Path) -> Settings:
    return load({"CAUSEWAY_STATE": str(state), "PATH": "/usr/bin:/bin"})


@asynccontextmanager
async def plane(settings: Settings, url: str) -> AsyncIterator[tuple[JetStreamLog, Notary, View[Seals]]]:
    async with open_log(settings.but(nats_url=url), may_create=True) as log:
        decisions, seals = View(DECISIONS), View(SEALS)
        following = asyncio.create_task(Follower(log, (decisions, seals)).run())
        dispatch = Dispatch(log, decisions, SystemClock())
        try:
            async with open_archive(settings) as archive:
                yield log, Notary(JetStreamRaw(url), archive, dispatch, seals, SystemClock(), most=SEGMENT), seals
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def live(settings: Settings) -> tuple[RawMessage, ...]:
    """Events, the first of them sealed in three segments, and some that no seal has spoken of."""
    async with nats_alone(settings) as url, plane(settings, url) as (log, notary, seals):
        last: dict[object, Position] = {}
        for stream, draft in islice(history("sealed"), EVENTS):
            last[stream] = await log.append(stream, (draft,), last.get(stream, ORIGIN))
        for _ in range(3):
            await seals.reached(await log.head())
            await notary.seal()
        return await raw_of(url)


async def raw_of(url: str) -> tuple[RawMessage, ...]:
    raw = JetStreamRaw(url)
    return tuple([message async for message in raw.raw(ORIGIN, await raw.raw_head())])


async def now(settings: Settings) -> tuple[RawMessage, ...]:
    async with nats_alone(settings) as url:
        return await raw_of(url)


def block(state: Path) -> Path:
    (found,) = state.glob("nats/jetstream/*/streams/CAUSEWAY/msgs/1.blk")
    return found


def records(data: bytes) -> dict[int, tuple[int, int]]:
    """Where each message lies in a block: begin and end by position."""
    found, at = {}, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little") & 0x7FFFFFFF
        found[int.from_bytes(data[at + 4 : at + 12], "little")] = (at, at + size)
        at += size
    return found


def flip(data: bytes, position: int) -> bytes:
    begin, end = records(data)[position]
    at = data.index(b'"event"', begin, end) + 1
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
