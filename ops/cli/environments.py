"""Commands about environments: what is current where, how it came there, what it was, and back to it."""

from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
import typer

from events.signals.log_lines import BUILD, LogLine
from ops import environment_history, listing, render
from ops.cli.failures import USAGE, Failure
from ops.cli.models import print_line
from ops.cli.named import environment_named, model_named
from ops.cli.options import At, Format, Of, Output, moment, session_of
from ops.cli.session import Session
from ops.moments import parse_time
from projections.diff import Change, diff

STYLE = {"added": "green", "removed": "red", "changed": ""}
env = typer.Typer(no_args_is_help=True, help="Environments: what is current where, since when, and why.")
Env = Annotated[
    str,
    typer.Argument(metavar="ENV", help="An environment: iris/staging, or iris for its production."),
]


Autoscaling = Annotated[list[str] | None, typer.Option("--autoscaling", metavar="NAME=VALUE", help="max_replica=4 …")]
Promotion = Annotated[list[str] | None, typer.Option("--promotion", metavar="NAME=VALUE", help="rolling_deploy=true …")]
Requests = Annotated[list[str] | None, typer.Option("--requests", metavar="NAME=VALUE", help="call_deadline_s=30 …")]


def register(app: typer.Typer) -> None:
    for name, command in (
        ("list", env_list), ("show", show), ("log", log), ("logs", logs), ("diff", changes), ("create", create),
        ("set", change), ("revert", revert), ("activate", activate), ("deactivate", deactivate), ("delete", delete),
    ):  # fmt: skip
        env.command(name)(command)
    app.add_typer(env, name="env")


def env_list(context: typer.Context, model: Of = None, at: At = "now", output: Output = Format.table) -> None:
    """All environments: current deployment, active promotion, how the last one ended."""
    session = session_of(context)
    then = moment(session, at)
    rows = session.with_log(lambda log: listing.inventory(log, then, model)).environments
    if output is Format.json:
        render.as_json(session.out, rows)
        return
    render.table(
        session.out,
        ("environment", "current", "being promoted", "status", "traffic", "last promotion"),
        (
            (
                row.name,
                row.current or "none",
                row.promoting or "",
                row.status or "",
                f"{row.percent} %" if row.promoting else "",
                row.last_result,
            )
            for row in rows
        ),
        "no environments yet: every model has `production` from its first push on",
    )


def show(context: typer.Context, which: Env, at: At = "now", output: Output = Format.table) -> None:
    """An environment at any moment of its history: deployment, promotion, all its settings."""
    session = session_of(context)
    found, then = environment_named(session, which), moment(session, at)
    shown = session.with_log(lambda log: environment_history.shown_at(log, found.model_id, found.environment, then))
    if output is Format.json:
        render.as_json(session.out, {"position": shown.position, "state": shown.state})
        return
    session.err.print(f"# {found.name} at position {shown.position}", soft_wrap=True)
    if shown.state is None:
        session.err.print("# it was not there then")
    else:
        render.tree(session.out, shown.state)


def log(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """Everything that happened to an environment: settings, promotions and how long they took, by whom and why."""
    session = session_of(context)
    found = environment_named(session, which)
    entries = session.with_log(lambda log: environment_history.told(log, found.model_id, found.environment))
    if output is Format.json:
        render.as_json(session.out, entries)
        return
    render.table(
        session.out,
        ("position", "time (UTC)", "event", "deployment", "what", "took", "by", "because of"),
        (
            (
                str(entry.position),
                render.clock(entry.at),
                entry.type,
                entry.deployment or "",
                entry.what,
                "" if entry.seconds is None else render.seconds(entry.seconds),
                entry.actor,
                "" if entry.cause is None else str(entry.cause),
            )
            for entry in entries
        ),
        f"nothing has happened to {found.name} yet",
    )


def logs(
    context: typer.Context,
    which: Env,
    since: Annotated[
        str, typer.Option(help="From this time on, 7 days at most: 2026-11-21T19:30:00Z, or 15m.")
    ] = "30m",
    level: Annotated[str, typer.Option(help="Least severe level: debug, info, warning, error.")] = "debug",
    contains: Annotated[str, typer.Option(help="Only lines with this text.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="At most so many, the newest.")] = 200,
    output: Output = Format.table,
) -> None:
    """What the deployments of an environment have printed, each while it was there, oldest first."""
    session = session_of(context)
    found, start = environment_named(session, which), parse_time(since, session.now())
    asked = {
        "start_epoch_millis": str(int(start.timestamp() * 1000)),
        "end_epoch_millis": str(int(session.now().timestamp() * 1000) + 1),
        "min_level": level,
        "limit": str(limit),
        **({"includes": contains} if contains else {}),
    }
    lines = session.call("GET", f"{found.path}/logs?{urlencode(asked)}")["logs"][::-1]
    for each in lines:
        line = LogLine(
            ts_ns=int(each["timestamp"]),
            level=each["level"].lower(),
            source=each["replica"] or BUILD,
            message=each["message"],
            request_id=each["request_id"],
        )
        print_line(session, line, output)
    if not lines:
        session.err.print(f"no lines of {found.name} since {since}")


def changes(
    context: typer.Context,
    which: Env,
    a: Annotated[str, typer.Argument(metavar="A", help="The first moment: a position, a time, or 15m ago (15m).")],
    b: Annotated[str, typer.Argument(metavar="B", help="The second one; `now` works too.")] = "now",
    output: Output = Format.table,
) -> None:
    """What changed in an environment from moment A to moment B, in either direction."""
    session = session_of(context)
    found, first, second = environment_named(session, which), moment(session, a), moment(session, b)
    before, after, changed = session.with_log(
        lambda log: environment_history.difference(log, found.model_id, found.environment, first, second)
    )
    if output is Format.json:
        render.as_json(session.out, {"before": before, "after": after, "changes": changed})
        return
    session.err.print(f"# {found.name}: from position {before} to {after}, {len(changed)} changes", soft_wrap=True)
    print_changes(session, changed)


def print_changes(session: Session, changed: tuple[Change, ...]) -> None:
    for each in changed:
        session.out.print(str(each), style=STYLE[each.kind], soft_wrap=True)


def create(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="ENV", help="The new one: iris/staging.")],
    autoscaling: Autoscaling = None,
    promotion: Promotion = None,
    output: Output = Format.table,
) -> None:
    """Create an environment: a URL of its own, with settings of its own."""
    session = session_of(context)
    model, _, name = which.partition("/")
    if not name:
        raise Failure(f"{which!r} names no environment", "write MODEL/ENVIRONMENT: iris/staging", USAGE)
    known, model_id = model_named(session, model)
    body = {"name": name, **_given(autoscaling, promotion)}
    answer = session.call("POST", f"/v1/models/{model_id}/environments", body)
    _told(session, output, answer, f"{known}/{name} created; promote to it: causeway promote DEPLOYMENT --to {name}")


def change(
    context: typer.Context,
    which: Env,
    autoscaling: Autoscaling = None,
    promotion: Promotion = None,
    requests: Requests = None,
    output: Output = Format.table,
) -> None:
    """Change settings: `--autoscaling max_replica=4 --promotion rolling_deploy=true`. Each may be repeated."""
    session = session_of(context)
    found = environment_named(session, which)
    body = _given(autoscaling, promotion, requests)
    if not body:
        raise Failure("no setting was given", "`causeway env show` lists them: --promotion rolling_deploy=true", USAGE)
    answer = session.call("PATCH", found.path, body)
    _told(session, output, answer, f"{found.name}: {answer['message']}")


def _given(
    autoscaling: list[str] | None, promotion: list[str] | None, requests: list[str] | None = None
) -> dict[str, Any]:
    kinds = {"autoscaling_settings": autoscaling, "promotion_settings": promotion, "request_settings": requests}
    return {name: _read(given) for name, given in kinds.items() if given}


def _read(given: list[str]) -> dict[str, Any]:
    """`a=1 b.c=true`: values as JSON has them, and words as they stand."""
    read: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not (name and equals):
            raise Failure(f"{each!r} is no setting", "write NAME=VALUE: max_replica=4", USAGE)
        group, dot, inner = name.rpartition(".")
        (read.setdefault(group, {}) if dot else read)[inner] = _value(text)
    return read


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def revert(
    context: typer.Context,
    which: Env,
    to: Annotated[
        int, typer.Option("--to", min=1, metavar="POSITION", help="After this position: `env log` has them.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    output: Output = Format.table,
) -> None:
    """Back to what it was: another deployment is promoted, as safely as any, and the settings come with the switch."""
    session = session_of(context)
    found = environment_named(session, which)
    answer = session.call("POST", f"{found.path}/revert", {"to_position": to, "dry_run": dry_run})
    if output is Format.json:
        render.as_json(session.out, answer)
        return
    changed = diff(answer["before"], answer["after"])
    print_changes(session, changed)
    done = "would change" if dry_run else "changed"
    promoted = f"; {answer['after']['deployment']} {'would be' if dry_run else 'is being'} promoted"
    said = f"{found.name} to position {to}: {len(changed)} {done}{promoted if answer['promotes'] else ''}"
    session.err.print(said, style="" if dry_run else "green", soft_wrap=True)


def activate(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """Take its current deployment up again."""
    session = session_of(context)
    found = environment_named(session, which)
    _told(session, output, session.call("POST", f"{found.path}/activate"), f"{found.name} activated")


def deactivate(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """Stop its current deployment: its URL answers 404 until it is activated, or another one is promoted."""
    session = session_of(context)
    found = environment_named(session, which)
    _told(session, output, session.call("POST", f"{found.path}/deactivate"), f"{found.name} deactivated")


def delete(context: typer.Context, which: Env, output: Output = Format.table) -> None:
    """Delete an environment: its URL answers 404. Its deployments stay, and its history. Never production."""
    session = session_of(context)
    found = environment_named(session, which)
    _told(session, output, session.call("DELETE", found.path), f"{found.name} deleted")


def _told(session: Session, output: Format, answer: Any, said: str) -> None:
    if output is Format.json:
        render.as_json(session.out, answer)
    else:
        session.out.print(said, style="green", soft_wrap=True)


def print_active_promotions(session: Session) -> None:
    for row in session.with_log(listing.inventory).environments:
        if row.promoting is not None:
            what = f"promotion of {row.promoting} to {row.name}: {row.status}, {row.percent} % of the traffic"
            session.out.print(what, style="yellow", soft_wrap=True)
