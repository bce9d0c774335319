"""Commands that look at the plane as it was: state, diff, blame, step."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.text import Text

from events.base import Position
from events.log import Log
from ops import blame as blaming
from ops import render, replay
from ops.cli.failures import USAGE, Failure
from ops.cli.options import At, Format, Output, moment, session_of
from ops.cli.session import Session
from ops.moments import Moment
from ops.names import UnknownName
from ops.past import beginning_of
from ops.stepping import Stepped, Walked, steps
from ops.whence import entity_of
from projections.describe import describe_body
from projections.diff import Change, show

STRETCH = 100
"""Events that `step` goes through unless told from where."""
NOTHING_HAPPENED = "# nothing happened there"

What = Annotated[
    str | None,
    typer.Argument(help="routing, targets, fleet, deployments, environments, or an entity's id or name. Default: all."),
]


def register(app: typer.Typer) -> None:
    for command in (state, diff, blame, step):
        app.command()(command)


def state(context: typer.Context, what: What = None, at: At = "now", output: Output = Format.table) -> None:
    """The state of the plane, or of one thing in it, at any moment of its history."""
    session = session_of(context)
    then = moment(session, at)

    async def ask(log: Log) -> replay.Snapshot:
        position = await replay.position_of(log, then)
        return await replay.snapshot_at(log, await view_or_entity(log, what, position), position)

    found = session.with_log(ask)
    if output is Format.json:
        answer = {"what": what or "all", "position": found.position, "at": found.at, "state": found.state}
        render.as_json(session.out, answer)
        return
    time = "before the first event" if found.at is None else f"{render.clock(found.at)} UTC"
    session.err.print(f"# {what or 'all'} at position {found.position} ({time})", soft_wrap=True)
    if not found.state:
        session.err.print("# no view says anything of it then; `causeway events --entity` has what happened to it")
    render.tree(session.out, found.state)


def diff(
    context: typer.Context,
    a: Annotated[
        str, typer.Argument(metavar="A", help="The first moment: a position, a time, or 15m for 15 minutes ago.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The second one; `now` works too.")],
    what: What = None,
    output: Output = Format.table,
) -> None:
    """What changed from moment A to moment B: one line a change, `path: before -> after`."""
    session = session_of(context)
    first, second = moment(session, a), moment(session, b)

    async def ask(log: Log) -> tuple[Position, Position, tuple[Change, ...]]:
        before, after = await replay.position_of(log, first), await replay.position_of(log, second)
        return await replay.difference(log, await view_or_entity(log, what, after, before), before, after)

    before, after, changes = session.with_log(ask)
    if output is Format.json:
        render.as_json(session.out, {"what": what or "all", "before": before, "after": after, "changes": changes})
        return
    said = render.count(len(changes), "change")
    session.err.print(f"# {what or 'all'}: from position {before} to {after}, {said}", soft_wrap=True)
    print_changes(session, changes)


def blame(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="ENTITY[.FIELD]",
            help="deployment:iris/deployment-2.target, iris/production.current, a replica's id; without a field all of "
            "them. Or a view and a path: routing.models.",
        ),
    ],
    at: At = "now",
    output: Output = Format.table,
) -> None:
    """The event that set a field to what it is (or was, with --at)."""
    session = session_of(context)
    then = moment(session, at)
    found = session.with_log(lambda log: blaming.blame(log, what, then))
    if output is Format.json:
        for each in found:
            render.as_json(session.out, each)
        return
    render.table(
        session.out,
        ("field", "value", "before", "position", "time (UTC)", "event", "by"),
        (
            (
                each.field,
                show(each.value) if each.there else "(nothing)",
                "" if each.event is None else show(each.before),
                "" if each.event is None else str(each.event.position),
                "" if each.event is None else render.clock(each.event.at),
                "" if each.event is None else each.event.type,
                "as it began" if each.event is None else each.event.actor,
            )
            for each in found
        ),
        "nothing is known of it",
    )


def step(
    context: typer.Context,
    what: What = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="The first event: a position or a time. Default: the last 100 events.")
    ] = None,
    end: Annotated[str, typer.Option("--to", help="The last event: a position, a time, or now.")] = "now",
    output: Output = Format.table,
) -> None:
    """Event by event, each with what it changed. On a terminal: n or space goes on, p goes back, q ends."""
    session = session_of(context)
    first, last = None if begin is None else moment(session, begin), moment(session, end)

    async def walk(log: Log) -> None:
        after, until = await _stretch(log, first, last)
        ahead = steps(log, await view_or_entity(log, what, until, after), after, until)
        if output is Format.table and session.keys is not None:
            await _walk_by_keys(session, Walked(ahead), session.keys)
            return
        count = 0
        async for each in ahead:
            count += 1
            if output is Format.json:
                render.as_json(session.out, each)
            else:
                _print_step(session, each)
        if not count:
            session.err.print(NOTHING_HAPPENED)

    session.with_log(walk)


async def _stretch(log: Log, first: Moment, last: Moment) -> tuple[Position, Position]:
    until = await replay.position_of(log, last)
    if first is None:
        return Position(max(beginning_of(log), until - STRETCH)), until
    begin = await replay.position_of(log, first)
    if begin > until:
        raise Failure(f"--from {begin} is after --to {until}", "give the earlier moment first; p goes back", USAGE)
    if isinstance(first, int):
        begin = Position(max(begin - 1, beginning_of(log)))
    return begin, until


async def _walk_by_keys(session: Session, walked: Walked, key: Callable[[], str]) -> None:
    step = await walked.next()
    if step is None:
        session.err.print(NOTHING_HAPPENED)
        return
    _print_step(session, step)
    while True:
        match await asyncio.to_thread(key):
            case "n" | " " | "\r" | "\n":
                found, otherwise = await walked.next(), "# that was the last one"
            case "p":
                found, otherwise = walked.previous(), "# that was the first one"
            case "q" | "\x03" | "\x04" | "":
                return
            case _:
                found, otherwise = None, "# n: next, p: previous, q: end"
        if found is None:
            session.err.print(otherwise, style="dim")
        else:
            _print_step(session, found)


def _print_step(session: Session, step: Stepped) -> None:
    session.out.print(render.event_line(step.event, describe_body(step.event.body)), soft_wrap=True)
    print_changes(session, step.changes, indent="        ")


def print_changes(session: Session, changes: Sequence[Change], indent: str = "") -> None:
    style = {"added": "green", "removed": "red", "changed": ""}
    for change in changes:
        session.out.print(Text(f"{indent}{change}", style=style[change.kind]), soft_wrap=True)


async def view_or_entity(log: Log, what: str | None, *then: Position) -> str | None:
    """`then`: where the name counts first. Raises UnknownName."""
    if what is None or what in replay.VIEWS:
        return what
    try:
        return await entity_of(log, what, *then)
    except UnknownName as unknown:
        raise UnknownName(f"{unknown} (or one of {', '.join(replay.VIEWS)})") from None
