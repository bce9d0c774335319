"""Causes found by the index are those that a fold over the whole history finds, whatever of the index is kept."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from msgspec.structs import replace

from events.base import ORIGIN, EventId, Position
from events.codec import Recorded
from events.log.closed import ClosedLog
from ops.names import Names, UnknownName
from ops.past import Past
from ops.whence import Whence, entity_of, whence_of
from projections.base import fold
from projections.entities import entities
from projections.stores.kept import KeptSnapshots
from projections.stores.whereabouts import KeptWhereabouts, keep_whereabouts
from projections.whereabouts import stretch
from tests.histories import random_history
from tests.projections.causality_fold import CAUSALITY, chain
from tests.properties.history import history

SEEDS = some.integers(0, 2)
SHARES = some.lists(some.floats(0, 1), max_size=8)


async def check(whence: Whence, events: tuple[Recorded, ...], asked: list[Recorded]) -> None:
    causality = fold(CAUSALITY, events)
    for recorded in asked:
        found = await whence.chain(recorded)
        assert [link for _, link in found] == list(chain(causality, recorded.meta.id))
        for event, link in found:
            parent = None if link.parent is None else causality.links.get(link.parent)
            assert await whence.cause_of(link) == (None if parent is None else parent.position)
            assert event.position == link.position
        for entity in entities(recorded.stream, recorded.event):
            own = [each for each in events if each.stream.id == entity]
            naming = [each for each in events if entity in entities(each.stream, each.event)]
            assert await whence.first(entity) == (own[0] if own else None)
            assert await whence.last(entity) == (own or naming)[-1]
            assert await whence.about(entity) == naming
        later = [each for each in events if each.stream == recorded.stream and each.position > recorded.position]
        assert await whence.life_after(recorded) == later


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, size=some.integers(1, 400), reach=some.floats(0, 1), picks=SHARES)
def test_what_the_index_finds_is_what_a_fold_of_everything_finds(
    seed: int, size: int, reach: float, picks: list[float]
) -> None:
    events = history(seed)

    async def ask(folder: Path) -> None:
        kept, known = KeptWhereabouts(folder, size), int(reach * len(events))
        await keep_whereabouts(ClosedLog(ORIGIN, events[:known]), kept)
        log = Past(ClosedLog(ORIGIN, events), KeptSnapshots(folder), index=kept)
        assert len(await log.whereabouts()) == known // size
        await check(await whence_of(log), events, [events[int(pick * (len(events) - 1))] for pick in picks])

    with TemporaryDirectory() as name:
        asyncio.run(ask(Path(name)))


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, begin=some.floats(0, 0.99), picks=SHARES)
def test_a_history_that_begins_later_is_asked_as_far_as_it_goes(seed: int, begin: float, picks: list[float]) -> None:
    after = Position(int(begin * len(history(seed))))
    events = history(seed)[after:]
    whence = Whence(ClosedLog(after, events), Names(), [stretch(after, events)], events[-1].position)
    asyncio.run(check(whence, events, [events[int(pick * (len(events) - 1))] for pick in picks]))


async def test_an_index_of_another_log_or_a_damaged_one_is_not_believed(tmp_path: Path) -> None:
    events = await random_history([0, 1, 3])
    others = [replace(each, meta=replace(each.meta, id=EventId(f"other {each.meta.id}"))) for each in events]
    kept = KeptWhereabouts(tmp_path, 4)
    await keep_whereabouts(ClosedLog(ORIGIN, others), kept)
    ours = ClosedLog(ORIGIN, events)
    assert await kept.of(ours) == []
    (tmp_path / "whereabouts.v1" / "000000000008.index").write_bytes(b"damaged")
    assert [each.last for each in await kept.of(ClosedLog(ORIGIN, others))] == [4]
    await keep_whereabouts(ours, kept)
    assert [each.last for each in await kept.of(ours)] == list(range(4, len(events) + 1, 4))


async def test_what_has_no_name_is_known_by_the_events_about_it() -> None:
    events = history(0)
    log = ClosedLog(ORIGIN, events)
    for entity in sorted({each for recorded in events for each in entities(recorded.stream, recorded.event)})[::5]:
        assert await entity_of(log, entity) == entity
    with pytest.raises(UnknownName, match="nothing is called 'nobody'"):
        await entity_of(log, "nobody")
