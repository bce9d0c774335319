"""The audit trail in PostgreSQL; the only user of the database. The rest of the plane works without it.

Tables `audit` (one row an event) and `audit_cursor` (the position that the rows reach) change in one transaction.
Both are made on first use, and made again if they are gone: the follower then fills them from the log.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec

from events.base import ORIGIN, Position
from projections.audit import AuditQuery, AuditRow, clip_or_none, is_pattern
from projections.stores.audit import AuditUnavailable, CursorMoved

COLUMNS = AuditRow.__struct_fields__
MAKE_LOCK = 4_127_001
"""Advisory lock under which the tables are made: two followers may start at once."""
TIMEOUT_S = 30.0
SCHEMA = """
create table if not exists audit (
    position        bigint primary key,
    at              timestamptz not null,
    type            text not null,
    category        text not null,
    entity          text not null,
    entities        text[] not null,
    actor           text not null,
    actor_how       text not null,
    model_id        text,
    deployment_id   text,
    replica_id      text,
    node_id         text,
    correlation_id  text not null,
    causation_id    text,
    command_id      text not null,
    event_id        text not null,
    body            jsonb not null
);
create index if not exists audit_at on audit (at, position);
create index if not exists audit_actor on audit (actor, position);
create index if not exists audit_type on audit (type, position);
create index if not exists audit_correlation on audit (correlation_id, position);
create index if not exists audit_entities on audit using gin (entities);
create table if not exists audit_cursor (
    only_row  boolean primary key default true check (only_row),
    position  bigint not null
);
insert into audit_cursor (position) values (0) on conflict do nothing;
"""

Connection = Any
"""An asyncpg connection; the pool's proxy type has no name of its own."""


class PostgresAuditStore:
    """Connects when first used, and again after every loss."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._made = False

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def position(self) -> Position:
        async with self._connected() as connection:
            return Position(await connection.fetchval("select position from audit_cursor") or ORIGIN)

    async def append(self, rows: Sequence[AuditRow], after: Position) -> Position:
        if not rows:
            return after
        reached = rows[-1].position
        async with self._connected() as connection, connection.transaction():
            at = Position(await connection.fetchval("select position from audit_cursor for update") or ORIGIN)
            if at != after:
                raise CursorMoved(after, at)
            await connection.copy_records_to_table("audit", columns=COLUMNS, records=map(_record, rows))
            await connection.execute("update audit_cursor set position = $1", reached)
        return reached

    async def page(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        text, arguments = statement(query)
        async with self._connected() as connection:
            rows = tuple(_row(record) for record in await connection.fetch(text, *arguments))
        return rows[::-1] if query.newest else rows

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        try:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(self._url, min_size=0, max_size=4, command_timeout=TIMEOUT_S)
            async with self._pool.acquire(timeout=TIMEOUT_S) as connection:
                if not self._made:
                    await _make(connection)
                    self._made = True
                yield connection
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._made = False
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise AuditUnavailable(f"PostgreSQL does not take part: {reason}") from error


async def _make(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", MAKE_LOCK)
        await connection.execute(SCHEMA)


def statement(query: AuditQuery) -> tuple[str, list[Any]]:
    """The query as SQL with its arguments."""
    conditions: list[str] = []
    arguments: list[Any] = []

    def add(condition: str, value: Any) -> None:
        arguments.append(value)
        conditions.append(condition.format(f"${len(arguments)}"))

    add("position > {}", query.after)
    for condition, value in (
        ("position <= {}", query.until_position),
        ("at >= {}", query.since),
        ("at < {}", query.until),
        ("entities @> array[{}::text]", clip_or_none(query.entity)),
        ("correlation_id = {}", clip_or_none(query.correlation)),
    ):
        if value is not None:
            add(condition, value)
    if query.actor is not None:
        add(*_like("actor", (query.actor,)))
    if query.types:
        add(*_like("type", query.types))
    arguments.append(query.limit)
    return (
        f"select {', '.join(COLUMNS)} from audit where {' and '.join(conditions)}"
        f" order by position{' desc' if query.newest else ''} limit ${len(arguments)}"
    ), arguments


def _like(column: str, patterns: tuple[str, ...]) -> tuple[str, list[str]]:
    if not any(is_pattern(each) for each in patterns):
        return f"{column} = any({{}}::text[])", list(patterns)
    escaped = (each.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") for each in patterns)
    return f"{column} like any({{}}::text[])", [each.replace("*", "%").replace("?", "_") for each in escaped]


def _record(row: AuditRow) -> tuple[Any, ...]:
    *columns, body = (getattr(row, name) for name in COLUMNS)
    return (*columns, msgspec.json.encode(body).decode())


def _row(record: asyncpg.Record) -> AuditRow:
    columns = dict(record)
    columns["body"] = msgspec.json.decode(columns["body"])
    columns["entities"] = tuple(columns["entities"])
    return AuditRow(**columns)
