"""Processes that stay on one core, and what they cost there: CPU time and memory of a whole process tree."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PROXY_CORE_INDEX, LOAD_CORE_INDEX = 0, 1
STOP_DEADLINE_S = 15.0


class TooFewCores(RuntimeError):
    """The proxy and its load would share a core."""


def cores() -> tuple[int, int]:
    """The proxy's and the load's. This process moves to the load's, and so does what it starts unpinned."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise TooFewCores(f"two cores are needed, one for the proxy and one for its load; usable here: {usable}")
    os.sched_setaffinity(0, {usable[LOAD_CORE_INDEX]})
    return usable[PROXY_CORE_INDEX], usable[LOAD_CORE_INDEX]


class DidNotStart(RuntimeError):
    """A process that ended or stayed silent; the message holds its last words."""


class Tree:
    """A started process with its descendants."""

    def __init__(self, popen: subprocess.Popen[bytes], said: Path) -> None:
        self.popen, self._said = popen, said
        self._root = psutil.Process(popen.pid)

    @property
    def processes(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []

    def cpu_s(self, core: int) -> float:
        """Of its processes that are pinned to this core."""
        total = 0.0
        for each in self.processes:
            with suppress(psutil.NoSuchProcess):
                if each.cpu_affinity() == [core]:
                    spent = each.cpu_times()
                    total += spent.user + spent.system
        return total

    def resident_bytes(self) -> int:
        total = 0
        for each in self.processes:
            with suppress(psutil.NoSuchProcess):
                total += each.memory_info().rss
        return total

    @property
    def last_words(self) -> str:
        lines = self._said.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-400:]

    def stop(self) -> None:
        """Politely, then not; nothing of the tree is left."""
        tree = self.processes
        with suppress(ProcessLookupError):
            self.popen.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_DEADLINE_S)
        for each in tree:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(tree, timeout=STOP_DEADLINE_S)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_DEADLINE_S)


@contextmanager
def started(words: Sequence[str], env: Mapping[str, str], core: int, folder: Path) -> Iterator[Tree]:
    """Runs the command in `folder`, pinned before its first instruction."""
    said = folder / "said.txt"
    mine = os.sched_getaffinity(0)
    with said.open("wb") as out:
        os.sched_setaffinity(0, {core})
        try:
            popen = subprocess.Popen(
                words, env=dict(env), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        finally:
            os.sched_setaffinity(0, mine)
    tree = Tree(popen, said)
    try:
        yield tree
    finally:
        tree.stop()


def wait_until(true: Callable[[], bool], tree: Tree, deadline_s: float) -> None:
    """Polls; raises DidNotStart with the process's last words."""
    until = time.monotonic() + deadline_s
    while not true():
        if tree.popen.poll() is not None:
            raise DidNotStart(f"it ended with {tree.popen.returncode}: {tree.last_words}")
        if time.monotonic() > until:
            raise DidNotStart(f"no answer within {deadline_s:g} s: {tree.last_words}")
        time.sleep(0.1)
