"""Indexes of the log, a file for each full stretch, kept by the control process beside the snapshots. Never the truth:
one that cannot be read, or is about another log, is passed over, and the log itself is read instead.
"""

import asyncio
from pathlib import Path

import msgspec
import structlog

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.log import Log
from projections.stores.whole import write_whole
from projections.whereabouts import STRETCH, Stretch, stretch

_log = structlog.get_logger()
VERSION = 1


class KeptWhereabouts:
    def __init__(self, folder: Path, size: int = STRETCH) -> None:
        self._folder = folder / f"whereabouts.v{VERSION}"
        self.size = size

    async def of(self, log: Log) -> list[Stretch]:
        """From the first event on without a gap, as far as it is kept and about this log."""
        found = await asyncio.to_thread(self._all)
        head = await log.head()
        while found and (found[-1].last > head or not await _belongs(log, found[-1])):
            found.pop()
        return found

    def _all(self) -> list[Stretch]:
        found: list[Stretch] = []
        for path in sorted(self._folder.glob("*.index")):
            try:
                read = msgspec.msgpack.decode(path.read_bytes(), type=Stretch)
            except (OSError, msgspec.MsgspecError) as error:
                _log.warning("index ignored", path=str(path), error=str(error))
                break
            if read.after != (found[-1].last if found else ORIGIN):
                break
            found.append(read)
        return found

    async def keep(self, made: Stretch) -> None:
        await asyncio.to_thread(self._write, made)

    def _write(self, made: Stretch) -> None:
        write_whole(self._folder / f"{made.last:012d}.index", msgspec.msgpack.encode(made))


async def _belongs(log: Log, kept: Stretch) -> bool:
    there = await log.read(Position(kept.last - 1), kept.last)
    return bool(there) and there[0].meta.id == kept.last_id


async def keep_whereabouts(log: Log, kept: KeptWhereabouts) -> None:
    """Follows the log for ever and keeps an index of each stretch when it is full."""
    known = await kept.of(log)
    after = known[-1].last if known else ORIGIN
    held: list[Recorded] = []
    async for batch in log.follow(after):
        held += batch
        while len(held) >= kept.size:
            full, held = held[: kept.size], held[kept.size :]
            await kept.keep(stretch(after, full))
            after = full[-1].position
