"""The fence around what a build runs: the walls of a replica's sandbox, with the folders of a build.

Inside it a child sees the system's programs and libraries, what it is given to read, and its own processes; only the
folders named as writable can be changed, and nothing else of this machine exists: not the state folder, no home, no
checkout. The network stays, for package indexes are reached over it. Where bubblewrap does not work a build is a plain
child with a clean environment, no more.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from agents.effects.sandbox import ISOLATED, find_sandbox, system_mounts

_ETC = tuple(map(Path, ("/etc/os-release", "/etc/debian_version", "/etc/gitconfig", "/etc/uv")))
"""What installers look at besides what a replica needs."""


class Fence(msgspec.Struct, frozen=True):
    bubblewrap: Path | None
    """None: no fence on this machine."""
    flags: tuple[str, ...] = ()

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
        mounts: list[str | Path] = ["--tmpfs", "/tmp"]
        for path in (*_ETC, *dict.fromkeys(readable)):
            mounts += ["--ro-bind-try", path, path]
        for path in dict.fromkeys(writable):
            mounts += ["--bind", path, path]
        for source, place in at:
            mounts += ["--bind", source, place]
        for source, place in files:
            mounts += ["--ro-bind", source, place]
        return [
            self.bubblewrap, *ISOLATED, *self.flags, "--die-with-parent", "--new-session",
            *system_mounts(), *mounts, "--remount-ro", "/", "--chdir", cwd, "--", *command,
        ]  # fmt: skip


async def find_fence(mode: str, bubblewrap: Path | None) -> Fence:
    """`mode` is the sandbox setting: auto, bubblewrap or process. Raises SandboxMissing."""
    sandbox = await find_sandbox(mode, bubblewrap)
    return Fence(sandbox.bubblewrap, sandbox.flags)
