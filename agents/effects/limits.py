"""Memory and CPU limits by control groups, version 2 or 1, where the kernel lets this user make them.

A replica's keeper joins its groups before it starts anything, so that nothing escapes them. Where there are none, a
replica runs without limits and the node says so; resource limits of processes (`ulimit`) are never touched.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

MOUNT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
_PARENT = "causeway"


class Limits(msgspec.Struct, frozen=True):
    version: Literal["v2", "v1", "none"]
    parents: tuple[Path, ...] = ()
    """Folders in which groups are made: one for v2; memory and cpu for v1."""

    def make(self, name: str, cpu_millicores: int, memory_bytes: int) -> tuple[Path, ...]:
        """The replica's groups, empty. Raises OSError."""
        groups = tuple(parent / name for parent in self.parents)
        for group in groups:
            group.mkdir(exist_ok=True)
        quota_us = max(1000, cpu_millicores * _PERIOD_US // 1000)
        if self.version == "v2":
            _write(groups[0] / "memory.max", memory_bytes)
            _write(groups[0] / "memory.oom.group", 1)
            _write(groups[0] / "cpu.max", f"{quota_us} {_PERIOD_US}")
        elif self.version == "v1":
            memory, cpu = groups
            _write(memory / "memory.limit_in_bytes", memory_bytes)
            _write(cpu / "cpu.cfs_period_us", _PERIOD_US)
            _write(cpu / "cpu.cfs_quota_us", quota_us)
        return groups


def find_limits(mount: Path = MOUNT, proc: Path = Path("/proc/self/cgroup")) -> Limits:
    """What works here, tried out."""
    for find in (_find_v2, _find_v1):
        try:
            limits = find(mount, proc)
            for group in limits.make(f"tried-{os.getpid()}", 1000, 1 << 30):
                remove_group(group)
        except (OSError, LookupError):
            continue
        return limits
    return Limits("none")


def _find_v2(mount: Path, proc: Path) -> Limits:
    if not {"cpu", "memory"} <= set((mount / "cgroup.controllers").read_text().split()):
        raise LookupError
    parent = mount / _PARENT
    for folder in (mount, parent):
        folder.mkdir(exist_ok=True)
        _write(folder / "cgroup.subtree_control", "+cpu +memory")
    return Limits("v2", (parent,))


def _find_v1(mount: Path, proc: Path) -> Limits:
    """Below our own group, so that a limit on us holds for our replicas too; at the top where that is not visible."""
    own = {}
    for line in proc.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own.update({controller: path for controller in controllers.split(",")})
    parents = []
    for controller in ("memory", "cpu"):
        top = mount / controller
        if not top.is_dir():
            raise LookupError
        nested = top / own[controller].lstrip("/")
        parent = (nested if nested.is_dir() else top) / _PARENT
        parent.mkdir(exist_ok=True)
        parents.append(parent)
    return Limits("v1", tuple(parents))


def join_files(groups: Sequence[Path]) -> tuple[Path, ...]:
    """A process joins by writing its pid to each."""
    return tuple(group / "cgroup.procs" for group in groups)


def members(groups: Sequence[Path]) -> set[int]:
    found: set[int] = set()
    for file in join_files(groups):
        try:
            found.update(map(int, file.read_text().split()))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # The group has been removed, before or just now.
                raise
    return found


def ran_out_of_memory(groups: Sequence[Path]) -> bool:
    """Whether the kernel killed one of the group's processes for its memory."""
    for group in groups:
        for name in ("memory.events", "memory.oom_control"):
            with suppress(FileNotFoundError):  # Another version, or the group of another resource.
                counts = dict(line.split(maxsplit=1) for line in (group / name).read_text().splitlines())
                if int(counts.get("oom_kill", "0")) > 0:
                    return True
    return False


def remove_group(group: Path) -> None:
    """Raises OSError while a process is in it."""
    with suppress(FileNotFoundError):
        group.rmdir()


def _write(file: Path, value: object) -> None:
    file.write_text(f"{value}\n")
