"""Starts a replica's processes so that they outlive the agent, and tells any later agent how they ended.

Between agent and server stands a keeper: a small shell in a session of its own that holds the replica's lock, starts
the server, waits for it, writes its exit code, and takes along whatever is left of its group.
"""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from agents.effects.limits import members
from agents.effects.news import NEWS_FD
from agents.effects.replica_folder import Keeper, Record, ReplicaFolder

MARKER_VARIABLE = "CAUSEWAY_REPLICA"
_BEGIN_DEADLINE_S = 10.0

# Standard input is the lock. The replica's folder, where to run, what to join (cgroup.procs files), `--`, the command.
_SCRIPT = """
folder=$1; cd "$2" || exit 125; shift 2
while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift
"$@" < /dev/null &
echo "$$ $!" > "$folder/process.aside" && mv "$folder/process.aside" "$folder/process"
wait $!
echo $? > "$folder/exit.aside" && mv "$folder/exit.aside" "$folder/exit"
kill -KILL 0
"""


class KeeperFailed(Exception):
    """The process did not begin."""


async def begin(
    folder: ReplicaFolder,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    news: int,
    join: Sequence[Path] = (),
) -> Keeper:
    """`news`: where the replica tells how its start goes.

    Raises KeeperFailed, and RuntimeError when the replica runs already.
    """
    lock = folder.take_lock()
    if lock is None:
        raise RuntimeError(f"{folder.path.name} is started while it runs")
    with open(lock, "rb"), folder.output.open("ab") as output:
        standard = {0: lock, 1: output.fileno(), 2: output.fileno(), NEWS_FD: news}
        pid = _spawn(("keeper", folder.path, cwd, *join, "--", *command), env, standard)
    keeper = await begun(folder)
    if keeper is None:
        raise KeeperFailed(f"the process did not begin (its keeper was {pid}); see the replica's output")
    return keeper


def _spawn(arguments: tuple[str | Path, ...], env: Mapping[str, str], standard: Mapping[int, int]) -> int:
    """subprocess would tie the process to an object of ours; this one outlives us."""
    files = [(os.POSIX_SPAWN_DUP2, handle, number) for number, handle in standard.items()]
    argv = ("/bin/sh", "-c", _SCRIPT, *arguments)
    return os.posix_spawn(argv[0], argv, dict(env), file_actions=files, setsid=True)


def reap(folder: ReplicaFolder) -> None:
    """Takes the remains of an ended keeper away, if it was this process that started it."""
    keeper = folder.keeper()
    if keeper is not None:
        with suppress(ChildProcessError):
            os.waitpid(keeper.pid, os.WNOHANG)


async def begun(folder: ReplicaFolder) -> Keeper | None:
    """What was started, once its keeper has said so; None when it has ended without."""
    deadline = asyncio.get_running_loop().time() + _BEGIN_DEADLINE_S
    while (keeper := folder.keeper()) is None:
        if not folder.is_kept() or asyncio.get_running_loop().time() > deadline:
            return folder.keeper()
        await asyncio.sleep(0.002)
    return keeper


async def gone(folder: ReplicaFolder) -> None:
    """Returns when its keeper has ended: at once if it already has."""
    keeper = folder.keeper()
    if keeper is None:
        return
    try:
        handle = os.pidfd_open(keeper.pid)
    except ProcessLookupError:
        return
    try:
        if not folder.is_kept():
            return  # The pid may be another process's by now.
        await _readable(handle)
    finally:
        os.close(handle)


async def _readable(handle: int) -> None:
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(handle, _settle, readable)
    try:
        await readable
    finally:
        loop.remove_reader(handle)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def server_of(folder: ReplicaFolder) -> psutil.Process | None:
    """The model server itself, inside its sandbox if it has one."""
    keeper = folder.keeper()
    if keeper is None or not folder.is_kept():
        return None
    try:
        process = psutil.Process(keeper.server)
        while process.name() == "bwrap":
            process = _first_child(process)
    except (psutil.NoSuchProcess, IndexError):
        return None
    return process


def _first_child(process: psutil.Process) -> psutil.Process:
    """The kernel's own list where it has one: psutil looks at every process of the machine. Raises IndexError."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    except FileNotFoundError:
        return process.children()[0]
    return psutil.Process(int(children[0]))


def terminate(folder: ReplicaFolder) -> None:
    """Asks the server to finish what runs and end. Its keeper and its sandbox are left to see that."""
    if (server := server_of(folder)) is not None:
        with suppress(psutil.NoSuchProcess):  # It was quicker.
            server.send_signal(signal.SIGTERM)


def kill(folder: ReplicaFolder, record: Record) -> None:
    """Ends all of its processes but the keeper, which records how and ends by itself."""
    keeper = folder.keeper()
    spared = keeper.pid if keeper is not None and folder.is_kept() else None
    ours = {*marked(record.marker)} | members([Path(group) for group in record.cgroups])
    for pid in ours - {spared}:
        with suppress(ProcessLookupError):  # It was quicker.
            os.kill(pid, signal.SIGKILL)


def marked(marker: str) -> Iterator[int]:
    """Every process that carries the marker, whatever session or sandbox it went to."""
    wanted = f"{MARKER_VARIABLE}={marker}".encode()
    for pid in psutil.pids():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # Ended meanwhile, or another user's.
        if wanted in variables:
            yield pid
