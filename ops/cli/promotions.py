"""Commands about promotions: begin one, look at it before, steer it while it goes on."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import typer

from events.base import DeploymentId, Position
from events.build import BuildFailed, BuildStopped
from events.environment import PromotionCancelled, PromotionCompleted, PromotionFailed, PromotionStarted
from events.log import Log
from events.model import DeploymentDeactivated, DeploymentDeleted, DeploymentFailed
from ops import render
from ops.cli.environments import Env, print_changes
from ops.cli.failures import Failure
from ops.cli.named import NamedEnvironment, deployment_named, environment_named
from ops.cli.options import Format, Output, Which, session_of
from ops.cli.session import Session
from projections.diff import diff

GOOD = ("completed", "started", "not needed")
promotion = typer.Typer(no_args_is_help=True, help="The promotion that is going on: pause, resume, cancel, forward.")


def register(app: typer.Typer) -> None:
    app.command()(promote)
    for name, command in (
        ("pause", pause), ("resume", resume), ("cancel", cancel), ("force-cancel", force_cancel),
        ("roll-forward", roll_forward), ("weight", weight),
    ):  # fmt: skip
        promotion.command(name)(command)
    app.add_typer(promotion, name="promotion")


def promote(
    context: typer.Context,
    deployment: Which,
    to: Annotated[str, typer.Option("--to", "--environment", "-e", help="The environment.")] = "production",
    keep_previous: Annotated[
        bool,
        typer.Option("--keep-previous", help="Leave the replaced deployment as it is, instead of scaling it to zero."),
    ] = False,
    own_instance_type: Annotated[
        bool,
        typer.Option("--own-instance-type", help="The deployment's, instead of the one that the environment has."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Until traffic has moved, or the promotion failed.")
    ] = True,
    output: Output = Format.table,
) -> None:
    """Promote a deployment: its environment's URL serves it as soon as it is ready, and not before."""
    session = session_of(context)
    found = deployment_named(session, deployment)
    path = f"/v1/models/{found.model_id}/environments/{to}"
    body = {
        "deployment_id": found.deployment_id,
        "scale_down_previous_deployment": not keep_previous,
        "preserve_env_instance_type": not own_instance_type,
    }
    if dry_run:
        _preview(session, output, session.call("POST", f"{path}/promote", body | {"dry_run": True}))
        return
    current = session.call("GET", path)["current_deployment"]
    answer = session.call("POST", f"{path}/promote", body)
    promoted = DeploymentId(answer["id"])
    result: dict[str, Any] = {"deployment_id": promoted, "environment": to}
    name = found.name if promoted == found.deployment_id else f"{answer['name']} (a copy of {found.name})"
    if current is not None and current["id"] == promoted:
        result["result"] = "not needed"
    elif not wait:
        result["result"] = "started"
    else:
        session.err.print(f"promoting {name} to {to}; waiting until it is ready …", soft_wrap=True)
        result |= session.with_log(lambda log: promotion_end(log, found.head, promoted, to))
    _tell_result(session, output, result, name)


def _tell_result(session: Session, output: Format, result: dict[str, Any], name: str) -> None:
    said = f"promotion of {name} to {result['environment']} {result['result']}"
    if output is Format.json:
        render.as_json(session.out, result)
    elif result["result"] in GOOD:
        at = f" (position {result['position']})" if "position" in result else ""
        session.out.print(f"{said}{at}", style="green", soft_wrap=True)
    if result["result"] not in GOOD:
        raise Failure(f"{said}: {result['reason']}", f"causeway why {result['position']}")


def _preview(session: Session, output: Format, answer: dict[str, Any]) -> None:
    if output is Format.json:
        render.as_json(session.out, answer)
        return
    if answer["copy"]:
        session.out.print(f"a copy would be promoted: {answer['copy']}", soft_wrap=True)
    print_changes(session, diff(answer["before"], answer["after"]))
    capacity = answer["capacity"]
    needed = (
        f"{capacity['replicas']} more replicas of {capacity['cpu_millicores']} millicores, {capacity['memory_mib']} MiB"
    )
    room = f"the nodes have room for {capacity['room_for']}"
    style = "" if capacity["room_for"] >= capacity["replicas"] else "red"
    session.out.print(f"capacity: {needed}; {room}", style=style, soft_wrap=True)


def pause(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """Stay as the last step left it. Autoscaling goes on."""
    _steer(context, which, output, "pause_promotion", "paused")


def resume(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """Go on, also from a canary that waits."""
    _steer(context, which, output, "resume_promotion", "goes on")


def cancel(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """Give it up: traffic goes back as the current deployment gets its replicas back."""
    _steer(context, which, output, "cancel_promotion", "cancelled")


def force_cancel(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """Give it up: all traffic goes back at once."""
    _steer(context, which, output, "force_cancel_promotion", "cancelled, all traffic back at once")


def roll_forward(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """All traffic to the candidate at once, whatever the promotion is about."""
    _steer(context, which, output, "force_roll_forward_promotion", "rolled forward")


def weight(
    context: typer.Context,
    which: Env,
    percent: Annotated[int, typer.Argument(metavar="PERCENT", min=0, max=99, help="Of the traffic.")],
    output: Output = Format.table,
) -> None:
    """Give the candidate this share of the traffic, until somebody resumes."""
    _steer(context, which, output, "set_canary_weight", f"gives its candidate {percent} %", {"percent": percent})


def _steer(
    context: typer.Context, which: str, output: Format, action: str, said: str, body: dict[str, Any] | None = None
) -> None:
    session = session_of(context)
    found: NamedEnvironment = environment_named(session, which)
    answer = session.call("POST", f"{found.path}/{action}", body)
    if output is Format.json:
        render.as_json(session.out, answer)
        return
    session.out.print(answer.get("message") or f"the promotion to {found.name} {said}", style="green", soft_wrap=True)


_ENDS: Mapping[type, str] = MappingProxyType(
    {PromotionCompleted: "completed", PromotionFailed: "failed", PromotionCancelled: "was cancelled"}
)
_NEVER = (BuildFailed, BuildStopped, DeploymentFailed, DeploymentDeactivated, DeploymentDeleted)
"""Of a deployment whose promotion has not begun, which will not then: a copy waits for its build."""


async def promotion_end(log: Log, after: Position, deployment_id: DeploymentId, environment: str) -> dict[str, Any]:
    """How it ended, or why it did not begin."""
    begun = False
    async for batch in log.follow(after):
        for recorded in batch:
            event = recorded.event
            if getattr(event, "deployment_id", None) != deployment_id:
                continue
            here = getattr(event, "environment", None) == environment
            begun = begun or (here and isinstance(event, PromotionStarted))
            result = _ENDS.get(type(event)) if here else None
            if result is None and isinstance(event, _NEVER) and not begun:
                result = "failed"
            if result is not None:
                reason = getattr(event, "reason", "the deployment was deleted")
                return {"result": result, "reason": reason, "position": recorded.position}
    raise asyncio.CancelledError
