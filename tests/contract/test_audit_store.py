"""What every audit store promises: rows and position together, once, in order, found by every filter."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from events.base import (
    ORIGIN,
    Actor,
    CommandId,
    CorrelationId,
    EventId,
    Metadata,
    ModelId,
    Position,
    StreamName,
)
from events.codec import Recorded
from events.log import LogBroken
from events.log.memory import MemoryLog
from events.model import ModelRegistered
from events.seal import LOG_STREAM, LossAccepted
from events.signals.refusals import KeptRefusal
from projections.audit import AuditQuery, AuditRow, audit_row, wanted, wanted_refused
from projections.stores.audit import (
    AuditStore,
    CursorMoved,
    MemoryAuditStore,
    follow_into,
    same_history,
)
from projections.stores.audit_exports import pages
from projections.stores.audit_rebuild import rebuild
from projections.stores.postgres import PostgresAuditStore
from tests.contract.databases import new_database
from tests.contract.trails import START, reached, refused
from tests.histories import copied, two_versions_of_iris


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[AuditStore]:
    if request.param == "memory":
        yield MemoryAuditStore()
        return
    postgres = PostgresAuditStore(await new_database(request.getfixturevalue("settings")))
    yield postgres
    await postgres.close()


@pytest.fixture
async def rows() -> tuple[AuditRow, ...]:
    log = await two_versions_of_iris()
    return tuple(audit_row(each) for each in await log.read())


async def test_an_empty_store_is_at_the_origin_and_has_no_rows(store: AuditStore) -> None:
    assert await store.position() == ORIGIN
    assert await store.page(AuditQuery()) == ()


async def test_rows_come_back_as_they_were_and_the_position_with_them(
    store: AuditStore, rows: tuple[AuditRow, ...]
) -> None:
    assert await store.append(rows[:5], ORIGIN) == 5
    assert await store.append(rows[5:], Position(5)) == len(rows)
    assert await store.position() == len(rows)
    assert await store.page(AuditQuery(limit=1000)) == rows


async def test_a_writer_that_starts_from_elsewhere_writes_nothing(
    store: AuditStore, rows: tuple[AuditRow, ...]
) -> None:
    await store.append(rows[:5], ORIGIN)
    for start in (ORIGIN, Position(4), Position(6)):
        with pytest.raises(CursorMoved) as moved:
            await store.append(rows[5:], start)
        assert moved.value.actual == 5
    assert await store.page(AuditQuery(limit=1000)) == rows[:5]


async def test_appending_nothing_changes_nothing(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows[:5], ORIGIN)
    assert await store.append((), Position(5)) == 5
    assert await store.position() == 5


async def test_every_filter_finds_what_the_pure_rule_finds(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows, ORIGIN)
    deployment_id = next(row.body["deployment_id"] for row in rows if "deployment_id" in row.body)
    middle = rows[len(rows) // 2].at
    queries = (
        AuditQuery(types=("ReplicaReady",)),
        AuditQuery(types=("Replica*", "Build?tarted")),
        AuditQuery(types=("replica*",)),
        AuditQuery(actor="key:ada"),
        AuditQuery(actor="reactor:*"),
        AuditQuery(actor="reactor_*"),
        AuditQuery(actor="%"),
        AuditQuery(entity=deployment_id),
        AuditQuery(entity="node-a"),
        AuditQuery(entity="builder-a"),
        AuditQuery(entity="nobody"),
        AuditQuery(correlation=rows[3].correlation_id),
        AuditQuery(since=middle),
        AuditQuery(until=middle),
        AuditQuery(since=middle, until=middle + timedelta(seconds=1)),
        AuditQuery(after=Position(7), until_position=Position(9)),
        AuditQuery(entity=deployment_id, types=("Replica*",), actor="agent:*", since=rows[0].at),
    )
    for query in queries:
        found = await store.page(query)
        assert found == tuple(filter(wanted(query), rows))[:100], query
    assert [len(await store.page(query)) > 0 for query in queries].count(False) == 4


@pytest.mark.parametrize(
    ("query", "finds"),
    [
        (AuditQuery(actor="nul\0"), True),
        (AuditQuery(actor="*\0"), True),
        (AuditQuery(actor="long " + "x" * 700), True),
        (AuditQuery(entity="nul\0"), True),
        (AuditQuery(actor="\udcff"), False),
        (AuditQuery(types=("no\0type", "\ud800")), False),
        (AuditQuery(entity="\udcff"), False),
        (AuditQuery(correlation="\udcff"), False),
        (AuditQuery(after=Position(10**30)), False),
        (AuditQuery(until_position=Position(10**30), limit=10**30), True),
        (AuditQuery(since=datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))), True),
        (AuditQuery(until=datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))), False),
        (AuditQuery(since=datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))), False),
        (AuditQuery(until=datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))), True),
    ],
)
async def test_what_no_row_can_hold_is_asked_for_like_anything_else(
    store: AuditStore, query: AuditQuery, finds: bool
) -> None:
    for number, name in enumerate(("nul\0", "long " + "x" * 700), 1):
        event = ModelRegistered(model_id=ModelId(name), name="m", team="")
        meta = msgspec.structs.replace(_meta(f"e-{number}"), actor=Actor(name, "api-key"))
        row = audit_row(Recorded(Position(number), StreamName("model", name), event, meta))
        await store.append((row,), Position(number - 1))
        refusal = refused(number, actor=Actor(name, "api-key"), entity=name, at=START)
        await store.append_refused([KeptRefusal(number, refusal)], number - 1)
    assert bool(await store.page(query)) == finds
    assert bool(await store.page_refused(query)) == finds


async def test_pages_follow_each_other_by_position(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows, ORIGIN)
    seen: list[AuditRow] = []
    while page := await store.page(AuditQuery(after=seen[-1].position if seen else ORIGIN, limit=7)):
        seen += page
    assert tuple(seen) == rows


async def test_the_newest_rows_are_given_oldest_first(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows, ORIGIN)
    assert await store.page(AuditQuery(limit=3, newest=True)) == rows[-3:]


async def test_a_page_far_back_in_time_is_found_by_the_times_of_its_positions(
    store: AuditStore, rows: tuple[AuditRow, ...]
) -> None:
    """Clocks of processes differ, so times do not rise with positions everywhere."""
    many = [
        msgspec.structs.replace(
            rows[0], position=Position(at), at=START + timedelta(seconds=at + (-700 if at % 97 == 0 else 0))
        )
        for at in range(1, 3500)
    ]
    await store.append(many, ORIGIN)
    for since, until in ((0, 5), (1990, 2010), (3400, 9000), (9000, 9001), (None, 3), (2999, None)):
        query = AuditQuery(
            since=None if since is None else START + timedelta(seconds=since),
            until=None if until is None else START + timedelta(seconds=until),
            newest=True,
            limit=7,
        )
        assert await store.page(query) == tuple(filter(wanted(query), many))[-7:], query


async def test_rows_at_positions_that_came_again_after_a_loss_are_found_by_every_filter(
    store: AuditStore, rows: tuple[AuditRow, ...]
) -> None:
    await store.append(rows, ORIGIN)
    await store.set_aside(Position(11))
    again = [msgspec.structs.replace(row, position=Position(at)) for at, row in enumerate(rows[:9:-1], 11)]
    await store.append(again, Position(10))
    for actor, kind in {(row.actor, row.type) for row in rows}:
        for newest in (False, True):
            query = AuditQuery(actor=actor, types=(kind,), newest=newest)
            assert await store.page(query) == tuple(filter(wanted(query), (*rows[:10], *again))), query


async def test_a_refused_command_is_kept_once_and_found_by_every_filter(store: AuditStore) -> None:
    kept = [KeptRefusal(number, refused(number)) for number in range(1, 13)]
    assert await store.append_refused(kept[:5], 0) == 5
    with pytest.raises(CursorMoved):
        await store.append_refused(kept[5:], 3)
    # A stream that was begun anew counts from one again; what is known already is not kept twice.
    again = [KeptRefusal(each.sequence + 20, each.refusal) for each in kept[3:]]
    assert await store.append_refused([*again, again[-1]], 5) == 32
    assert await store.refused_sequence() == 32
    rows = await store.page_refused(AuditQuery())
    assert [row.number for row in rows] == list(range(1, 13))
    assert [row.id for row in rows] == [each.refusal.id for each in kept]
    assert rows[0].body == {"model_id": "m", "names": ["a\ufffdb"]}
    for query in (
        AuditQuery(types=("StartPromotion",)),
        AuditQuery(types=("*Key",), actor="key:*"),
        AuditQuery(actor="key:2"),
        AuditQuery(entity="m-1", since=START + timedelta(seconds=4)),
        AuditQuery(until=START + timedelta(seconds=4)),
        AuditQuery(correlation="r-7"),
        AuditQuery(after=Position(4), until_position=Position(6)),
        AuditQuery(newest=True, limit=3),
    ):
        found = tuple(filter(wanted_refused(query), rows))
        assert await store.page_refused(query) == (found[-3:] if query.newest else found), query
        assert found


async def test_all_that_matches_comes_in_pages(store: AuditStore, rows: tuple[AuditRow, ...]) -> None:
    await store.append(rows, ORIGIN)
    await store.append_refused([KeptRefusal(number, refused(number)) for number in range(1, 13)], 0)
    for query, of_refused, sizes in (
        (AuditQuery(limit=1000), False, [len(rows[at : at + 5]) for at in range(0, len(rows), 5)]),
        (AuditQuery(limit=7), False, [5, 2]),
        (AuditQuery(limit=1000, actor="key:1"), True, [3]),
        (AuditQuery(limit=1000), True, [5, 5, 2]),
        (AuditQuery(limit=1000, entity="none-such"), False, []),
    ):
        found = [page async for page in pages(store, query, of_refused, 5)]
        assert [len(page) for page in found] == sizes
        flat = tuple(row for page in found for row in page)
        assert flat == await (store.page_refused(query) if of_refused else store.page(query))


async def test_a_rebuild_of_a_sound_trail_changes_nothing(store: AuditStore) -> None:
    log = await two_versions_of_iris()
    await store.append([audit_row(each) for each in await log.read()], ORIGIN)
    done = await rebuild(log, store, switch=True)
    assert (done.switched, done.compared.differences, done.rows) == (True, 0, await log.head())
    assert await store.page(AuditQuery(limit=1000)) == tuple(map(audit_row, await log.read()))


async def test_a_rebuild_makes_the_same_rows_of_odd_texts(store: AuditStore) -> None:
    log = MemoryLog()
    for number, odd in enumerate(
        ("plain", 'tab\tquote"', "back\\slash\\N", "line\nend\r", "nul\0", "\\.", "{ü,NULL}", "")
    ):
        meta = Metadata(
            id=EventId(f"e-{number}"),
            command_id=CommandId(f"c-{number}{odd}"),
            correlation_id=CorrelationId(odd),
            causation_id=EventId(odd) if number % 2 else None,
            actor=Actor(f"key:{odd}", odd),
            at=START,
        )
        event = ModelRegistered(model_id=ModelId(odd), name=f"{odd} {odd}", team=odd)
        await log.append(StreamName("model", f"{odd}-"), ((event, meta),), ORIGIN)
    await store.append([audit_row(each) for each in await log.read()], ORIGIN)
    done = await rebuild(log, store, switch=True)
    assert (done.rows, done.compared.differences) == (8, 0)
    assert await store.page(AuditQuery()) == tuple(map(audit_row, await log.read()))


async def test_a_rebuild_says_what_was_wrong_and_puts_it_right(store: AuditStore) -> None:
    log = await two_versions_of_iris()
    rows = tuple(map(audit_row, await log.read()))
    wrong = [msgspec.structs.replace(row, actor="nobody") if row.position == 7 else row for row in rows[:-3]]
    del wrong[3]
    await store.append(wrong, ORIGIN)
    checked = await rebuild(log, store, switch=False)
    assert (checked.compared.lacking, checked.compared.extra, checked.compared.other) == (1, 0, 1)
    assert checked.compared.first == 4
    assert await store.page(AuditQuery(limit=1000)) == tuple(wrong)

    assert (await rebuild(log, store, switch=True)).switched
    assert await store.page(AuditQuery(limit=1000)) == rows
    assert await store.position() == len(rows)
    assert await store.page(AuditQuery(actor="key:*")) == tuple(filter(wanted(AuditQuery(actor="key:*")), rows))


async def given(*batches: tuple[Recorded, ...]) -> AsyncIterator[tuple[Recorded, ...]]:
    for each in batches:
        yield each


async def test_rows_that_came_during_a_rebuild_are_not_lost(store: AuditStore) -> None:
    log = await two_versions_of_iris()
    rows = tuple(map(audit_row, await log.read()))
    await store.append(rows[:5], ORIGIN)
    await store.fill_rebuilt(given(await log.read(until=Position(5))))
    await store.append(rows[5:9], Position(5))  # the follower goes on
    assert not await store.switch_to_rebuilt(Position(5), rows[5:8]), "one row would be lost"
    assert await store.switch_to_rebuilt(Position(5), rows[5:])
    assert await store.append(rows[9:], Position(9)) == len(rows)
    assert await store.page(AuditQuery(limit=1000)) == rows


@pytest.mark.parametrize("late", [False, True])
async def test_after_an_accepted_loss_the_trail_goes_on_and_keeps_the_lost_rows_apart(
    store: AuditStore, late: bool
) -> None:
    """`late`: it looks again only when the log is as long as before, with other events."""
    whole = await (await two_versions_of_iris()).read()
    rows, kept = tuple(map(audit_row, whole)), 10
    await store.append(rows, ORIGIN)
    log = await copied(whole[:kept])
    with pytest.raises(LogBroken, match=f"reaches position {len(whole)}, but the log ends at {kept}"):
        await follow_into(log, store)
    loss = LossAccepted(first=Position(kept + 1), last=Position(len(whole)))
    at = await log.append(LOG_STREAM, ((loss, _meta("loss")),), ORIGIN)
    for number in range(len(whole) if late else 2):
        event = ModelRegistered(model_id=ModelId(f"m{number}"), name="again", team="")
        at = await log.append(StreamName("model", f"m{number}"), ((event, _meta(f"again-{number}")),), ORIGIN)
    for _ in range(2):  # once more changes nothing
        following = asyncio.create_task(follow_into(log, store))
        await reached(store, at)
        while await store.position() != at:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert await store.page(AuditQuery(limit=1000)) == tuple(map(audit_row, await log.read()))
        assert await store.lost() == rows[kept:]


async def test_an_accepted_loss_is_gone_on_from_though_the_trail_lacks_its_row(store: AuditStore) -> None:
    whole = await (await two_versions_of_iris()).read()
    await store.append([audit_row(each) for each in whole if each.position != 11], ORIGIN)
    log = await copied(whole[:10])
    loss = LossAccepted(first=Position(11), last=Position(len(whole)))
    await log.append(LOG_STREAM, ((loss, _meta("loss")),), ORIGIN)
    assert await same_history(log, store, await store.position()) == 10
    assert await store.lost() == tuple(map(audit_row, whole[11:]))


def _meta(name: str) -> Metadata:
    return Metadata(
        id=EventId(name),
        command_id=CommandId(name),
        correlation_id=CorrelationId(name),
        causation_id=None,
        actor=Actor("operator", "here"),
        at=START,
    )
