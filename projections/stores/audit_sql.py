"""The audit trail's tables, indexes and views as SQL, and rows as their records. Text only; `postgres.py` runs it.

Everything is in the schema `causeway`. The rows of events are in a table with a number, which the cursor names: a
rebuilt table takes the place of the live one by one update. People use the views, whose names and columns stay
(ops/docs/audit.md).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from events.base import Position
from projections.audit import AuditRow, RefusedRow

SHAPE = 5
"""Of the tables that are filled from the log. Another one in the database: they are made anew, and filled again."""
BUCKET = 1000
"""Positions whose earliest and latest time are kept together, by which a time finds its positions."""
SLOTS = 10
"""Most ids that one event names. Each place among them has an index with the position: one over all places gives no
order, and a page of what was frequent long ago would be looked for along all positions.
"""
COLUMNS = AuditRow.__struct_fields__
REFUSED_COLUMNS = RefusedRow.__struct_fields__
MAKE_LOCK = 4_127_001
"""Advisory lock under which the tables are made: two followers may start at once."""
REBUILD_LOCK = 4_127_002
"""Advisory lock of the session that rebuilds."""
SWITCH_WAITS = "2s"
"""So long a switch waits for those who read the live rows. Behind it all others wait, who only want a page."""

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


OTHERS = tuple(f"(entities[{place}])" for place in range(2, SLOTS + 1))
ENTITIES = ("entity", *OTHERS)
"""Where an id stands in a row: the event's own aggregate, which is the first of its entities, and the others."""


def tables(number: int) -> str:
    return f"""
create table causeway.rows_{number} ({_ROW}) with (autovacuum_enabled = off);
create table causeway.spans_{number} (
    bucket bigint primary key, first_at timestamptz not null, last_at timestamptz not null
);
create table causeway.pairs_{number} (
    actor text collate "C" not null, type text collate "C" not null, first bigint not null, last bigint not null,
    primary key (actor, type)
);
{_by_others(number, OTHERS[1:])};
"""


def _by_others(number: int, places: Iterable[str]) -> str:
    rows = f"causeway.rows_{number}"
    return ";".join(f"create index on {rows} ({place}, position) where {place} is not null" for place in places)


def indexes(number: int) -> tuple[str, ...]:
    """Made after a rebuild has filled the table: several times cheaper than to keep them, and to vacuum, meanwhile.

    But for those that few rows are in: they are there from the beginning, which saves a pass over all rows each.
    """
    rows = f"causeway.rows_{number}"
    return (
        f"alter table {rows} reset (autovacuum_enabled)",
        f"alter table {rows} add primary key (position)",
        f"create index on {rows} (actor, position)",
        f"create index on {rows} (type, position)",
        f"create index on {rows} (correlation_id, position)",
        f"create index on {rows} (entity, position)",
        _by_others(number, OTHERS[:1]),
        # No query's way depends on them, and to gather them is half of what `analyze` takes.
        f"alter table {rows} alter entities set statistics 0, alter body set statistics 0",
        # Rough ones do until autovacuum has gathered its own.
        f"set local default_statistics_target = 10; analyze {rows}",
    )


def filled(number: int) -> str:
    """What follows from rows that were written all at once: the times of their positions."""
    rows = f"causeway.rows_{number}"
    return f"insert into causeway.spans_{number} select position / {BUCKET}, min(at), max(at) from {rows} group by 1"


def dropped(number: int) -> str:
    return "".join(f"drop table if exists causeway.{name}_{number};" for name in ("rows", "spans", "pairs"))


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


READERS = """
select distinct grantee as reader from information_schema.role_table_grants
where table_schema = 'causeway' and table_name = 'audit' and privilege_type = 'SELECT' and grantee <> current_user
"""
"""Who may read the views: what is granted on a view goes with it, and a new shape brings new views."""


ANOTHERS = """
select rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls or rolname = current_user
    or exists (select from pg_auth_members where member = r.oid)
    or exists (select from pg_shdepend where refclassid = 'pg_authid'::regclass and refobjid = r.oid and deptype = 'o')
from pg_roles r where rolname = $1
"""
"""Whether a role may do or owns more than a reader of the trail. No row: there is no such role."""


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def granted(reader: str) -> str:
    to = identifier(reader) if reader != "PUBLIC" else reader
    names = ", ".join(f"causeway.{view}" for view in VIEWS)
    return f"grant usage on schema causeway to {to}; grant select on {names} to {to};"


def views(number: int) -> str:
    """`create or replace` keeps what was granted on them; columns may only be added at their end."""
    by_place = " union all ".join(
        f"select {entity} as entity, position, at, type, actor from causeway.rows_{number} where {entity} is not null"
        for entity in ENTITIES
    )
    return f"""
create or replace view causeway.audit as select {", ".join(COLUMNS)} from causeway.rows_{number};
create or replace view causeway.audit_entities as
    {by_place};
create or replace view causeway.replica_lives as
    select position, at, type, entity as replica_id, body->>'deployment_id' as deployment_id,
        (select a.body->>'node_id' from causeway.rows_{number} a where a.entity = r.entity
            and a.category = 'replica' and a.type = 'ReplicaAssigned' order by a.position limit 1) as node_id,
        body->>'reason' as reason, (body->>'exit_code')::int as exit_code
    from causeway.rows_{number} r where category = 'replica';
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


def spans_of(rows: Iterable[AuditRow]) -> tuple[list[int], list[datetime], list[datetime]]:
    """Buckets, and their earliest and latest times, as far as these rows tell."""
    found: dict[int, tuple[datetime, datetime]] = {}
    for row in rows:
        first, last = found.get(row.position // BUCKET, (row.at, row.at))
        found[row.position // BUCKET] = (min(first, row.at), max(last, row.at))
    return list(found), [first for first, _ in found.values()], [last for _, last in found.values()]


Pairs = dict[tuple[str, str], list[Position]]
"""Each actor and type that met, spelled as in the rows, with the first and the last position at which they did."""


def meet(pairs: Pairs, pair: tuple[str, str], position: Position) -> None:
    """Positions come in order."""
    try:
        pairs[pair][1] = position
    except KeyError:
        pairs[pair] = [position, position]


def pairs_of(rows: Iterable[AuditRow]) -> Pairs:
    pairs: Pairs = {}
    for row in rows:
        meet(pairs, (row.actor, row.type), row.position)
    return pairs


def paired(number: int, pairs: Pairs) -> tuple[str, list[Any]]:
    """Statement and arguments that add these pairs. After an accepted loss, positions come a second time."""
    text = (
        f"insert into causeway.pairs_{number} as known select * from unnest($1::text[], $2::text[], $3::bigint[],"
        " $4::bigint[]) on conflict (actor, type) do update set first = least(known.first, excluded.first),"
        " last = greatest(known.last, excluded.last)"
    )
    columns = zip(*((*pair, *span) for pair, span in pairs.items()), strict=True)
    return text, [list(each) for each in columns] or [[], [], [], []]


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
