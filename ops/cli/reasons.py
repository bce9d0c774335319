"""Commands that ask for reasons: why, explain, bisect."""

from pathlib import Path
from typing import Annotated

import typer

from events.base import Position
from events.log import Log
from ops import explain as explaining
from ops import render, replay, search
from ops import why as whys
from ops.cli.failures import USAGE, Failure
from ops.cli.options import Format, Output, moment, session_of
from ops.cli.scaling import held_back_now, print_held_back
from ops.cli.session import Session
from ops.cli.travel import print_changes
from ops.explain import Asked
from ops.past import beginning_of
from projections.describe import describe_body


def register(app: typer.Typer) -> None:
    for command in (why, explain, bisect):
        app.command()(command)


def why(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(help="A replica, a deployment, an environment (its id or name), an event (id or position).")
    ],
    latest: Annotated[
        bool, typer.Option("--latest", help="Of the last thing that happened to it, not of why it is there.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Why something is there or is so: the chain of causes from the person or the signal that began it.

    Of a replica: up to its assignment, then its life. Of an environment: of its pointing to what is current. Of a
    deployment: of its status.
    """
    session = session_of(context)
    told = session.with_log(lambda log: whys.why(log, what, latest=latest))
    if output is Format.json:
        render.as_json(session.out, told)
        return
    render.causes(session.out, told)
    if not latest:
        print_held_back(session, tuple(each for each in held_back_now(session) if each.deployment_id == told.about))


def explain(
    context: typer.Context,
    request_id: Annotated[str, typer.Argument(help="The X-Request-Id of the answer.")],
    position: Annotated[int | None, typer.Option(min=0, help="The answer's X-Causeway-Position.")] = None,
    deployment: Annotated[str | None, typer.Option(help="The answer's X-Causeway-Deployment.")] = None,
    replica: Annotated[str | None, typer.Option(help="The answer's X-Causeway-Replica.")] = None,
    output: Output = Format.table,
) -> None:
    """Why a request was answered by whom it was: what was routed at its position, and what had made it so.

    The access log holds a sample of the requests and all that failed; of any other the headers of its answer tell.
    """
    session = session_of(context)
    asked = _asked(session, request_id, position, deployment, replica)
    told = session.with_log(lambda log: explaining.explain(log, asked))
    if output is Format.json:
        render.as_json(session.out, told)
        return
    source = "" if told.request.source == "headers" else f", {render.clock(told.request.at)} UTC"
    session.out.print(f"request {request_id}: routed at position {told.position}{source}", soft_wrap=True)
    for sentence in told.said:
        session.out.print(f"  {sentence}", soft_wrap=True)
    for title, story in (("why it was routed there", told.route), ("why the replica was there", told.replica)):
        if story is not None and story.steps:
            session.out.print(f"\n{title}:", style="bold")
            render.causes(session.out, story)


def _asked(
    session: Session, request_id: str, position: int | None, deployment: str | None, replica: str | None
) -> Asked:
    if position is not None:
        return Asked(request_id, Position(position), deployment, replica)
    files = sorted(session.settings.folder("logs").glob("gateway-*-access.jsonl*"), reverse=True)
    line = explaining.line_in(files, request_id)
    if line is None:
        sample = session.settings.access_log_sample
        raise Failure(
            f"the access log of this machine, a sample of {sample:.0%} and what failed, has no request {request_id}",
            "give what the answer's headers say: --position (X-Causeway-Position), --deployment, --replica",
        )
    return explaining.asked_in(line)


def bisect(
    context: typer.Context,
    expression: Annotated[
        str | None,
        typer.Argument(
            metavar="[EXPR]",
            help='What holds at first and not at last: `ready(environment("iris/production").current) > 0`.',
        ),
    ] = None,
    good: Annotated[
        str | None, typer.Option("--good", help="Where it holds: a position or a time. Default: the beginning.")
    ] = None,
    bad: Annotated[str, typer.Option("--bad", help="Where to end: a position, a time, or now.")] = "now",
    script: Annotated[
        Path | None,
        typer.Option(
            "--script",
            exists=True,
            dir_okay=False,
            help="A program instead: gets the state as JSON, exits with 0 where it holds. The stretch is halved.",
        ),
    ] = None,
    output: Output = Format.table,
) -> None:
    """The first event after which EXPR no longer holds.

    EXPR: Python's operators and comprehensions over routing, targets, fleet, deployments, environments (fields by
    their names, as `causeway state` shows them), position, and model("iris"), deployment("iris/deployment-1"),
    environment("iris/production"), replica(ID), node(ID), ready(DEPLOYMENT): its ready replicas.
    """
    if (expression is None) == (script is None):
        raise Failure("give either an expression or --script", "causeway bisect --help", USAGE)
    session = session_of(context)
    first, last = None if good is None else moment(session, good), moment(session, bad)
    predicate = None if expression is None else search.expression(expression)

    async def ask(log: Log) -> search.Failing:
        begin = beginning_of(log) if good is None else await replay.position_of(log, first)
        end = await replay.position_of(log, last)
        if begin >= end:
            raise Failure(f"--good {begin} is not before --bad {end}", "give an earlier --good or a later --bad", USAGE)
        if predicate is not None:
            return await search.first_failure(log, predicate, begin, end)
        assert script is not None, "one of them was given"
        return await search.first_failure_of_script(log, script, begin, end)

    found = session.with_log(ask)
    if output is Format.json:
        render.as_json(session.out, found)
        return
    session.err.print(f"# asked of {found.asked} states; it holds up to the event before", soft_wrap=True)
    for row in found.events:
        session.out.print(render.event_line(row, describe_body(row.body)), soft_wrap=True)
    print_changes(session, found.changes, indent="        ")
