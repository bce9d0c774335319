"""The audit trail in PostgreSQL; the only user of the database. The rest of the plane works without it.

Rows and the position that they reach change in one transaction. Tables are made on first use, and made again if they
are gone: the follower then fills them from the log.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import msgspec

from events.base import ORIGIN, Position
from events.codec import Recorded
from events.signals.refusals import KeptRefusal
from projections.audit import AuditQuery, AuditRow, RefusedRow, as_in_rows, refused_row
from projections.stores import audit_lines
from projections.stores import audit_queries as queries
from projections.stores import audit_sql as sql
from projections.stores.audit import AuditUnavailable, Compared, CursorMoved, ReaderRefused

TIMEOUT_S = 30.0
LONG_S = 86_400.0
"""For what a rebuild asks: rows by the hundred million, and their indexes."""
SENT = 256
"""Rows that a rebuild hands over at a time: about what a socket holds, so that the server works while we do."""

AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

GIVEN_UP = (TimeoutError, asyncio.CancelledError)
"""Nobody waits for the server any longer: its connection is ended with no more words."""

Connection = Any
"""An asyncpg connection; the pool's proxy type has no name of its own."""


class PostgresAuditStore:
    """Connects when first used, and again after every loss."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._made = False
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def position(self) -> Position:
        async with self._connected() as connection:
            return Position(await connection.fetchval("select position from causeway.cursor"))

    async def append(self, rows: Sequence[AuditRow], after: Position) -> Position:
        if not rows:
            return after
        async with self._connected() as connection, _transaction(connection):
            at, live = await connection.fetchrow("select position, live from causeway.cursor for update")
            if at != after:
                raise CursorMoved(after, at)
            await _write(connection, rows, live)
            await connection.execute("update causeway.cursor set position = $1", rows[-1].position)
        return rows[-1].position

    async def set_aside(self, first: Position) -> None:
        async with self._connected() as connection, _transaction(connection):
            live = await connection.fetchval("select live from causeway.cursor for update")
            columns = ", ".join(sql.COLUMNS)
            await connection.execute(
                f"with gone as (delete from causeway.rows_{live} where position >= $1 returning {columns})"
                f" insert into causeway.lost_rows ({columns}) select {columns} from gone",
                first,
                timeout=LONG_S,
            )
            await connection.execute("update causeway.cursor set position = least(position, $1)", first - 1)

    async def lost(self) -> tuple[AuditRow, ...]:
        async with self._connected() as connection:
            rows = await connection.fetch("select * from causeway.lost_rows order by position")
        return tuple(sql.row_of(dict(each)) for each in rows)

    async def page(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        query = as_in_rows(query)
        try:
            return await self._page(query)
        except AuditUnavailable as error:
            if not isinstance(error.__cause__, asyncpg.UndefinedTableError):
                raise
            return await self._page(query)  # a rebuilt table has just taken the place of the one we knew

    async def _page(self, query: AuditQuery) -> tuple[AuditRow, ...]:
        async with self._connected() as connection:
            # Another connection may switch tables in between: one moment for all of it.
            async with _transaction(connection, isolation="repeatable_read", readonly=True):
                live = await connection.fetchval("select live from causeway.cursor")
                query = await _within(connection, query, live)
                query, names = await _met(connection, query, live)
                if [] in names.values():
                    return ()
                await connection.execute(queries.IN_ORDER)
                table = f"causeway.rows_{live}"
                way = await _way(connection, query, names, table)
                text, arguments = queries.statement(query, names, way, table)
                rows = tuple(sql.row_of(dict(each)) for each in await connection.fetch(text, *arguments))
        return rows[::-1] if query.newest else rows

    # --- refused commands

    async def refused_sequence(self) -> int:
        async with self._connected() as connection:
            return int(await connection.fetchval("select refused from causeway.cursor"))

    async def append_refused(self, kept: Sequence[KeptRefusal], after: int) -> int:
        reached = kept[-1].sequence
        async with self._connected() as connection, _transaction(connection):
            at = await connection.fetchval("select refused from causeway.cursor for update")
            if at != after:
                raise CursorMoved(Position(after), Position(at))
            last = await connection.fetchval("select coalesce(max(number), 0) from causeway.refused_rows")
            known = await connection.fetch(
                "select id from causeway.refused_rows where id = any($1::text[])", [each.refusal.id for each in kept]
            )
            new = {each.refusal.id: refused_row(each.refusal) for each in kept}
            for row in known:
                del new[row["id"]]
            await connection.copy_records_to_table(
                "refused_rows",
                schema_name="causeway",
                columns=sql.REFUSED_COLUMNS,
                records=[sql.refused_record(row, last + count) for count, row in enumerate(new.values(), 1)],
            )
            await connection.execute("update causeway.cursor set refused = $1", reached)
        return reached

    async def page_refused(self, query: AuditQuery) -> tuple[RefusedRow, ...]:
        text, arguments = queries.refused_statement(as_in_rows(query))
        async with self._connected() as connection:
            rows = tuple(sql.refused_of(dict(each)) for each in await connection.fetch(text, *arguments))
        return rows[::-1] if query.newest else rows

    # --- a table beside the live one

    @asynccontextmanager
    async def rebuilding(self) -> AsyncIterator[None]:
        async with self._connected() as connection:
            if not await connection.fetchval("select pg_try_advisory_lock($1)", sql.REBUILD_LOCK):
                raise AuditUnavailable("another rebuild of the audit trail is under way: wait for its end")
            yield  # the pool gives the lock back with the connection

    async def fill_rebuilt(self, events: AsyncIterator[Sequence[Recorded]]) -> None:
        # One transaction: a server that keeps the least WAL then writes only the table's own files, once.
        async with self._connected() as connection, _transaction(connection):
            other = await _other(connection)
            await connection.execute(sql.dropped(other) + sql.tables(other))
            pairs: sql.Pairs = {}
            await connection.copy_to_table(
                f"rows_{other}",
                schema_name="causeway",
                columns=audit_lines.COLUMNS,
                source=_as_copied(events, pairs),
                freeze=True,
                timeout=LONG_S,
            )
            await connection.execute("set local maintenance_work_mem = '256MB'")
            for each in (*sql.indexes(other), sql.filled(other)):
                await connection.execute(each, timeout=LONG_S)
            await _pair(connection, pairs, other)

    async def append_rebuilt(self, rows: Sequence[AuditRow]) -> None:
        async with self._connected() as connection, _transaction(connection):
            await _write(connection, rows, await _other(connection))

    async def compare_rebuilt(self) -> Compared:
        async with self._connected() as connection:
            live = await connection.fetchval("select live from causeway.cursor")
            other = 3 - live
            until = await connection.fetchval(
                f"select least(max(position), (select position from causeway.cursor)) from causeway.rows_{other}"
            )
            found = await connection.fetchrow(
                "select count(*) filter (where l.position is null) as lacking,"
                " count(*) filter (where n.position is null) as extra,"
                " count(*) filter (where l.position is not null and n.position is not null) as other,"
                " min(coalesce(l.position, n.position)) as first"
                f" from (select * from causeway.rows_{live} where position <= $1) l"
                f" full join (select * from causeway.rows_{other} where position <= $1) n using (position)"
                " where l is distinct from n",
                until or 0,
                timeout=LONG_S,
            )
            return Compared(Position(until or 0), found["lacking"], found["extra"], found["other"], found["first"])

    async def switch_to_rebuilt(self, reached: Position, tail: Sequence[AuditRow]) -> bool:
        async with self._connected() as connection:
            try:
                async with _transaction(connection):
                    return await _switch(connection, reached, tail)
            except asyncpg.LockNotAvailableError:
                return False

    async def drop_rebuilt(self) -> None:
        async with self._connected() as connection:
            await connection.execute(sql.dropped(await _other(connection)))

    async def make_reader(self, name: str, password: str) -> None:
        """A login that can read the views of the trail and nothing else of it. Once more: with a new password.

        Raises ReaderRefused.
        """
        quoted = sql.identifier(name)
        secret = "'" + password.replace("'", "''") + "'"
        async with self._connected() as connection:
            try:
                async with _transaction(connection):
                    anothers = await connection.fetchval(sql.ANOTHERS, name)
                    if anothers:
                        why = f"the role {name} is there and is more than a reader of the trail"
                        raise ReaderRefused(f"{why}: it stays as it is. Name another one")
                    if anothers is None:
                        await connection.execute(f"create role {quoted}")
                    await connection.execute(
                        f"alter role {quoted} login password {secret};"
                        f"alter role {quoted} set default_transaction_read_only = on;"
                        f"alter role {quoted} set statement_timeout = '60s';"
                        f"alter role {quoted} set idle_in_transaction_session_timeout = '60s';"
                        f"alter role {quoted} set search_path = causeway;" + sql.granted(name)
                    )
            except (asyncpg.SyntaxOrAccessError, asyncpg.DataError) as error:
                raise ReaderRefused(f"PostgreSQL makes no login {name!r}: {error}") from error

    async def _opened(self) -> "asyncpg.Pool[asyncpg.Record]":
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._url,
                    min_size=0,
                    max_size=4,
                    command_timeout=TIMEOUT_S,
                    # A plan for any arguments would have to guess how many rows a name has.
                    server_settings={"plan_cache_mode": "force_custom_plan", "jit": "off"},
                )
            return self._pool

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        try:
            async with (await self._opened()).acquire(timeout=TIMEOUT_S) as connection:
                try:
                    if not self._made:
                        await _make(connection)
                        self._made = True
                    yield connection
                except GIVEN_UP:
                    connection.terminate()
                    raise
        except AWAY as error:
            self._made = False
            if isinstance(error, asyncpg.InternalClientError) and self._pool is not None:
                # A server that was killed in the middle of an answer can leave a connection that is good for nothing.
                self._pool.terminate()
                self._pool = None
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise AuditUnavailable(f"PostgreSQL does not take part: {reason}") from error


@asynccontextmanager
async def _transaction(connection: Connection, **options: Any) -> AsyncIterator[None]:
    """As asyncpg's, but that who gives up a server that does not answer does not wait for its answer to a rollback."""
    transaction = connection.transaction(**options)
    await transaction.start()
    try:
        yield
    except GIVEN_UP:
        raise  # with its connection the transaction ends
    except BaseException:
        await transaction.rollback()
        raise
    await transaction.commit()


async def _make(connection: Connection) -> None:
    async with _transaction(connection):
        await connection.execute("select pg_advisory_xact_lock($1)", sql.MAKE_LOCK)
        await connection.execute(sql.BASE)
        found = await connection.fetchrow("select shape, live from causeway.cursor")
        live = 1 if found is None else found["live"]
        there = await connection.fetchval("select to_regclass($1) is not null", f"causeway.rows_{live}")
        if found is not None and found["shape"] == sql.SHAPE and there:
            return
        readers = [row["reader"] for row in await connection.fetch(sql.READERS)]
        views = "".join(f"drop view if exists causeway.{view} cascade;" for view in sql.VIEWS)
        await connection.execute(views + sql.dropped(1) + sql.dropped(2) + sql.tables(1))
        for each in sql.indexes(1):
            await connection.execute(each)
        await connection.execute(sql.views(1) + "".join(map(sql.granted, readers)))
        await connection.execute(
            "insert into causeway.cursor (shape, live, position, refused) values ($1, 1, $2, 0)"
            " on conflict (only_row) do update set shape = $1, live = 1, position = $2",
            sql.SHAPE,
            ORIGIN,
        )


async def _switch(connection: Connection, reached: Position, tail: Sequence[AuditRow]) -> bool:
    await connection.execute(f"set local lock_timeout = '{sql.SWITCH_WAITS}'")
    at, live = await connection.fetchrow("select position, live from causeway.cursor for update")
    rows = [row for row in tail if row.position <= at]
    if at > reached and (not rows or rows[-1].position != at):
        return False
    if rows:
        await _write(connection, rows, 3 - live)
    await connection.execute(
        "update causeway.cursor set live = $1, position = greatest(position, $2)", 3 - live, reached
    )
    await connection.execute(sql.views(3 - live) + sql.dropped(live))
    return True


async def _other(connection: Connection) -> int:
    """The number of the table that is not live."""
    return 3 - int(await connection.fetchval("select live from causeway.cursor"))


async def _as_copied(events: AsyncIterator[Sequence[Recorded]], pairs: sql.Pairs) -> AsyncIterator[bytes]:
    async for some in events:
        for begin in range(0, len(some), SENT):
            yield audit_lines.copied(some[begin : begin + SENT], pairs)


async def _write(connection: Connection, rows: Sequence[AuditRow], number: int) -> None:
    await connection.copy_records_to_table(
        f"rows_{number}", schema_name="causeway", columns=sql.COLUMNS, records=map(sql.record, rows)
    )
    await connection.execute(
        f"insert into causeway.spans_{number} as known select * from unnest($1::bigint[], $2::timestamptz[],"
        " $3::timestamptz[]) on conflict (bucket) do update set first_at = least(known.first_at, excluded.first_at),"
        " last_at = greatest(known.last_at, excluded.last_at)",
        *sql.spans_of(rows),
    )
    await _pair(connection, sql.pairs_of(rows), number)


async def _pair(connection: Connection, pairs: sql.Pairs, number: int) -> None:
    text, arguments = sql.paired(number, pairs)
    await connection.execute(text, *arguments)


async def _within(connection: Connection, query: AuditQuery, live: int) -> AuditQuery:
    """With the positions that the query's times lie among: a page far back must not be looked for from the end."""
    if query.since is None and query.until is None:
        return query
    first, last = await connection.fetchrow(
        "select min(bucket) filter (where last_at >= coalesce($1::timestamptz, '-infinity')),"
        f" max(bucket) filter (where first_at < coalesce($2::timestamptz, 'infinity')) from causeway.spans_{live}",
        query.since,
        query.until,
    )
    if first is None or last is None:
        return msgspec.structs.replace(query, until_position=ORIGIN)
    return queries.bounded(query, first, last)


async def _met(connection: Connection, query: AuditQuery, live: int) -> tuple[AuditQuery, dict[str, list[str]]]:
    """What the patterns of actors and types stand for, of those that met, and the positions among which they did."""
    columns = queries.patterns_of(query)
    if not columns:
        return query, {}
    text, arguments = queries.meeting(query, f"causeway.pairs_{live}")
    found = await connection.fetchrow(text, *arguments)
    if found["first"] is None:
        return query, {column: [] for column in columns}
    bounds = Position(found["first"] - 1), Position(found["last"])
    return queries.between(query, *bounds), {column: found[column] for column in columns}


async def _way(connection: Connection, query: AuditQuery, names: dict[str, list[str]], table: str) -> str | None:
    """The lookup that finds the rows: of several, the one with the fewest."""
    ways = queries.lookups(query, names)
    if len(ways) < 2:
        return next(iter(ways), None)
    text, arguments = queries.looking(query, list(ways.values()), table)
    return queries.fewest(query, ways, await connection.fetchrow(text, *arguments))
