"""Commands that change one deployment: activate, deactivate, delete, retry, rename, label, terminate a replica."""

from typing import Annotated, Any

import typer

from ops import render
from ops.cli.failures import Failure
from ops.cli.named import NamedDeployment, deployment_named
from ops.cli.options import Format, Output, Which, session_of
from ops.cli.scaling import setting
from ops.cli.session import Session

deployment = typer.Typer(no_args_is_help=True, help="One deployment: take it up or down, try it again, delete it.")


def register(app: typer.Typer) -> None:
    for command in (activate, deactivate, retry, rename, label, delete, terminate):
        deployment.command()(command)
    app.add_typer(deployment, name="deployment")


def activate(context: typer.Context, which: Which, output: Output = Format.table) -> None:
    """Take a deactivated deployment up again: it may have replicas, and answers."""
    session = session_of(context)
    found = deployment_named(session, which)
    _told(session, output, found, session.call("POST", f"{found.path}/activate"), "activated")


def deactivate(
    context: typer.Context,
    which: Which,
    force: Annotated[
        bool, typer.Option("--force", help="Also one that an environment needs: its callers then get 404.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Stop a deployment: no replicas, 404 to callers, its history and settings kept. `activate` takes it up again."""
    session = session_of(context)
    found = deployment_named(session, which)
    answer = session.call("POST", f"{found.path}/deactivate", {"force": force})
    _told(session, output, found, answer, "deactivated")


def retry(context: typer.Context, which: Which, output: Output = Format.table) -> None:
    """Try a failed deployment again: its build if that failed, else its replicas."""
    session = session_of(context)
    found = deployment_named(session, which)
    answer = session.call("POST", f"{found.path}/retry")
    if not answer["retried"]:
        raise Failure(f"{found.name} is not tried again: {answer['reason']}")
    _told(session, output, found, answer, "is tried again")


def rename(
    context: typer.Context,
    which: Which,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, _ - and .; of this model only one.")],
    output: Output = Format.table,
) -> None:
    """Give a deployment another name. Its id and its address stay."""
    session = session_of(context)
    found = deployment_named(session, which)
    answer = session.call("PATCH", found.path, {"name": name})
    _told(session, output, found, answer, f"is called {name} now")


def label(
    context: typer.Context,
    which: Which,
    labels: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="All of them.")] = None,
    output: Output = Format.table,
) -> None:
    """Say all labels of a deployment anew; none: take them away."""
    session = session_of(context)
    found = deployment_named(session, which)
    said = dict(setting(each, "team=ml") for each in labels or [])
    answer = session.call("PATCH", found.path, {"labels": said})
    _told(session, output, found, answer, f"has {len(said)} labels now")


def delete(context: typer.Context, which: Which, output: Output = Format.table) -> None:
    """Delete a deployment for ever; its history stays. Refused while an environment needs it."""
    session = session_of(context)
    found = deployment_named(session, which)
    _told(session, output, found, session.call("DELETE", found.path), "deleted")


def terminate(
    context: typer.Context,
    which: Which,
    replica: Annotated[str, typer.Argument(metavar="REPLICA", help="The id of one of its replicas.")],
    output: Output = Format.table,
) -> None:
    """Drain a replica: its requests end by themselves, and another replica takes its place."""
    session = session_of(context)
    found = deployment_named(session, which)
    answer = session.call("DELETE", f"{found.path}/replicas/{replica}")
    _told(session, output, found, answer, f"drains replica {replica}")


def _told(session: Session, output: Format, found: NamedDeployment, answer: Any, done: str) -> None:
    if output is Format.json:
        render.as_json(session.out, answer)
    else:
        session.out.print(f"{found.name} ({found.deployment_id}) {done}", style="green", soft_wrap=True)
