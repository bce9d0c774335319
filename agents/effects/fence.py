"""The fence around what a build runs: bubblewrap where it works, a plain child otherwise.

Inside the fence the file system is read-only, the state folder and the user's home are empty, there are no other
processes to see, and only the folders named as writable can be changed. The network stays: package indexes are
reached over it. Without bubblewrap a build is a plain child with a clean environment, no more.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

_OWN = ("proc", "dev", "tmp", "run", "app", "packages")
"""Top-level names that the fence provides itself, whatever the machine has there."""


class FenceMissing(Exception):
    """Bubblewrap was asked for and does not work here."""


class Fence(msgspec.Struct, frozen=True):
    bubblewrap: Path | None
    """None: no fence on this machine."""
    hidden: tuple[Path, ...] = ()

    def wrap(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path,
        readable: Sequence[Path] = (),
        writable: Sequence[Path] = (),
        at: Sequence[tuple[Path, Path]] = (),
        files: Sequence[tuple[Path, Path]] = (),
    ) -> list[str | Path]:
        """The command, fenced. `at`: writable folders that appear elsewhere (source, place); `files`: read-only."""
        if self.bubblewrap is None:
            return list(command)
        binds: list[str | Path] = []
        for path in dict.fromkeys(path for path in readable if path.exists()):
            binds += ["--ro-bind", path, path]
        for path in dict.fromkeys(writable):
            binds += ["--bind", path, path]
        for source, place in at:
            binds += ["--bind", source, place]
        for source, place in files:
            binds += ["--ro-bind", source, place]
        return [
            self.bubblewrap, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
            "--die-with-parent", "--new-session", "--cap-drop", "ALL",
            *_root(self.hidden), *binds, "--chdir", cwd, "--", *command,
        ]  # fmt: skip


def _root(hidden: Sequence[Path]) -> list[str | Path]:
    mounts: list[str | Path] = []
    for entry in sorted(Path("/").iterdir()):
        if entry.name in _OWN:
            continue
        if entry.is_symlink():
            mounts += ["--symlink", os.readlink(entry), entry]
        else:
            mounts += ["--ro-bind-try", entry, entry]
    mounts += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run"]
    for path in hidden:
        if path.is_dir() and path != Path("/"):
            mounts += ["--tmpfs", path]
    # Name resolution is often a link to a file that lives under /run.
    resolver = Path("/etc/resolv.conf").resolve()
    if resolver.is_relative_to("/run"):
        mounts += ["--ro-bind-try", resolver, resolver]
    return mounts


async def find_fence(mode: str, bubblewrap: Path | None, hidden: Sequence[Path]) -> Fence:
    """`mode` is the sandbox setting: auto, bubblewrap or process."""
    if mode == "process":
        return Fence(None)
    fence = Fence(bubblewrap, tuple(hidden))
    why = "no bwrap was found" if bubblewrap is None else await _try_out(fence)
    if why is None:
        return fence
    if mode == "bubblewrap":
        raise FenceMissing(f"sandbox=bubblewrap, but {why}: install bubblewrap, or set sandbox=auto")
    return Fence(None)


async def _try_out(fence: Fence) -> str | None:
    """Why it does not work here; None when it does."""
    try:
        child = await asyncio.create_subprocess_exec(
            *fence.wrap(["/bin/sh", "-c", ":"], cwd=Path("/")),
            env={}, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        return f"{fence.bubblewrap} cannot be started ({error.strerror})"
    output, _ = await child.communicate()
    return None if child.returncode == 0 else f"it fails here: {output.decode(errors='replace').strip()}"
