"""The audit trail's tables and views, and queries as SQL. Text only; `postgres.py` runs it.

Everything is in the schema `causeway`. The rows of events are in a table with a number, which the cursor names: a
rebuilt table takes the place of the live one by one update. People use the views, whose names and columns stay
(ops/docs/audit.md).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from events.base import Position
from projections.audit import AuditQuery, AuditRow, RefusedRow, clip_or_none
from projections.patterns import is_pattern

SHAPE = 2
"""Of the tables that are filled from the log. Another one in the database: they are made anew, and filled again."""
BUCKET = 1000
"""Positions whose earliest and latest time are kept together, by which a time finds its positions."""
LAST = Position(2**63 - 1)
MOST_BRANCHES = 40
"""Names that are looked up one by one, each in its own order; of more, one pass over the positions is cheaper."""
COLUMNS = AuditRow.__struct_fields__
REFUSED_COLUMNS = RefusedRow.__struct_fields__
MAKE_LOCK = 4_127_001
"""Advisory lock under which the tables are made: two followers may start at once."""

_ROW = """
    position        bigint not null,
    at              timestamptz not null,
    type            text collate "C" not null,
    category        text collate "C" not null,
    entity          text collate "C" not null,
    entities        text[] collate "C" not null,
    actor           text collate "C" not null,
    actor_how       text collate "C" not null,
    correlation_id  text collate "C" not null,
    causation_id    text collate "C",
    command_id      text collate "C" not null,
    event_id        text collate "C" not null,
    body            jsonb not null
"""
BASE = f"""
create schema if not exists causeway;
create table if not exists causeway.cursor (
    only_row  boolean primary key default true check (only_row),
    shape     int not null,
    live      int not null,
    position  bigint not null,
    refused   bigint not null
);
create table if not exists causeway.refused_rows (
    number          bigint primary key,
    id              text collate "C" not null unique,
    at              timestamptz not null,
    command         text collate "C" not null,
    category        text collate "C" not null,
    entity          text collate "C" not null,
    actor           text collate "C" not null,
    actor_how       text collate "C" not null,
    kind            text collate "C" not null,
    reason          text not null,
    field           text,
    correlation_id  text collate "C" not null,
    causation_id    text,
    command_id      text not null,
    position        bigint not null,
    body            jsonb not null
);
create table if not exists causeway.lost_rows ({_ROW});
create index if not exists refused_at on causeway.refused_rows (at);
create index if not exists refused_actor on causeway.refused_rows (actor, number);
create index if not exists refused_entity on causeway.refused_rows (entity, number);
"""


def tables(number: int) -> str:
    return f"""
create table causeway.rows_{number} ({_ROW}) with (autovacuum_enabled = off);
create table causeway.spans_{number} (
    bucket bigint primary key, first_at timestamptz not null, last_at timestamptz not null
);
create table causeway.names_{number} (
    kind text collate "C" not null, name text collate "C" not null, primary key (kind, name)
);
"""


def indexes(number: int) -> tuple[str, ...]:
    """Made after a rebuild has filled the table: several times cheaper than to keep them, and to vacuum, meanwhile."""
    rows = f"causeway.rows_{number}"
    return (
        f"alter table {rows} reset (autovacuum_enabled)",
        f"alter table {rows} add primary key (position)",
        f"create index on {rows} (actor, position)",
        f"create index on {rows} (type, position)",
        f"create index on {rows} (correlation_id, position)",
        f"create index on {rows} using gin (entities)",
        f"analyze {rows}",
    )


def filled(number: int) -> str:
    """What follows from rows that were written all at once: the times of their positions, and the names in them."""
    rows = f"causeway.rows_{number}"
    return (
        f"insert into causeway.spans_{number} select position / {BUCKET}, min(at), max(at) from {rows} group by 1;"
        f"insert into causeway.names_{number} select 'actor', actor from {rows} group by actor"
        f" union all select 'type', type from {rows} group by type;"
    )


def dropped(number: int) -> str:
    return "".join(f"drop table if exists causeway.{name}_{number};" for name in ("rows", "spans", "names"))


VIEWS = (
    "audit",
    "audit_entities",
    "replica_lives",
    "scale_decisions",
    "promotions",
    "access_changes",
    "refused",
    "lost",
)


def views(number: int) -> str:
    """`create or replace` keeps what was granted on them; columns may only be added at their end."""
    return f"""
create or replace view causeway.audit as select {", ".join(COLUMNS)} from causeway.rows_{number};
create or replace view causeway.audit_entities as
    select named.entity, r.position, r.at, r.type, r.actor
    from causeway.rows_{number} r cross join lateral unnest(r.entities) as named (entity);
create or replace view causeway.replica_lives as
    select position, at, type, entity as replica_id, body->>'deployment_id' as deployment_id,
        body->>'node_id' as node_id, body->>'reason' as reason, (body->>'exit_code')::int as exit_code
    from causeway.rows_{number} where category = 'replica';
create or replace view causeway.scale_decisions as
    select position, at, type, body->>'deployment_id' as deployment_id, (body->>'previous')::int as previous,
        (body->>'target')::int as target, body->>'rule' as rule, body->'grounds' as grounds
    from causeway.rows_{number} where type in ('ReplicaTargetRaised', 'ReplicaTargetLowered', 'ScaledToZero');
create or replace view causeway.promotions as
    select position, at, type, actor, body->>'model_id' as model_id, body->>'environment' as environment,
        body->>'deployment_id' as deployment_id, body->>'previous' as previous, body->>'reason' as reason
    from causeway.rows_{number} where type like 'Promotion%';
create or replace view causeway.access_changes as
    select position, at, type, actor, entity, body - 'hash' as body
    from causeway.rows_{number} where category in ('key', 'secret');
create or replace view causeway.lost as select {", ".join(COLUMNS)} from causeway.lost_rows;
create or replace view causeway.refused as select {", ".join(REFUSED_COLUMNS)} from causeway.refused_rows;
"""


Statement = tuple[str, list[Any]]


def statement(query: AuditQuery, names: dict[str, list[str]], table: str = "causeway.audit") -> Statement:
    """The query as SQL with its arguments. `names`: for `actor` and `type`, the names that the patterns stand for.

    A page is short and in order, so where few names are asked for, each gives its own first rows from its index: as one
    range of (name, position), for which no other index gives the order. A planner that is free to choose goes along all
    positions, and is long on its way where a name is rare, or was common only long ago.
    """
    arguments: list[Any] = [query.limit]
    conditions = _conditions(query, arguments)
    branch = next((column for column in ("actor", "type") if 0 < len(names.get(column, ())) <= MOST_BRANCHES), None)
    for column, wanted in names.items():
        if column != branch:
            arguments.append(wanted)
            conditions.append(f"{column} = any(${len(arguments)}::text[])")
    order = f"order by position{' desc' if query.newest else ''} limit $1"
    chosen = f"select {', '.join(COLUMNS)} from {table}"
    if branch is None:
        return f"{chosen} where {' and '.join(conditions)} {order}", arguments
    last = LAST if query.until_position is None else query.until_position
    arguments += [names[branch], query.after, last]
    first, end, way = len(arguments) - 1, len(arguments), " desc" if query.newest else ""
    conditions += [
        f"({branch}, position) > (wanted.name, ${first}::bigint)",
        f"({branch}, position) <= (wanted.name, ${end}::bigint)",
    ]
    inner = f"{chosen} where {' and '.join(conditions)} order by {branch}{way}, position{way} limit $1"
    outer = f"unnest(${first - 1}::text[]) as wanted (name) cross join lateral ({inner}) found"
    return f"select {', '.join('found.' + name for name in COLUMNS)} from {outer} {order}", arguments


def _conditions(query: AuditQuery, arguments: list[Any], number: str = "position") -> list[str]:
    conditions: list[str] = []
    for condition, value in (
        (f"{number} > {{}}", query.after),
        (f"{number} <= {{}}", query.until_position),
        ("at >= {}", query.since),
        ("at < {}", query.until),
        ("entities @> array[{}::text]" if number == "position" else "entity = {}", clip_or_none(query.entity)),
        ("correlation_id = {}", clip_or_none(query.correlation)),
    ):
        if value is not None:
            arguments.append(value)
            conditions.append(condition.format(f"${len(arguments)}"))
    return conditions


def refused_statement(query: AuditQuery) -> Statement:
    arguments: list[Any] = [query.limit]
    conditions = _conditions(query, arguments, "number")
    for column, patterns in (("actor", (query.actor,) if query.actor is not None else ()), ("command", query.types)):
        if patterns:
            arguments.append(like(patterns))
            conditions.append(f"{column} like any(${len(arguments)}::text[])")
    return (
        f"select {', '.join(REFUSED_COLUMNS)} from causeway.refused where {' and '.join(conditions)}"
        f" order by number{' desc' if query.newest else ''} limit $1"
    ), arguments


def like(patterns: Sequence[str]) -> list[str]:
    """For `like any`: a pattern with `*` and `?`, or an exact name."""
    escaped = (each.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") for each in patterns)
    return [each.replace("*", "%").replace("?", "_") for each in escaped]


def patterns_of(query: AuditQuery) -> dict[str, tuple[str, ...]]:
    """By column, what the query says of its names, if anything."""
    given = {"actor": (query.actor,) if query.actor is not None else (), "type": query.types}
    return {column: patterns for column, patterns in given.items() if patterns}


def exact(patterns: Sequence[str]) -> bool:
    return not any(is_pattern(each) for each in patterns)


def spans_of(rows: Iterable[AuditRow]) -> tuple[list[int], list[datetime], list[datetime]]:
    """Buckets, and their earliest and latest times, as far as these rows tell."""
    found: dict[int, tuple[datetime, datetime]] = {}
    for row in rows:
        first, last = found.get(row.position // BUCKET, (row.at, row.at))
        found[row.position // BUCKET] = (min(first, row.at), max(last, row.at))
    return list(found), [first for first, _ in found.values()], [last for _, last in found.values()]


def names_of(rows: Iterable[AuditRow]) -> tuple[list[str], list[str]]:
    found = {("actor", row.actor) for row in rows} | {("type", row.type) for row in rows}
    return [kind for kind, _ in found], [name for _, name in found]


def record(row: AuditRow) -> tuple[Any, ...]:
    return (*msgspec.structs.astuple(row)[:-1], msgspec.json.encode(row.body).decode())


def refused_record(row: RefusedRow, number: int) -> tuple[Any, ...]:
    *columns, body, _ = msgspec.structs.astuple(row)
    return (*columns, msgspec.json.encode(body).decode(), number)


def row_of(columns: dict[str, Any]) -> AuditRow:
    columns["body"] = msgspec.json.decode(columns["body"])
    columns["entities"] = tuple(columns["entities"])
    return AuditRow(**columns)


def refused_of(columns: dict[str, Any]) -> RefusedRow:
    columns["body"] = msgspec.json.decode(columns["body"])
    return RefusedRow(**columns)


def bounded(query: AuditQuery, first: int | None, last: int | None) -> AuditQuery:
    """With the positions among which its times must lie."""
    after, until = query.after, query.until_position
    if first is not None:
        after = Position(max(after, first * BUCKET - 1))
    if last is not None:
        end = (last + 1) * BUCKET - 1
        until = Position(end if until is None else min(until, end))
    return msgspec.structs.replace(query, after=after, until_position=until)
