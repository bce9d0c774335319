"""Pages of PostgreSQL's rows, whatever is asked for, read about as many rows as they give."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import msgspec
import pytest

from events.base import ORIGIN, Position
from events.codec import Recorded
from ops.bench import audit_pages
from ops.bench.audit_history import LEFT, RETURNED, SPARSE, planted
from ops.config import Settings
from projections.audit import AuditQuery, audit_row, wanted
from projections.entities import ID_FIELDS
from projections.stores import audit_queries, audit_sql
from projections.stores.postgres import PostgresAuditStore
from tests.contract.databases import new_database

COUNT, PIECE = 8000, 2000
ALONE = {
    "a node that left": AuditQuery(entity=LEFT, newest=True),
    "a node that came back": AuditQuery(entity=RETURNED, newest=True),
    "a node that is everywhere rare": AuditQuery(entity=SPARSE, newest=True),
    "an entity that nobody is": AuditQuery(entity="nobody"),
    "a person of long ago": AuditQuery(actor="key:alice", newest=True),
    "a rare type": AuditQuery(types=("PromotionFailed",), newest=True),
    "two types": AuditQuery(types=("PromotionFailed", "ReplicaReady"), newest=True),
    "before a position": AuditQuery(until_position=Position(4000), newest=True),
}


@pytest.fixture(scope="module")
def events() -> list[Recorded]:
    return list(planted(COUNT))


async def pieces(events: list[Recorded]) -> AsyncIterator[list[Recorded]]:
    for at in range(0, len(events), PIECE):
        yield events[at : at + PIECE]


@pytest.fixture
async def database(settings: Settings, events: list[Recorded]) -> AsyncIterator[tuple[PostgresAuditStore, str]]:
    url = await new_database(settings)
    store = PostgresAuditStore(url)

    try:
        await store.fill_rebuilt(pieces(events))
        assert await store.switch_to_rebuilt(Position(COUNT), ())
        yield store, url
    finally:
        await store.close()


def rows_read(plan: dict[str, Any]) -> Iterator[int]:
    """Of the tables, also those that were looked at in vain."""
    if "Scan" in plan["Node Type"] and "Relation Name" in plan:
        yield int((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])
    for each in plan.get("Plans", ()):
        yield from rows_read(each)


async def test_every_query_of_the_benchmark_gives_its_rows(
    database: tuple[PostgresAuditStore, str], events: list[Recorded]
) -> None:
    """Each by its lookup, and by whichever of several has the fewest rows."""
    store, _ = database
    rows = [audit_row(each) for each in events]
    some = next(row for row in rows[COUNT // 2 :] if row.type == "DeploymentPushed")
    asked = {**audit_pages.queries(COUNT, some), **ALONE}
    empty = []
    for name, query in asked.items():
        found = tuple(filter(wanted(query), rows))
        expected = found[-query.limit :] if query.newest else found[: query.limit]
        assert await store.page(query) == expected, name
        if not expected:
            empty.append(name)
    assert len(empty) < len(asked) / 2, empty


async def test_a_page_does_not_look_for_its_rows_along_all_positions(database: tuple[PostgresAuditStore, str]) -> None:
    """Though what it asks for stands far from its end, and the planner takes every name for as frequent as another."""
    _, url = database
    connection = await asyncpg.connect(url)
    try:
        for name, query in ALONE.items():
            names = {column: list(patterns) for column, patterns in audit_queries.patterns_of(query).items()}
            way = next(iter(audit_queries.lookups(query, names)), None)
            await connection.execute(audit_queries.IN_ORDER.replace("local", "session"))
            text, arguments = audit_queries.statement(query, names, way, "causeway.rows_2")
            told = json.loads(await connection.fetchval(f"explain (analyze, format json) {text}", *arguments))
            assert sum(rows_read(told[0]["Plan"])) <= query.limit * 2, (name, told)
    finally:
        await connection.close()


async def test_of_several_conditions_the_rarest_finds_the_rows(
    database: tuple[PostgresAuditStore, str], events: list[Recorded]
) -> None:
    _, url = database
    connection = await asyncpg.connect(url)
    try:
        for query, names, rarest in (
            (AuditQuery(entity=LEFT), {"type": ["PromotionFailed"]}, "type"),
            (AuditQuery(entity=SPARSE), {"actor": ["reactor:placement"], "type": ["ReplicaReady"]}, "entity"),
            # More rows of each than are looked at.
            (AuditQuery(newest=True), {"actor": ["reactor:placement"], "type": ["ReplicaReady"]}, "type"),
            (AuditQuery(), {"actor": ["reactor:placement"], "type": ["ReplicaReady"]}, "type"),
            (AuditQuery(), {"actor": ["reactor:placement"], "type": ["ReplicaReady", "ReplicaAssigned"]}, "type"),
        ):
            ways = audit_queries.lookups(query, names)
            text, arguments = audit_queries.looking(query, list(ways.values()), "causeway.rows_2")
            seen = await connection.fetchrow(text, *arguments)
            assert seen is not None
            assert audit_queries.fewest(query, ways, tuple(seen)) == rarest, (query, names, seen)
    finally:
        await connection.close()


async def test_actors_and_types_that_met_are_known_with_where(
    database: tuple[PostgresAuditStore, str], events: list[Recorded]
) -> None:
    """Each narrows the other, and the search; of what never met nothing is looked up. Filled live as by a rebuild."""
    store, url = database
    rows = [audit_row(each) for each in events]
    connection = await asyncpg.connect(url)
    try:
        for query in (
            AuditQuery(actor="reactor:*", types=("DeploymentPushed",)),
            AuditQuery(actor="key:alice", types=("ReplicaReady",)),
            AuditQuery(actor="key:alice", types=("*ed",), newest=True),
            AuditQuery(actor="key:*", types=("DeploymentPushed",), after=Position(COUNT // 2 + 1000)),
            AuditQuery(actor="reactor:*", types=("Promotion*", "ReplicaReady")),
            AuditQuery(types=("PromotionFailed",)),
        ):
            met = [row for row in rows if wanted(msgspec.structs.replace(query, after=ORIGIN))(row)]
            ahead = {(row.actor, row.type) for row in met if row.position > query.after}
            positions = [row.position for row in met if (row.actor, row.type) in ahead]
            text, arguments = audit_queries.meeting(query, "causeway.pairs_2")
            found = await connection.fetchrow(text, *arguments)
            assert found is not None
            assert (found["actor"] or []) == sorted({actor for actor, _ in ahead}), query
            assert (found["type"] or []) == sorted({kind for _, kind in ahead}), query
            assert (found["first"], found["last"]) == (min(positions, default=None), max(positions, default=None))
        await store.fill_rebuilt(pieces(events[:PIECE]))
        for at in range(PIECE, COUNT, PIECE):
            await store.append_rebuilt(rows[at : at + PIECE])
        by_copy, by_rows = [
            await connection.fetch(f"select * from causeway.pairs_{each} order by 1, 2") for each in "21"
        ]
    finally:
        await connection.close()
    assert by_copy == by_rows


async def test_the_view_of_entities_is_looked_up_by_its_entity(
    database: tuple[PostgresAuditStore, str], events: list[Recorded]
) -> None:
    store, url = database
    connection = await asyncpg.connect(url)
    text = "select position from causeway.audit_entities where entity = $1 order by position desc limit 100"
    try:
        told = json.loads(await connection.fetchval(f"explain (analyze, format json) {text}", LEFT))
        found = [row["position"] for row in await connection.fetch(text, LEFT)]
    finally:
        await connection.close()
    assert sum(rows_read(told[0]["Plan"])) <= sum(LEFT in audit_row(each).entities for each in events)
    assert found == [row.position for row in await store.page(AuditQuery(entity=LEFT, newest=True))][::-1]


def test_every_place_among_the_ids_of_an_event_has_an_index() -> None:
    """With one more field of ids: one more of SLOTS, and another SHAPE, so that tables are made anew."""
    assert len(ID_FIELDS) + 1 <= audit_sql.SLOTS


def test_names_that_are_too_many_are_a_condition() -> None:
    many = [f"key:{number}" for number in range(audit_queries.MOST_NAMES + 1)]
    assert audit_queries.lookups(AuditQuery(), {"actor": many}) == {}
    text, _ = audit_queries.statement(AuditQuery(), {"actor": many}, None, "rows")
    assert "actor = any(" in text
