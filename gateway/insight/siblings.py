"""All workers of a machine behind one scrape: each writes its moment to a folder, and whoever is asked reads them all.

Workers share the port, so a scrape reaches any of them; without this it would see now one and now another. A file
that has not been renewed for a while is of a worker that is dead, and is removed.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.insight.worker import Moment
from projections.stores.whole import write_whole

EVERY_S = 5.0
FORGOTTEN_AFTER_S = 30.0


class Siblings:
    def __init__(self, folder: Path, mine: Callable[[], Moment]) -> None:
        self._folder, self._mine = folder, mine
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    async def run(self) -> None:
        """Until it is cancelled; then our file goes."""
        path = self._path(self._mine().worker)
        try:
            while True:
                await asyncio.to_thread(_write, path, self._mine())
                await asyncio.sleep(EVERY_S)
        finally:
            path.unlink(missing_ok=True)

    async def moments(self) -> list[Moment]:
        """Ours as it is now, the others' as they were a few seconds ago."""
        mine = self._mine()
        return [mine, *await asyncio.to_thread(self._others, mine.worker)]

    def _others(self, me: str) -> list[Moment]:
        found = []
        for path in sorted(self._folder.glob("*.json")):
            if path == self._path(me):
                continue
            try:
                moment = msgspec.json.decode(path.read_bytes(), type=Moment)
            except (FileNotFoundError, msgspec.DecodeError):  # gone meanwhile, or of another version
                continue
            if time.time() - moment.at < FORGOTTEN_AFTER_S:
                found.append(moment)
            else:
                path.unlink(missing_ok=True)
        return found

    def _path(self, worker: str) -> Path:
        return self._folder / f"{worker}.json"


def _write(path: Path, moment: Moment) -> None:
    write_whole(path, msgspec.json.encode(moment))
