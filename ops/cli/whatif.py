"""`causeway whatif`: recorded load under the settings that held and under others, side by side."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from events.base import DeploymentId
from events.log import Log
from events.scaling import AutoscalingSettings
from events.signals.load_history import Moment
from handlers.deciders.settings import check_settings
from handlers.whatif import START_S, Outcome, measures, rehearse
from ops import render, replay
from ops.cli.failures import USAGE, Failure
from ops.cli.options import Format, Output, session_of, time_or_none
from ops.cli.scaling import setting
from ops.names import NAMES, resolve_deployment
from projections.cold_starts import COLD_STARTS, anatomy
from projections.deployments import DEPLOYMENTS


class Known(msgspec.Struct, frozen=True):
    """How the deployment stood at the beginning."""

    deployment_id: DeploymentId
    settings: AutoscalingSettings
    replicas: int
    start_s: float


class Comparison(msgspec.Struct, frozen=True):
    deployment_id: DeploymentId
    since: datetime
    until: datetime
    start_s: float
    as_set: Outcome
    what_if: Outcome


def register(app: typer.Typer) -> None:
    app.command()(whatif)


def whatif(
    context: typer.Context,
    deployment: Annotated[str, typer.Argument(help="A deployment: its id, iris/deployment-2, or iris if it has one.")],
    since: Annotated[
        str, typer.Option("--from", help="A time, or 2h for two hours ago. Load is kept for 14 days.")
    ] = "1h",
    until: Annotated[str, typer.Option("--to", help="A time, or 5m ago, or now.")] = "now",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value, as the API names it: target_utilization_percentage=50. Repeatable."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw both sides over the load into this PNG file.")] = None,
    output: Output = Format.table,
) -> None:
    """What other autoscaling settings would have done with the load there was: the real autoscaler, replayed."""
    session = session_of(context)
    begin = time_or_none(session, since)
    end = session.now() if until == "now" else time_or_none(session, until)
    if begin is None or end is None or begin >= end:
        raise Failure(f"--from ({since}) must be before --to ({until})", "for example --from 2h --to now", USAGE)
    known = session.with_log(lambda log: _known(log, deployment, begin))
    other = _changed(known.settings, sets or [])
    loads = session.with_loads(lambda history: history.read(known.deployment_id, begin.timestamp(), end.timestamp()))
    if not loads:
        raise Failure(
            f"no load of {deployment} was recorded from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC", ""
        )
    as_set, what_if = (_side(known, settings, loads, begin, end) for settings in (known.settings, other))
    told = Comparison(known.deployment_id, begin, end, known.start_s, as_set, what_if)
    if plot is not None:
        from ops.plot import draw  # matplotlib is an extra, and slow to import

        draw(plot, told.as_set, told.what_if, loads)
    if output is Format.json:
        render.as_json(session.out, told)
        return
    render.table(
        session.out,
        ("", "as set", "what if", "change"),
        [(each.name, *each.shown()) for each in measures(as_set, what_if)],
        "",
    )
    session.out.print(
        f"{len(loads)} records of 10 s; a replica starts in {render.seconds(known.start_s)}; both sides are replayed",
        soft_wrap=True,
    )


def _changed(settings: AutoscalingSettings, sets: list[str]) -> AutoscalingSettings:
    """Raises Failure, or Refused with the field, its range and the value."""
    from gateway.control.errors import ApiError  # the web framework, for this command only
    from gateway.control.settings import changed

    try:
        other = changed(settings, dict(setting(each) for each in sets))
    except ApiError as error:
        raise Failure(str(error), "", USAGE) from error
    check_settings(other)
    return other


def _side(known: Known, settings: AutoscalingSettings, loads: list[Moment], begin: datetime, end: datetime) -> Outcome:
    return rehearse(settings, loads, begin.timestamp(), end.timestamp(), known.replicas, known.start_s)


async def _known(log: Log, name: str, begin: datetime) -> Known:
    deployment_id = resolve_deployment(await replay.state_at(log, NAMES), name)
    then = (await replay.state_at(log, DEPLOYMENTS, begin)).deployments.get(deployment_id)
    now = (await replay.state_at(log, DEPLOYMENTS)).deployments.get(deployment_id)
    starts = anatomy((await replay.state_at(log, COLD_STARTS)).starts.get(deployment_id, {}), 50)
    standing = then or now
    settings = standing.settings if standing is not None else AutoscalingSettings()
    replicas = then.target if then is not None else 0
    return Known(deployment_id, settings, replicas, starts.p50_s if starts.starts else START_S)
