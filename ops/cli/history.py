"""Commands that ask what happened: events, audit, timeline."""

import asyncio
from contextlib import suppress
from typing import Annotated

import msgspec
import typer

from events.base import Position
from events.log import Log
from ops import event_query, render
from ops import why as whys
from ops.cli.failures import USAGE, Failure
from ops.cli.options import Format, Output, session_of, time_or_none
from ops.cli.session import Session
from ops.whence import entity_of
from projections.audit import AuditQuery, AuditRow
from projections.describe import describe_body
from projections.selection import no_such_type

Types = Annotated[
    list[str] | None,
    typer.Option("--type", "-t", help="Only these event types; `*` and `?` work: `Replica*`. Repeatable."),
]
Entity = Annotated[
    str | None,
    typer.Option("--entity", "-e", help="Only what concerns this id or name: iris, iris/deployment-2, a node."),
]
ByActor = Annotated[
    str | None, typer.Option("--actor", "-a", help="Only by this actor; `*` works: `key:*`, `reactor:*`.")
]
Correlation = Annotated[str | None, typer.Option(help="Only what followed from this one request.")]
Since = Annotated[str | None, typer.Option(help="From this time on: 2026-11-21T19:30:00Z, or 15m for 15 minutes ago.")]
Until = Annotated[str | None, typer.Option(help="Before this time.")]
After = Annotated[int | None, typer.Option(min=0, help="The first ones after this position, instead of the newest.")]
Before = Annotated[int | None, typer.Option(min=1, help="The newest ones before this position.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]


def register(app: typer.Typer) -> None:
    for command in (events, timeline):
        app.command()(command)


def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now.")] = False,
    types: Types = None,
    entity: Entity = None,
    actor: ByActor = None,
    correlation: Correlation = None,
    since: Since = None,
    until: Until = None,
    after: After = None,
    before: Before = None,
    limit: Limit = 50,
    output: Output = Format.table,
) -> None:
    """Events from the log, oldest first: the newest 50, or what the filters say. JSON is one object a line."""
    session = session_of(context)
    if follow and before is not None:
        raise Failure("--follow goes on from now, --before ends at a position", "leave one of them out", USAGE)
    query = query_of(session, types, entity, actor, correlation, since, until, after, before, limit)

    async def show(log: Log) -> None:
        asked = await with_entity_resolved(log, query)
        head = await log.head()
        until = head if asked.until_position is None else min(head, asked.until_position)
        rows = await event_query.select(log, msgspec.structs.replace(asked, until_position=until))
        for row in rows:
            _print_row(session, row, output)
        if not (rows or follow):
            session.err.print(f"# no event matches; the log ends at position {head}", style="dim")
        if follow:
            with suppress(asyncio.CancelledError):
                async for row in event_query.follow(log, asked, head):
                    _print_row(session, row, output)

    session.with_log(show)


def timeline(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="A deployment: its id, iris/deployment-2, or iris if it has one.")],
    output: Output = Format.table,
) -> None:
    """Everything that happened to a deployment, with durations and causes (as positions)."""
    session = session_of(context)
    told = session.with_log(lambda log: whys.timeline(log, deployment))
    if output is Format.json:
        render.as_json(session.out, told)
    else:
        render.story(session.out, told)


def query_of(
    session: Session,
    types: list[str] | None,
    entity: str | None,
    actor: str | None,
    correlation: str | None,
    since: str | None,
    until: str | None,
    after: int | None,
    before: int | None,
    limit: int,
    commands: bool = False,
) -> AuditQuery:
    """`commands`: `types` names commands, of which the log does not know all."""
    unknown = None if commands else no_such_type(types or ())
    if unknown is not None:
        raise Failure(f"there is no event type {unknown[0]!r}", unknown[1], USAGE)
    return AuditQuery(
        since=time_or_none(session, since),
        until=time_or_none(session, until),
        actor=actor,
        types=tuple(types or ()),
        entity=entity,
        correlation=correlation,
        after=Position(after or 0),
        until_position=None if before is None else Position(before - 1),
        limit=limit,
        newest=after is None,
    )


async def with_entity_resolved(log: Log, query: AuditQuery) -> AuditQuery:
    if query.entity is None:
        return query
    return msgspec.structs.replace(query, entity=await entity_of(log, query.entity))


def _print_row(session: Session, row: AuditRow, output: Format) -> None:
    if output is Format.json:
        render.as_json(session.out, row)
    else:
        session.out.print(render.event_line(row, describe_body(row.body)), soft_wrap=True)
