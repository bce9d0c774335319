"""What other processes do with a stack: find it, start it in the background, stop it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from ops import config
from ops.config import CHECKOUT, BadSetting, Settings
from ops.local import leftovers, requests
from ops.local.child import READY_FD_VARIABLE
from ops.local.processes import stop
from ops.local.readiness import READY
from ops.local.stack import SUPERVISOR, AlreadyUp, locked
from ops.local.stack_file import StackStatus, read_status
from ops.local.supervisor import StartFailed

CHILD_GENERATIONS = 4  # a graceful stop waits for the roles, then for what they stand on, then for replicas
UP = (sys.executable, "-m", "ops.cli", "up")


class NotUp(RuntimeError):
    """No supervisor runs on this state folder, or none that we understand."""


def status(settings: Settings) -> StackStatus | None:
    """The running stack of the state folder, or None."""
    return read_status(settings.folder("run"))


def attached(settings: Settings) -> Settings:
    """The settings that the running stack works with: its port, its NATS, its PostgreSQL; raises `NotUp`."""
    running = status(settings)
    if running is None:
        raise NotUp(f"nothing runs on {settings.state}; start it with `causeway up`")
    try:
        resolved = config.load(running.settings)
    except BadSetting as error:
        raise NotUp(
            f"the stack on {settings.state} was started by another version ({error});"
            " restart it: `causeway down`, then `causeway up`"
        ) from error
    return resolved.but(
        url=settings.url,
        api_key=settings.api_key,
        log_level=settings.log_level,
        inherited_env=settings.inherited_env,
    )


def start_detached(settings: Settings, command: Sequence[str] = UP) -> StackStatus:
    """Starts `causeway up` in a session of its own and waits until everything is ready.

    Raises `StartFailed` with its last words. What it prints goes to `logs/up.log`.
    """
    log = settings.folder("logs") / "up.log"
    word, word_end = os.pipe2(os.O_CLOEXEC)
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            env=settings.environ() | {READY_FD_VARIABLE: str(word_end), "PYTHONPATH": str(CHECKOUT)},
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(word_end,),
            start_new_session=True,
        )
    os.close(word_end)
    with os.fdopen(word, "rb") as pipe:
        said = pipe.read()
    running = status(settings)
    if said != READY or running is None:
        child.wait()
        raise StartFailed(log.read_text(errors="replace").strip() or f"`{' '.join(command)}` ended silently")
    child.returncode = 0  # it outlives us by intent: not ours to wait for
    return running


def reload(settings: Settings, role: str, tell: Callable[[str], None]) -> None:
    """Replaces a role's processes without a gap; raises `NotUp`, `RequestFailed`."""
    if status(settings) is None:
        raise NotUp(f"nothing runs on {settings.state}; start it with `causeway up`")
    requests.ask(settings.folder("run"), f"reload {role}", tell)


def down(settings: Settings) -> bool:
    """Stops the stack and waits until all of it is gone, replicas too; False if none was running."""
    from agents.effects.end_all import end_all  # the node agent's hands: only for whoever stops a stack

    run = settings.folder("run")
    holder = leftovers.recall(run, SUPERVISOR)
    deadline_s = settings.stop_deadline_s * CHILD_GENERATIONS
    stopped = holder is not None and stop(holder.process, signal.SIGTERM, deadline_s, group=False)
    try:
        with locked(settings):
            cleared = leftovers.clear(run, settings.stop_deadline_s)
            ended = end_all(settings.folder("replicas"), settings.stop_deadline_s)
            return bool(cleared or ended) or stopped
    except AlreadyUp:  # someone started it again meanwhile; what runs now is theirs
        return stopped
