"""Queries of the audit trail, as in its rows, as SQL with arguments; a page costs about as many rows as it gives.

A page is short and in order, so what a query names (an entity, a correlation, actors, types) is looked up as ranges
of (name, position), in the order of their index: a planner that is free to choose goes along all positions, or sorts
all rows, and is long on its way where a name is rare, or was common only long ago. Text only; `postgres.py` runs it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from events.base import Position
from projections.audit import LAST, AuditQuery
from projections.patterns import is_pattern
from projections.stores.audit_sql import BUCKET, COLUMNS, ENTITIES, OTHERS, REFUSED_COLUMNS

MOST_NAMES = 40
"""Names that are looked up one by one, each in its own order; of more, one pass over the positions is cheaper."""
MANY = 300
"""Rows of each lookup that are looked at to see which lookup has the fewest."""

IN_ORDER = "set local enable_seqscan = off; set local enable_bitmapscan = off; set local enable_sort = off"
"""For the statements here: of what one lookup finds, the planner can only guess how much the other conditions leave."""

Statement = tuple[str, list[Any]]


class Lookup(NamedTuple):
    """Rows that have one of these names in one of these columns, each of which has an index with the position."""

    columns: tuple[str, ...]
    names: list[str]


def lookups(query: AuditQuery, names: dict[str, list[str]]) -> dict[str, Lookup]:
    """Every way to the rows of the query. `names`: for `actor` and `type`, what the patterns stand for."""
    found: dict[str, Lookup] = {}
    if query.correlation is not None:
        found["correlation_id"] = Lookup(("correlation_id",), [query.correlation])
    if query.entity is not None:
        found["entity"] = Lookup(ENTITIES, [query.entity])
    return found | {column: Lookup((column,), given) for column, given in names.items() if len(given) <= MOST_NAMES}


def meeting(query: AuditQuery, pairs: str) -> Statement:
    """Actors and types that the query names and that met, and between which positions. None did: nulls."""
    arguments: list[Any] = [query.after, _last(query)]
    conditions = ["last > $1", "first <= $2"]
    for column, patterns in patterns_of(query).items():
        conditions.append(_named(column, patterns, arguments))
    return (
        "select array_agg(distinct actor) as actor, array_agg(distinct type) as type, min(first) as first,"
        f" max(last) as last from {pairs} where {' and '.join(conditions)}"
    ), arguments


def _named(column: str, patterns: Sequence[str], arguments: list[Any]) -> str:
    plain = exact(patterns)
    arguments.append(list(patterns) if plain else like(patterns))
    return f"{column} {'=' if plain else 'like'} any(${len(arguments)}::text[])"


def looking(query: AuditQuery, ways: Sequence[Lookup], table: str) -> Statement:
    """Of each lookup the first rows: how many they are, up to MANY, and the lowest and the highest position."""
    arguments: list[Any] = [query.after, _last(query)]
    down = " desc" if query.newest else ""
    looks = []
    for names_at, way in enumerate(ways, 3):
        arguments.append(way.names)
        rows = " union all ".join(
            f"(select position from {table} where {_range(column, 1, 2)}"
            f" order by {column}{down}, position{down} limit {MANY})"
            for column in way.columns
        )
        wanted = f"unnest(${names_at}::text[]) as wanted (name)"
        found = f"select position from {wanted} cross join lateral ({rows}) r limit {MANY}"
        looks.append(f"(select array[count(*), min(position), max(position)] from ({found}) f)")
    return f"select {', '.join(looks)}", arguments


def fewest(query: AuditQuery, ways: dict[str, Lookup], seen: Sequence[Sequence[int]]) -> str:
    """The lookup with the fewest rows: the conditions of the others are asked of them. Of those with many, the one
    whose first rows reach furthest for each of its names.
    """

    def size(way: str) -> tuple[int, float]:
        count, lowest, highest = looked[way]
        if count < MANY:
            return count, 0.0
        reach = _last(query) - lowest if query.newest else highest - query.after
        return count, -reach / len(ways[way].names)

    looked = dict(zip(ways, seen, strict=True))
    return min(ways, key=size)


def statement(query: AuditQuery, names: dict[str, list[str]], way: str | None, table: str) -> Statement:
    """`way`: of the lookups of the query, the one that finds the rows; the rest are conditions on what it finds."""
    arguments: list[Any] = [query.limit]
    conditions = _conditions(query, arguments, way)
    for column, given in names.items():
        if column != way:
            arguments.append(given)
            conditions.append(f"{column} = any(${len(arguments)}::text[])")
    down = " desc" if query.newest else ""
    order = f"order by position{down} limit $1"
    chosen = f"select {', '.join(COLUMNS)} from {table} where"
    if way is None:
        arguments += [query.after, _last(query)]
        conditions += [f"position > ${len(arguments) - 1}", f"position <= ${len(arguments)}"]
        return f"{chosen} {' and '.join(conditions)} {order}", arguments
    lookup = lookups(query, names)[way]
    arguments += [lookup.names, query.after, _last(query)]
    first, last = len(arguments) - 1, len(arguments)
    found = " union all ".join(
        f"({chosen} {' and '.join([_range(column, first, last), *conditions])}"
        f" order by {column}{down}, position{down} limit $1)"
        for column in lookup.columns
    )
    wanted = f"unnest(${first - 1}::text[]) as wanted (name)"
    columns = ", ".join(f"found.{name}" for name in COLUMNS)
    return f"select {columns} from {wanted} cross join lateral ({found}) found {order}", arguments


def _range(column: str, first: int, last: int) -> str:
    there = f"{column} is not null and " if column in OTHERS else ""  # as its index has it
    return (
        f"{there}({column}, position) > (wanted.name, ${first}::bigint)"
        f" and ({column}, position) <= (wanted.name, ${last}::bigint)"
    )


def _last(query: AuditQuery) -> Position:
    return LAST if query.until_position is None else query.until_position


def _conditions(query: AuditQuery, arguments: list[Any], way: str | None) -> list[str]:
    """What a row itself has to fulfil, besides its position and the names of actors and types."""
    conditions: list[str] = []
    for condition, value, by in (
        ("at >= {}", query.since, None),
        ("at < {}", query.until, None),
        ("entities @> array[{}::text]", query.entity, "entity"),
        ("correlation_id = {}", query.correlation, "correlation_id"),
    ):
        if value is not None and (by is None or by != way):
            arguments.append(value)
            conditions.append(condition.format(f"${len(arguments)}"))
    return conditions


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


def bounded(query: AuditQuery, first: int, last: int) -> AuditQuery:
    """With the positions among which its times must lie, in the buckets from `first` to `last`."""
    return between(query, Position(first * BUCKET - 1), Position((last + 1) * BUCKET - 1))


def between(query: AuditQuery, after: Position, until: Position) -> AuditQuery:
    return msgspec.structs.replace(query, after=max(query.after, after), until_position=min(_last(query), until))


def refused_statement(query: AuditQuery) -> Statement:
    """Their table is small beside that of events: the planner finds its way."""
    arguments: list[Any] = [query.limit]
    conditions: list[str] = []
    for condition, value in (
        ("number > {}", query.after),
        ("number <= {}", query.until_position),
        ("at >= {}", query.since),
        ("at < {}", query.until),
        ("entity = {}", query.entity),
        ("correlation_id = {}", query.correlation),
    ):
        if value is not None:
            arguments.append(value)
            conditions.append(condition.format(f"${len(arguments)}"))
    for column, patterns in patterns_of(query).items():
        conditions.append(_named("command" if column == "type" else column, patterns, arguments))
    return (
        f"select {', '.join(REFUSED_COLUMNS)} from causeway.refused where {' and '.join(conditions)}"
        f" order by number{' desc' if query.newest else ''} limit $1"
    ), arguments
