"""Snapshots kept along the log: how near they stand, that they are bounded, and that no false one is believed."""

import asyncio
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.base import ORIGIN, EventId, Position
from events.codec import Recorded
from events.log.memory import MemoryLog
from ops.past import Past
from ops.replay import LOOKED_BACK_AT, snapshot_at, state_at
from projections.base import Projection, fold
from projections.routing import ROUTING
from projections.stores import kept as module
from projections.stores.kept import KeptSnapshots, apart_at, keep_snapshots
from projections.view import View
from tests.histories import copied, random_history, two_versions_of_iris


class InPieces(MemoryLog):
    """Follows a few events at a time, as a real log does."""

    async def follow(self, after: Position):  # type: ignore[no-untyped-def]
        async for batch in super().follow(after):
            piece: list[Recorded] = []
            for recorded in batch:
                piece.append(recorded)
                if recorded.meta.index == recorded.meta.count - 1:
                    yield tuple(piece)
                    piece = []
                    await asyncio.sleep(0.002)  # the saver has its turn


async def in_pieces(history: tuple[Recorded, ...]) -> InPieces:
    log = InPieces()
    log.__dict__.update((await copied(history)).__dict__)
    return log


async def kept_from(log: MemoryLog, folder: Path) -> KeptSnapshots:
    """What the keeper has saved once it can save no more: the next one is due beyond the log's end."""
    kept, head = KeptSnapshots(folder), await log.head()
    keeping = asyncio.create_task(keep_snapshots(log, kept, LOOKED_BACK_AT))
    while (kept.positions(ROUTING) or (ORIGIN,))[-1] <= head - apart_at(head):
        await asyncio.wait([keeping], timeout=0.01)
        if keeping.done():
            keeping.result()
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    return kept


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 5)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(0, 63), min_size=4, max_size=25), st.integers(3, 9))
def test_a_state_from_a_kept_snapshot_and_the_tail_equals_a_fold_from_zero(picks: list[int], every: int) -> None:
    async def check(folder: Path) -> None:
        log = await in_pieces(await random_history(picks))
        events = await log.read()
        past = Past(log, await kept_from(log, folder))
        for position in range(len(events) + 1):
            for projection in LOOKED_BACK_AT:
                state = await state_at(past, projection, Position(position))
                assert state == fold(projection, events[:position]), (projection.name, position)
        middle = Position(len(events) // 2)
        assert await snapshot_at(past, None, middle) == await snapshot_at(log, None, middle)

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "EVERY", every)
        asyncio.run(check(Path(folder)))


async def test_a_keeper_that_starts_again_goes_on_from_the_last_one(often: None, tmp_path: Path) -> None:
    events = await (await two_versions_of_iris()).read()
    kept = await kept_from(await in_pieces(events[:20]), tmp_path)
    before = kept.positions(ROUTING)
    await kept_from(await in_pieces(events), tmp_path)
    assert set(before) < set(kept.positions(ROUTING))


async def test_a_snapshot_of_another_log_or_of_no_log_is_not_believed(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    head = await log.head()
    kept = KeptSnapshots(tmp_path)
    wrong = View(ROUTING)
    wrong.restore(ROUTING.initial(), Position(head - 2), EventId("of another log"))
    await kept.save([wrong])
    assert await state_at(Past(log, kept), ROUTING) == fold(ROUTING, await log.read())
    (file,) = tmp_path.glob("*/*.snapshot")
    file.write_bytes(b"half a fi")
    assert await kept.nearest(ROUTING, head) is None


async def test_their_number_is_bounded_and_they_stay_evenly_spread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "EVERY", 10)
    kept, view = KeptSnapshots(tmp_path), View(ROUTING)
    for position in range(10, 3000, 10):
        view.restore(ROUTING.initial(), Position(position))
        await kept.save([view])
        await kept.thin([ROUTING], apart_at(Position(position)))
    left = kept.positions(ROUTING)
    assert left[-1] == 2990 and len(left) <= module.MOST + 2
    assert max(b - a for a, b in pairwise(left)) <= apart_at(Position(2990))


async def test_too_many_bytes_make_them_fewer_and_older_versions_and_formats_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept, view = KeptSnapshots(tmp_path), View(ROUTING)
    old: Projection[object] = Projection(ROUTING.name, ROUTING.version - 1, object, object, lambda state, _: state)
    older = View(old)
    older.restore({}, Position(1))
    await kept.save([older])
    older_format = tmp_path / f"{ROUTING.name}.v{ROUTING.version}"
    older_format.mkdir()
    (older_format / "000000000001.snapshot").write_bytes(b"as it once was packed")
    assert await kept.nearest(ROUTING, Position(1)) is None
    for position in range(1, 33):
        view.restore(ROUTING.initial(), Position(position))
        await kept.save([view])
    size = sum(each.stat().st_size for each in tmp_path.glob("routing.v*/*")) // 33
    monkeypatch.setattr(module, "BYTES_MAX", 9 * size)
    assert await kept.thin([ROUTING], 1) >= 4
    assert len(kept.positions(ROUTING)) <= 9 and kept.positions(ROUTING)[-1] == 32
    assert not kept.positions(old) and not older_format.exists()
