"""The store is cleared while weights are mirrored into it, in the order that a seed makes of it, on virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agents.effects.weights_sources import Listing, Source, SourceFile
from agents.weights import holds
from agents.weights.holds import CLEARERS, LIVE_S, MIRRORS, clearing, mirroring
from agents.weights.manifest import CHUNKS
from agents.weights.mirror import Mirror, Moved
from agents.weights.store import clear, garbage_of, verify
from agents.weights.wanted import Wanted
from events.weights import ManifestId
from projections.stores.objects import FolderObjects, ObjectMissing, Objects, Stored, StoreUnavailable
from tests.sim.loop import SimLoop, run_simulated

BODY = Random(3).randbytes(3 << 20)
WANTED = Wanted("hf://owner/model", "/weights")
SEEDS = 60


class InlineLoop(SimLoop):
    """What is given to a thread is done at once."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *arguments: Any
    ) -> Any:
        done = self.create_future()
        done.set_result(func(*arguments))
        return done


class Slow:
    """A bucket, consistent as S3 is: each answer is true of some moment between the question and the answer."""

    def __init__(self, seed: int) -> None:
        self.held: dict[str, tuple[bytes, float]] = {}
        self._random = Random(seed)

    async def _moment(self) -> None:
        await asyncio.sleep(self._random.expovariate(10.0))

    async def put(self, key: str, body: bytes | memoryview) -> None:
        await self._moment()
        self.held[key] = bytes(body), asyncio.get_running_loop().time()
        await self._moment()

    async def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        await self._moment()
        if key not in self.held:
            raise ObjectMissing(key)
        return self.held[key][0][start : None if length is None else start + length]

    async def size(self, key: str) -> int | None:
        await self._moment()
        found = self.held.get(key)
        await self._moment()
        return None if found is None else len(found[0])

    async def list(self, prefix: str) -> AsyncIterator[Stored]:
        await self._moment()
        found = [Stored(key, len(body), at) for key, (body, at) in self.held.items() if key.startswith(prefix)]
        await self._moment()
        for each in found:
            yield each

    async def remove(self, key: str) -> None:
        await self._moment()
        self.held.pop(key, None)


class Memory:
    """A source of one file."""

    async def stream(self, file: SourceFile, start: int) -> AsyncIterator[bytes]:
        for at in range(start, len(BODY), 1 << 20):
            await asyncio.sleep(0.05)
            yield BODY[at : at + (1 << 20)]


LISTING = Listing("pinned", (SourceFile("model.bin", len(BODY), "sha256:of it", "model.bin"),))
SOURCE: Source = Memory()  # type: ignore[assignment]


def silent(why: str) -> None:
    pass


async def push(objects: Objects, told: list[ManifestId], folder: Path, held: bool) -> None:
    """As a build does: what it brought is needed from the moment on at which it is told."""
    async with mirroring(objects, silent) if held else nullcontext():
        mirrored = await Mirror(objects, folder, Moved()).run(SOURCE, LISTING, WANTED)
        await asyncio.sleep(0.3)
        told.append(mirrored.manifest_id)


async def collect(objects: Objects, told: list[ManifestId], held: bool) -> None:
    async with clearing(objects, silent) if held else nullcontext() as hold:
        needed = tuple(told)
        garbage = await garbage_of(objects, needed, float("inf"))
        await clear(objects, garbage, hold.sure if hold else lambda: None)


async def both(seed: int, folder: Path, held: bool) -> bool:
    """Whether all that was told to be needed is there, after two pushes and two collections at once."""
    objects, told, random = Slow(seed), list[ManifestId](), Random(f"begin {seed}")
    await push(objects, told, folder, held)
    told.clear()  # It was deleted: nobody needs what it brought, until somebody pushes the same again.

    async def after(work: Callable[[], Any]) -> None:
        await asyncio.sleep(random.uniform(0, 3))
        await work()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            tasks.create_task(after(lambda: push(objects, told, folder, held)))
            tasks.create_task(after(lambda: collect(objects, told, held)))
    assert not [key for key in objects.held if key.startswith(holds.HOLDS)] and len(told) == 2
    return [bad async for bad in verify(objects, told)] == []


def simulated(seed: int, tmp_path: Path, *, held: bool) -> bool:
    folder = tmp_path / f"{seed} {held}"
    folder.mkdir()
    return run_simulated(seed, both(seed, folder, held), InlineLoop(seed))


def test_what_a_push_relies_on_is_never_cleared_away_whoever_begins_when(tmp_path: Path) -> None:
    lost = [seed for seed in range(SEEDS) if not simulated(seed, tmp_path, held=True)]
    assert lost == []


def test_without_holds_it_is_lost(tmp_path: Path) -> None:
    """So the test above looks at what it is about."""
    assert any(not simulated(seed, tmp_path, held=False) for seed in range(SEEDS))


def test_who_clears_is_alone() -> None:
    async def work(
        objects: Objects, opened: Callable[..., AbstractAsyncContextManager[Any]], inside: list[object], random: Random
    ) -> None:
        await asyncio.sleep(random.uniform(0, 0.5))
        async with opened(objects, silent):
            inside.append(opened)
            assert clearing not in inside or inside == [clearing]
            await asyncio.sleep(random.uniform(0, 0.5))
            assert clearing not in inside or inside == [clearing]
            inside.remove(opened)

    async def main(seed: int) -> None:
        objects, inside, random = Slow(seed), list[object](), Random(f"alone {seed}")
        async with asyncio.timeout(3600), asyncio.TaskGroup() as tasks:
            for opened in (mirroring, clearing) * 2:
                tasks.create_task(work(objects, opened, inside, random))

    for seed in range(5 * SEEDS):
        run_simulated(seed, main(seed), InlineLoop(seed))


def test_a_collection_ends_between_pushes_that_follow_each_other(tmp_path: Path) -> None:
    async def main() -> None:
        objects, told, collected = Slow(1), list[ManifestId](), asyncio.Event()

        async def pushing(name: str) -> None:
            while not collected.is_set():
                await push(objects, told, tmp_path, held=True)
                await asyncio.sleep(2.0)

        async with asyncio.timeout(3600), asyncio.TaskGroup() as tasks:
            tasks.create_task(pushing("a"))
            await collect(objects, told, held=True)
            collected.set()

    run_simulated(1, main(), InlineLoop(1))


@pytest.mark.parametrize(("dead", "opened"), [(MIRRORS, clearing), (CLEARERS, mirroring), (CLEARERS, clearing)])
def test_the_killed_are_waited_for_until_they_are_certainly_dead(
    dead: str, opened: Callable[..., AbstractAsyncContextManager[Any]]
) -> None:
    async def main() -> tuple[float, list[str], list[str]]:
        objects, waits = Slow(1), list[str]()
        await objects.put(f"{dead}left", b"")
        await asyncio.sleep(30.0)
        async with opened(objects, waits.append):
            return asyncio.get_running_loop().time(), waits, list(objects.held)

    began, waits, left = run_simulated(1, main(), InlineLoop(1))
    assert LIVE_S < began < LIVE_S + 10.0 and len(waits) == 1
    assert f"{dead}left" not in left


def test_who_works_for_long_is_not_taken_for_dead(tmp_path: Path) -> None:
    async def main() -> list[str]:
        objects, order = Slow(1), list[str]()

        async def long() -> None:
            async with mirroring(objects, silent):
                await asyncio.sleep(10 * LIVE_S)
                order.append("mirrored")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(long())
            await asyncio.sleep(5.0)
            async with clearing(objects, silent):
                order.append("cleared")
        return order

    assert run_simulated(1, main(), InlineLoop(1)) == ["mirrored", "cleared"]


async def test_who_cannot_say_that_it_lives_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with clearing(FolderObjects(tmp_path), silent) as hold:
        hold.sure()
        monkeypatch.setattr(holds, "LIVE_S", -1.0)
        with pytest.raises(StoreUnavailable, match="no sign of life"):
            hold.sure()
    assert not [each async for each in FolderObjects(tmp_path).list(CHUNKS)]
