"""What a replica tells of itself while it starts: its launcher writes a letter into a pipe at each step of the way.

It spares asking again and again, and no more than that: one whose news nobody hears, because its agent has been
replaced or its server does not tell, is asked as ever.
"""

import asyncio
import os

from events.base import ReplicaId

NEWS_FD = 3
"""The pipe's number in the replica's processes."""
BEGUN, LISTENS, LOADED = b"b", b"l", b"r"


class News:
    """The agent's side. `writing` is for the replica; close it with `handed_over` once the replica has it."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._said = b""
        self._over = False
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    @property
    def tells(self) -> bool:
        """It has begun to tell."""
        return BEGUN in self._said

    async def more(self, at_most_s: float) -> bool:
        """Whether there is something new since the last time; there is, ever after, when it has told all."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._more.wait()
        except TimeoutError:
            return False
        if not self._over:
            self._more.clear()
        return True

    def handed_over(self) -> None:
        os.close(self.writing)

    def close(self) -> None:
        self._over = True
        self._more.set()
        if self._reading >= 0:
            asyncio.get_running_loop().remove_reader(self._reading)
            os.close(self._reading)
            self._reading = -1

    def _read(self) -> None:
        said = os.read(self._reading, 64)
        self._said += said
        self._more.set()
        if not said or (LISTENS in self._said and LOADED in self._said):
            self.close()


class Newsroom:
    """The news of all replicas of this machine that start."""

    def __init__(self) -> None:
        self._news: dict[ReplicaId, News] = {}

    def expected_of(self, replica_id: ReplicaId) -> News:
        self.forget(replica_id)
        news = self._news[replica_id] = News()
        return news

    async def of(self, replica_id: ReplicaId, at_most_s: float) -> bool:
        """Waits for something new; False: it may be up without our having heard of it."""
        news = self._news.get(replica_id)
        return news is not None and (await news.more(at_most_s) or news.tells)

    def forget(self, replica_id: ReplicaId) -> None:
        if (news := self._news.pop(replica_id, None)) is not None:
            news.close()
