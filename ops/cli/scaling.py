"""Commands about starting and scaling: coldstart, scale; and the note about who is held back by its settings."""

from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from events.base import DeploymentId
from events.log import Log
from events.signals.load_history import LoadsUnavailable
from ops import render, replay
from ops.cli.failures import USAGE, Failure
from ops.cli.named import deployment_named
from ops.cli.options import Format, Output, Which, session_of
from ops.cli.session import Session
from ops.held_back import HeldBack, held_back
from ops.names import NAMES, resolve_deployment
from projections.cold_starts import COLD_STARTS, Anatomy, anatomy

SHORT = {"target_utilization": "target_utilization_percentage"}


def register(app: typer.Typer) -> None:
    for command in (coldstart, scale):
        app.command()(command)


def coldstart(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="A deployment: its id, iris/deployment-2, or iris if it has one.")],
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="Of the newest so many starts.")] = 50,
    output: Output = Format.table,
) -> None:
    """Where the time of a cold start goes: each stage of the newest starts, the slowest marked."""
    session = session_of(context)

    async def ask(log: Log) -> Anatomy:
        deployment_id: DeploymentId = resolve_deployment(await replay.state_at(log, NAMES), deployment)
        state = await replay.state_at(log, COLD_STARTS)
        return anatomy(state.starts.get(deployment_id, {}), last)

    found = session.with_log(ask)
    if output is Format.json:
        render.as_json(session.out, found)
        return
    rows = [
        (
            Text(stage.name, style="bold yellow" if stage.slowest else ""),
            render.seconds(stage.p50_s),
            render.seconds(stage.p95_s),
            f"{stage.share:.0%}",
            "slowest" if stage.slowest else "",
        )
        for stage in (found.stages if found.starts else ())
    ]
    render.table(session.out, ("stage", "p50", "p95", "share", ""), rows, "no start has ended yet")
    if found.starts:
        whole = f"{render.seconds(found.p50_s)} at p50, {render.seconds(found.p95_s)} at p95"
        counts = f"{found.starts} starts, {found.reused} with the environment in place, {found.failed} failed"
        session.out.print(f"from assignment to ready: {whole} ({counts})", soft_wrap=True)
    if found.last_failure:
        session.out.print(f"the last that failed: {found.last_failure}", soft_wrap=True, markup=False)


def scale(
    context: typer.Context,
    which: Which,
    sets: Annotated[
        list[str], typer.Option("--set", help="name=value, as the API names it: max_replica=4. Repeatable.")
    ],
    output: Output = Format.table,
) -> None:
    """Change autoscaling settings: of the environment that the deployment serves, else of the deployment alone."""
    session = session_of(context)
    found = deployment_named(session, which)
    answer = session.call("PATCH", f"{found.path}/autoscaling_settings", dict(setting(each) for each in sets))
    if output is Format.json:
        render.as_json(session.out, answer)
    else:
        session.out.print(f"{found.name}: {answer['message']}", soft_wrap=True)


def setting(text: str, example: str = "--set autoscaling_window=30") -> tuple[str, Any]:
    """From `name=value`; the value as JSON where it is that."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Failure(f"name=value is needed, not {text!r}", f"for example {example}", USAGE)
    try:
        read = msgspec.json.decode(value)
    except msgspec.DecodeError:
        read = value
    return SHORT.get(name, name), read


def held_back_now(session: Session) -> tuple[HeldBack, ...]:
    """None, where the load is not known: whoever asks wants to know other things first."""
    if session.of_a_capsule:
        return ()

    async def ask(log: Log) -> tuple[HeldBack, ...]:
        async with session.open_loads(session.settings) as loads:
            return await held_back(log, loads, session.now().timestamp())

    try:
        return session.with_log(ask)
    except LoadsUnavailable as error:
        session.err.print(f"who is at max_replica is not known: {error}", soft_wrap=True, style="dim")
        return ()


def print_held_back(session: Session, notes: tuple[HeldBack, ...]) -> None:
    for each in notes:
        session.out.print(str(each), soft_wrap=True, style="yellow")
