"""Commands about what is served: models, deployments, logs."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from events.signals.log_lines import LEVELS, LogFiles, LogLine
from ops import listing, render
from ops.cli.failures import USAGE, Failure
from ops.cli.named import deployment_named
from ops.cli.options import At, Format, Of, Output, Which, moment, session_of, time_or_none
from ops.cli.scaling import held_back_now, print_held_back
from ops.cli.session import Session, running

FOLLOW_PAUSE_S = 0.3


def register(app: typer.Typer) -> None:
    for command in (models, deployments, logs):
        app.command()(command)


def models(context: typer.Context, at: At = "now", output: Output = Format.table) -> None:
    """All models, and what is current in their production environments."""
    session = session_of(context)
    rows = _inventory(session, at).models
    _show(
        session,
        output,
        rows,
        ("model", "id", "deployments", "production", "status", "created (UTC)"),
        lambda row: (
            row.name,
            row.model_id,
            str(row.deployments),
            row.production or "none",
            render.status_text(row.production_status or ""),
            render.iso_clock(row.created_at),
        ),
        "no models yet; push one: causeway truss push examples/iris",
    )


def deployments(context: typer.Context, model: Of = None, at: At = "now", output: Output = Format.table) -> None:
    """All deployments: status, the reason for it and the position where it stands, replicas, environments."""
    session = session_of(context)
    rows = _inventory(session, at, model).deployments
    shown = {row.deployment_id for row in rows}
    _show(
        session,
        output,
        rows,
        ("deployment", "id", "status", "replicas", "current in", "reason", "position"),
        lambda row: (
            row.name,
            row.deployment_id,
            render.status_text(row.status),
            f"{row.ready}/{row.target}, max {row.max_replica}",
            " ".join(row.environments),
            row.reason,
            str(row.reason_position),
        ),
        "no deployments yet; push one: causeway truss push examples/iris",
    )
    if output is Format.table and at == "now":
        print_held_back(session, tuple(each for each in held_back_now(session) if each.deployment_id in shown))


def logs(
    context: typer.Context,
    deployment: Which,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    source: Annotated[str | None, typer.Option(help="`build`, or a replica's id. Default: all.")] = None,
    level: Annotated[str, typer.Option(help=f"Least severe level: {', '.join(LEVELS)}.")] = "debug",
    contains: Annotated[str, typer.Option(help="Only lines with this text.")] = "",
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-11-21T19:30:00Z, or 15m.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many, the newest.")] = 200,
    output: Output = Format.table,
) -> None:
    """What a deployment's builds and replicas have printed, oldest first. JSON is one object a line."""
    session = session_of(context)
    session.not_in_a_capsule("log lines")
    if level not in LEVELS:
        raise Failure(f"there is no level {level!r}", f"one of {', '.join(LEVELS)}", USAGE)
    deployment_id = deployment_named(session, deployment).deployment_id
    files = LogFiles(running(session.settings).folder("logs"))
    start = time_or_none(session, since)
    start_ns = 0 if start is None else int(start.timestamp() * 1e9)

    def lines(from_ns: int, most: int) -> list[LogLine]:
        return files.query(
            deployment_id,
            start_ns=from_ns,
            min_level=level,
            source=source,
            contains=contains,
            limit=most,
        )[::-1]

    shown = lines(start_ns, limit)
    for line in shown:
        print_line(session, line, output)
    if not shown and not follow:
        session.err.print(f"no lines; sources: {', '.join(files.sources(deployment_id)) or 'none yet'}", soft_wrap=True)
    while follow:
        time.sleep(FOLLOW_PAUSE_S)
        start_ns = shown[-1].ts_ns + 1 if shown else start_ns
        fresh = lines(start_ns, 10_000)
        for line in fresh:
            print_line(session, line, output)
        shown = fresh or shown


def _inventory(session: Session, at: str, model: str | None = None) -> listing.Inventory:
    then = moment(session, at)
    return session.with_log(lambda log: listing.inventory(log, then, model))


def _show(
    session: Session,
    output: Format,
    rows: tuple[Any, ...],
    columns: tuple[str, ...],
    cells: Callable[[Any], tuple[Any, ...]],
    empty: str,
) -> None:
    if output is Format.json:
        render.as_json(session.out, rows)
    else:
        render.table(session.out, columns, map(cells, rows), empty)


def print_line(session: Session, line: LogLine, output: Format) -> None:
    if output is Format.json:
        render.as_json(session.out, msgspec.to_builtins(line))
        return
    at = datetime.fromtimestamp(line.ts_ns / 1e9, UTC)
    style = {"warning": "yellow", "error": "red", "critical": "red", "debug": "dim"}.get(line.level, "")
    session.out.print(
        f"{render.clock(at)}  {line.source}  {line.level:<7}  {line.message}", style=style, soft_wrap=True
    )
