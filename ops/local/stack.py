"""`causeway up`: one state folder, one supervisor, the whole plane on one machine.

The order of a start: take the lock (a second supervisor on the same folder is refused), clear what a killed one
left behind, settle ports and addresses, then hand the child table to the supervisor. The resolved settings go
to every child as variables, and into `run/stack.json`, where `attached`, `down` and `read_status` find them.
"""

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from agents.effects.end_all import end_all
from ops.config import CHECKOUT, PREFIX, Settings
from ops.local import leftovers, nats_server, postgres
from ops.local.child import Child
from ops.local.child_log import ChildLog
from ops.local.files import read_or_none
from ops.local.leftovers import Leftover
from ops.local.ports import PortChoice, PortClaims, candidates, choose
from ops.local.processes import myself
from ops.local.readiness import announce
from ops.local.requests import RequestFailed, answering
from ops.local.stack_file import RoleStatus, StackStatus, read_status, write_status
from ops.local.supervisor import Pace, ReloadFailed, Supervisor
from projections.stores.whole import write_whole

Tell = Callable[[str], None]
RoleTable = Callable[[Settings], Sequence[Child]]

SUPERVISOR = "supervisor"
BACKING = ("nats", "postgres")
ROLES: tuple[tuple[str, tuple[str, ...]], ...] = (  # a role and those that must be ready before it starts
    ("gateway", ("nats",)),
    ("control", ("nats", "postgres")),
    ("builder", ("nats",)),
    ("node", ("nats",)),
)


class AlreadyUp(RuntimeError):
    """Another supervisor runs on this state folder."""


@dataclass(frozen=True)
class Prepared:
    """Everything a start has settled before any child runs."""

    settings: Settings
    children: tuple[Child, ...]
    notes: tuple[str, ...]


def roles(settings: Settings) -> tuple[Child, ...]:
    """The plane's own processes; each says itself when it can serve (`announce(settings.ready_fd)`)."""
    environment = settings.but(listen_fd=None).environ() | {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
    return tuple(
        worker
        for role, after in ROLES
        for worker in _workers(
            settings,
            Child(
                role=role,
                command=(sys.executable, "-m", "ops.serve", role),
                env=environment,
                after=after,
                cwd=CHECKOUT,
            ),
        )
    )


def _workers(settings: Settings, child: Child) -> tuple[Child, ...]:
    """The gateway: as many processes as are wanted, which share one listening socket. Others: one, as it is."""
    if child.role != "gateway":
        return (child,)
    listen = {} if settings.listen_fd is None else {"CAUSEWAY_LISTEN_FD": str(settings.listen_fd)}
    return tuple(
        replace(
            child,
            role=child.role if number == 1 else f"{child.role}-{number}",
            env=dict(child.env) | listen | {"CAUSEWAY_GATEWAY_WORKER": str(number)},
            fds=() if settings.listen_fd is None else (settings.listen_fd,),
            drain_signal=signal.SIGUSR2,
        )
        for number in range(1, settings.gateway_workers + 1)
    )


async def up(
    settings: Settings, *, tell: Tell, role_table: RoleTable = roles, greet: Callable[[], None] = lambda: None
) -> None:
    """Runs the stack until SIGTERM, SIGINT or `down`; raises `AlreadyUp`, `StartFailed`, `PortTaken`, …

    `greet` is called once, when every child is ready.
    """
    run, logs = settings.folder("run"), settings.folder("logs")
    with ExitStack() as held:
        held.enter_context(locked(settings))
        own_log = held.enter_context(closing(_log(settings, logs, SUPERVISOR)))

        def say(line: str) -> None:
            own_log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {line}\n".encode())
            with suppress(OSError):  # the terminal may be gone; the log has it
                tell(line)

        for role in leftovers.clear(run, settings.stop_deadline_s):
            say(f"ended {role}, left over from a supervisor that was killed")
        remember_supervisor(run)
        held.callback(leftovers.forget, run, SUPERVISOR)
        claims = held.enter_context(closing(PortClaims()))
        prepared = prepare(settings, claims, role_table)
        for note in prepared.notes:
            say(note)
        held.callback((run / "stack.json").unlink, missing_ok=True)
        supervisor = Supervisor(
            prepared.children,
            run_folder=run,
            logs={c.role: held.enter_context(closing(_log(settings, logs, c.role))) for c in prepared.children},
            pace=_pace(settings),
            tell=say,
            changed=_publisher(run, prepared, say),
        )
        _stop_on_signals(supervisor, claims, say)

        def ready() -> None:
            say(f"up: {prepared.settings.origin}")
            announce(settings.ready_fd)
            greet()

        async def answer(words: list[str], reply: Tell) -> None:
            await _answer(supervisor, words, reply, say)

        async with answering(run, answer):
            await supervisor.run(on_ready=ready)
        if ended := await asyncio.to_thread(end_all, settings.folder("replicas"), settings.stop_deadline_s):
            say(f"ended {len(ended)} replicas: {', '.join(ended)}")
        say("down")


def prepare(settings: Settings, claims: PortClaims, role_table: RoleTable = roles) -> Prepared:
    """Picks the ports, readies NATS and PostgreSQL unless they are external, and lays out the child table."""
    choice = _public_port(settings, claims)
    listen_fd = claims.listen(choice.port, settings.bind)
    resolved = settings.but(port=choice.port, listen_fd=listen_fd, ready_fd=None, url=None, api_key=None)
    notes = [f"port {choice.port}: {choice.why}"]
    backing: list[Child] = []
    if settings.nats_url is None:
        nats = nats_server.prepare(settings, claims)
        backing.append(nats.child)
        resolved = resolved.but(nats_url=nats.address.url, nats_monitor_url=nats.address.monitor_url)
    if settings.postgres_url is None:
        database = postgres.prepare(settings)
        backing.append(database.child)
        resolved = resolved.but(postgres_url=database.place.url)
        notes += [database.place.note] if database.place.note else []
    external = set(BACKING) - {child.role for child in backing}
    own = [
        replace(child, after=tuple(role for role in child.after if role not in external))
        for child in role_table(resolved)
    ]
    return Prepared(settings=resolved, children=(*backing, *own), notes=tuple(notes))


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Holds the state folder; the kernel lets go of it when this process ends, however it ends."""
    run = settings.folder("run")
    handle = os.open(run / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            status, holder = read_status(run), leftovers.recall(run, SUPERVISOR)
            who = f" (pid {holder.process.pid}{', ' + status.url if status else ''})" if holder else ""
            raise AlreadyUp(
                f"causeway already runs on {settings.state}{who}; stop it with `causeway down`,"
                f" or set {PREFIX}STATE to another folder"
            ) from None
        yield
    finally:
        os.close(handle)


def remember_supervisor(run: Path) -> None:
    """Writes ourselves down, so that `down` finds us even before the stack is laid out."""
    leftovers.remember(run, SUPERVISOR, Leftover(process=myself()))


def _public_port(settings: Settings, claims: PortClaims) -> PortChoice:
    file = settings.folder("run") / "port"
    known = read_or_none(file)
    choice = choose(
        settings.port,
        int(known) if known else None,
        lambda port: claims.claim(port, settings.bind),
        candidates(),
    )
    write_whole(file, str(choice.port).encode())
    return choice


def _publisher(run: Path, prepared: Prepared, say: Tell) -> Callable[[tuple[RoleStatus, ...], bool], None]:
    own = prepared.settings.but(inherited_env=(), listen_fd=None).environ()

    def publish(statuses: tuple[RoleStatus, ...], ready: bool) -> None:
        status = StackStatus(
            supervisor=myself(),
            ready=ready,
            roles=statuses,
            url=prepared.settings.origin,
            notes=prepared.notes,
            settings=own,
        )
        try:
            write_status(run, status)
        except OSError as error:  # a full disk must not take the children down
            say(f"cannot write {run}/stack.json, so `status` is out of date: {error}")

    return publish


async def _answer(supervisor: Supervisor, words: list[str], reply: Tell, say: Tell) -> None:
    match words:
        case ["reload", role]:
            say(f"reloading {role}")
            try:
                await supervisor.reload(role, reply)
            except ReloadFailed as failure:
                say(f"{role} was not reloaded: {failure}")
                raise RequestFailed(str(failure)) from failure
        case _:
            raise RequestFailed(f"the supervisor does not know {' '.join(words)!r}")


def _stop_on_signals(supervisor: Supervisor, claims: PortClaims, say: Tell) -> None:
    def stop(number: signal.Signals) -> None:
        supervisor.stop()
        claims.stop_listening()
        say(f"stopping ({number.name})")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, number)


def _log(settings: Settings, folder: Path, role: str) -> ChildLog:
    return ChildLog(folder / f"{role}.log", settings.log_max_bytes, settings.log_files)


def _pace(settings: Settings) -> Pace:
    return Pace(
        start_deadline_s=settings.start_deadline_s,
        stop_deadline_s=settings.stop_deadline_s,
        restart_delay_s=settings.restart_delay_s,
        restart_delay_cap_s=settings.restart_delay_cap_s,
        healthy_after_s=settings.healthy_after_s,
        drain_deadline_s=settings.drain_deadline_s,
    )
