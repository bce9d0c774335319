"""Commands about the stack itself: up, down, reload, status, doctor, demo."""

import asyncio
import threading
from typing import Annotated, Any

import typer

from events.base import Position
from ops import doctor as examination
from ops import operator_key, render
from ops.cli.environments import print_active_promotions
from ops.cli.failures import FAILED, NOT_RUNNING, Failure
from ops.cli.options import Format, Output, session_of
from ops.cli.scaling import held_back_now, print_held_back
from ops.cli.session import Session, run
from ops.config import Settings, documented
from ops.local import attach
from ops.local import stack as local_stack
from ops.local.stack_file import RoleStatus, StackStatus

POSITION_DEADLINE_S = 5.0
WATCH_PAUSE_S = 0.2


def register(app: typer.Typer) -> None:
    for command in (up, down, reload, status, doctor, demo):
        app.command()(command)


def up(
    context: typer.Context,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return as soon as everything is ready; the stack goes on.")
    ] = False,
) -> None:
    """Start the whole plane on this machine: NATS, PostgreSQL, gateway, control, builder and node.

    Prints the URL and, the first time, an API key. Everything it writes is below the state folder (CAUSEWAY_STATE).
    """
    session = session_of(context)
    if detach:
        _up_detached(session)
    else:
        run(_up_here(session))


def _up_detached(session: Session) -> None:
    settings = session.settings
    already = attach.status(settings)
    if already is not None:
        session.out.print(f"Causeway already runs at {already.url} (state folder {settings.state})", soft_wrap=True)
        return
    session.err.print(f"starting Causeway in the background (state folder {settings.state}) …", soft_wrap=True)
    over = threading.Event()
    watch = threading.Thread(target=_tell_roles, args=(session, over), daemon=True)
    watch.start()
    try:
        running = attach.start_detached(settings)
    finally:
        over.set()
        watch.join()
    run(_greet(session, running))


def _tell_roles(session: Session, over: threading.Event) -> None:
    """A line for each role that becomes ready, while somebody waits for all of them."""
    told: set[str] = set()
    last = False
    while not last:
        last = over.wait(WATCH_PAUSE_S)
        running = attach.status(session.settings)
        for role in running.roles if running is not None else ():
            if role.phase == "ready" and role.role not in told:
                told.add(role.role)
                session.err.print(f"  {role.role} is ready")


async def _up_here(session: Session) -> None:
    """In the foreground, until Ctrl-C, SIGTERM or `causeway down`."""
    settings = session.settings
    greetings: list[asyncio.Task[None]] = []
    interactive = settings.ready_fd is None  # else whoever started us says hello, and our output is a log file

    def greet() -> None:
        running = attach.status(settings)
        if interactive and running is not None:
            greetings.append(asyncio.create_task(_greet(session, running)))

    def tell(line: str) -> None:
        session.err.print(line, soft_wrap=True, style="dim")

    await local_stack.up(settings, tell=tell, greet=greet)
    for greeting in greetings:
        if greeting.done():
            greeting.result()
        else:
            greeting.cancel()


async def _greet(session: Session, running: StackStatus) -> None:
    settings = session.settings
    run_folder = settings.folder("run")
    async with session.open_log(settings) as log:
        key, is_new = await operator_key.ensured(log, run_folder)
    say = session.out.print
    say(f"\nCauseway is up: {running.url}", style="bold green", soft_wrap=True)
    if is_new:
        say(f"API key (shown this once): {key}", style="bold", soft_wrap=True)
        say(f"  kept for this command line in {run_folder / operator_key.FILE}", soft_wrap=True)
    say("\nNext:")
    for command, what in (
        ("causeway truss push examples/iris", "push a model with the stock truss client"),
        ("causeway deployments", "its status, and why"),
        ("causeway events --follow", "everything that happens, as it happens"),
        ("causeway --help", "all commands"),
        ("causeway down", "stop"),
    ):
        say(f"  {command:<36} {what}", soft_wrap=True)


def down(context: typer.Context) -> None:
    """Stop the stack of this state folder, and wait until all of it is gone. What it wrote stays."""
    session = session_of(context)
    if attach.down(session.settings):
        session.out.print("Causeway is down")
    else:
        session.out.print(f"nothing was running on {session.settings.state}", soft_wrap=True)


def reload(
    context: typer.Context,
    role: Annotated[str, typer.Argument(help="What to replace: gateway, with all its workers.")] = "gateway",
) -> None:
    """Replace running processes by new ones of the code that lies here now, without a failed request.

    Each new process serves before the old one is told to finish; calls that run end in the process that began them.
    """
    session = session_of(context)

    def tell(line: str) -> None:
        session.out.print(line, soft_wrap=True)

    attach.reload(session.settings, role, tell)


def status(context: typer.Context, output: Output = Format.table) -> None:
    """What runs: every role with its process, and how far the log and the audit trail are."""
    session = session_of(context)
    running = attach.status(session.settings)
    if running is None:
        if output is Format.json:
            render.as_json(session.out, {"running": False, "state": str(session.settings.state)})
            raise typer.Exit(NOT_RUNNING)
        raise Failure(f"nothing runs on {session.settings.state}", "start it with `causeway up --detach`", NOT_RUNNING)
    log, audit = run(_positions(session))
    if output is Format.json:
        render.as_json(session.out, _status_json(session.settings, running, log, audit))
        return
    ready = "ready" if running.ready else "starting"
    session.out.print(f"{running.url}  {ready}  supervisor {running.supervisor.pid}", style="bold", soft_wrap=True)
    render.table(
        session.out,
        ("role", "status", "pid", "since (UTC)", "restarts", "last exit"),
        (_role_row(role) for role in running.roles),
        "no roles",
    )
    said = [f"log at position {log}" if isinstance(log, int) else f"log: {log}"]
    said += [f"audit trail at {audit}" if isinstance(audit, int) else f"audit trail: {audit}"]
    session.out.print(f"{'; '.join(said)}; state folder {session.settings.state}", soft_wrap=True, style="dim")
    if isinstance(log, int):
        print_active_promotions(session)
        print_held_back(session, held_back_now(session))


async def _positions(session: Session) -> tuple[Position | str, Position | str]:
    """Where the log and the audit trail are, or why that cannot be said."""

    async def of_log() -> Position:
        async with session.open_log(session.settings) as log:
            return await log.head()

    async def of_audit() -> Position:
        async with session.open_audit(session.settings) as store:
            return await store.position()

    async def asked(question: Any) -> Position | str:
        try:
            async with asyncio.timeout(POSITION_DEADLINE_S):
                return Position(await question)
        except Exception as error:  # whatever it is, the rest of the status is wanted
            return f"not reached ({error or type(error).__name__})"

    log, audit = await asyncio.gather(asked(of_log()), asked(of_audit()))
    return log, audit


def _status_json(
    settings: Settings, running: StackStatus, log: Position | str, audit: Position | str
) -> dict[str, object]:
    return {
        "running": True,
        "ready": running.ready,
        "url": running.url,
        "state": str(settings.state),
        "supervisor_pid": running.supervisor.pid,
        "log_position": log if isinstance(log, int) else None,
        "audit_position": audit if isinstance(audit, int) else None,
        "roles": [
            {
                "role": role.role,
                "phase": role.phase,
                "pid": role.process.pid if role.process else None,
                "since": role.since,
                "restarts": role.restarts,
                "last_exit": role.last_exit,
                "draining": role.draining,
            }
            for role in running.roles
        ],
    }


def _role_row(role: RoleStatus) -> tuple[Any, ...]:
    return (
        role.role,
        render.status_text(role.phase) + (f", {len(role.draining)} draining" if role.draining else ""),
        str(role.process.pid) if role.process else "",
        render.clock(role.since),
        str(role.restarts),
        role.last_exit or "",
    )


def doctor(
    context: typer.Context,
    output: Output = Format.table,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting, its default and meaning.")] = False,
) -> None:
    """What this machine offers, what is missing, and what to do about it. Changes nothing."""
    session = session_of(context)
    if settings:
        _list_settings(session, output)
        return
    rows = examination.examine(session.settings)
    fit = examination.is_fit(rows)
    if output is Format.json:
        render.as_json(session.out, {"fit": fit, "checks": rows})
    else:
        for row in rows:
            mark, style = ("ok", "green") if row.ok else ("NO", "red") if row.needed else ("--", "yellow")
            session.out.print(f"{mark}  {row.name}: {row.detail}", style=style, soft_wrap=True)
            if row.fix:
                session.out.print(f"      {row.fix}", soft_wrap=True)
        session.out.print("\n`causeway up` can work here" if fit else "\n`causeway up` cannot work here", style="bold")
    if not fit:
        raise typer.Exit(FAILED)


def _list_settings(session: Session, output: Format) -> None:
    rows = documented()
    if output is Format.json:
        listed = [{"variable": name, "default": default, "about": about} for name, default, about in rows]
        render.as_json(session.out, listed)
        return
    render.table(session.out, ("variable", "default", "about"), rows, "no settings")


def demo(context: typer.Context) -> None:
    """The main job, from nothing to the end: push, predict, scale to zero, promote, replay, audit.

    On a state folder of its own, which is removed afterwards.
    """
    from ops.demo import run_demo

    session = session_of(context)
    run_demo(session.settings, session.out)
