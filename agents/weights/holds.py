"""Who works on the blob store of weights: mirrors side by side, or one who clears it, from however many machines.

Each puts an object there first and then looks for the others', so of two who begin at once one at least sees the other:
mirrors wait for who clears, who clears steps back for mirrors. Nothing rests on conditional writes, and ages are told
by the store's own clock. Who was killed is waited for until its object, written again and again before, has grown old.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from secrets import token_hex

from agents.weights.manifest import PREFIX
from projections.stores.objects import Objects, StoreUnavailable

HOLDS = PREFIX + "holds/"
MIRRORS, CLEARERS = HOLDS + "mirror/", HOLDS + "clear/"
AGAIN_S, LIVE_S = 20.0, 120.0
"""How often it is written again, and for how long it counts without that."""
LOOK_S = 0.5
_BODY = b"somebody works on these weights\n"
OnWait = Callable[[str], None]


class Hold:
    """Of one who works there now."""

    def __init__(self, objects: Objects, kind: str) -> None:
        self._objects, self._kind = objects, kind
        self.key = f"{kind}{token_hex(8)}"
        self._written = 0.0
        self._over = asyncio.Event()

    async def write(self) -> None:
        began = time.monotonic()
        await self._objects.put(self.key, _BODY)
        self._written = began

    def sure(self) -> None:
        """Raises StoreUnavailable where others may have taken it for a dead one's."""
        silent_s = time.monotonic() - self._written
        if silent_s > LIVE_S / 2:
            raise StoreUnavailable(f"it took no sign of life for {silent_s:.0f} s: try again")

    async def others(self, kind: str) -> bool:
        """Whether any lives. What the dead have left goes."""
        found = [each async for each in self._objects.list(kind) if each.key != self.key]
        if not found:
            return False
        await self.write()
        mine = [each.modified_s async for each in self._objects.list(self._kind) if each.key == self.key]
        if not mine:
            raise StoreUnavailable(f"{self.key} is not there, though it was written: try again")
        dead = [each.key for each in found if each.modified_s < mine[0] - LIVE_S]
        for key in dead:
            await self._objects.remove(key)
        return len(dead) < len(found)

    async def drop(self) -> None:
        with suppress(StoreUnavailable):  # Then it grows old.
            await self._objects.remove(self.key)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator["Hold"]:
        """Written again and again meanwhile; never after it was dropped."""
        keeping = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            self._over.set()
            await asyncio.gather(keeping, return_exceptions=True)
            await self.drop()

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), AGAIN_S)
                return
            with suppress(StoreUnavailable):  # `sure` tells when it lasts.
                await self.write()


@asynccontextmanager
async def mirroring(objects: Objects, on_wait: OnWait) -> AsyncIterator[Hold]:
    """What is found in the store stays there while this is open. Raises StoreUnavailable."""
    async with Hold(objects, MIRRORS).kept() as hold:
        await hold.write()
        waits = False
        while await hold.others(CLEARERS):
            if not waits:
                on_wait("the blob store is being cleared (causeway weights gc)")
            waits = True
            await asyncio.sleep(LOOK_S)
        yield hold


@asynccontextmanager
async def clearing(objects: Objects, on_wait: OnWait) -> AsyncIterator[Hold]:
    """Nobody else mirrors or clears while this is open. Raises StoreUnavailable."""
    said = ""
    while True:
        async with Hold(objects, CLEARERS).kept() as hold:
            await hold.write()
            mirrored, cleared = await hold.others(MIRRORS), await hold.others(CLEARERS)
            if not mirrored and not cleared:
                yield hold
                return
        why = "weights are being mirrored" if mirrored else "somebody else clears the blob store"
        if why != said:
            on_wait(why)
        said = why
        # Each at a pace of its own: two who step back for each other do so once.
        await asyncio.sleep(LOOK_S * (1 + int(hold.key[-2:], 16) / 64))
