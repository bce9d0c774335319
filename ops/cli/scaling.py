"""Commands about starting and scaling: coldstart, whatif."""

from typing import Annotated

import typer
from rich.text import Text

from events.base import DeploymentId
from events.log import Log
from ops import render, replay
from ops.cli.options import Format, Output, session_of
from ops.names import NAMES, resolve_deployment
from projections.cold_starts import COLD_STARTS, Anatomy, anatomy

PANEL = "Scaling"


def register(app: typer.Typer) -> None:
    for command in (coldstart,):
        app.command(rich_help_panel=PANEL)(command)


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
        return anatomy(state.starts.get(deployment_id, []), last)

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
