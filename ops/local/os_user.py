"""The user of the operating system that a program runs as when we are root and the program must not be."""

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOME = Path("/var/lib/causeway")
PLAIN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class OsUser:
    """A user by name and numbers."""

    name: str
    uid: int
    gid: int


def named(name: str) -> OsUser | None:
    """The user of that name, or None."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return OsUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid)


def owner(path: Path) -> OsUser | None:
    """The user who owns the path; None if that is root, nobody known, or there is no such path."""
    try:
        entry = pwd.getpwuid(path.stat().st_uid)
    except (FileNotFoundError, KeyError):
        return None
    return named(entry.pw_name) if entry.pw_uid else None


def ensured(name: str) -> OsUser | None:
    """The user of that name, made by `useradd` if missing; `nobody` (or None) where users cannot be made."""
    tool = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    options = ["--system", "--no-create-home", "--home-dir", str(HOME), "--shell", "/usr/sbin/nologin"]
    for _ in range(20 if tool else 0):
        if found := named(name):
            return found
        subprocess.run([str(tool), *options, name], capture_output=True, check=False)
        if found := named(name):
            return found
        time.sleep(0.1)  # another process holds the lock of /etc/passwd
    return named(name) or named("nobody")


def run_as(user: OsUser | None, command: Sequence[str], cwd: Path = Path("/")) -> "subprocess.CompletedProcess[bytes]":
    """Runs a command to its end as that user (None: as ourselves), its two outputs in one."""
    return subprocess.run(
        command,
        env=PLAIN_ENVIRONMENT,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
        check=False,
    )


def can(user: OsUser, test: str, path: Path) -> bool:
    """Whether `test -r`, `-w` or `-x` holds for that user, every folder above the path included."""
    return run_as(user, ["/bin/sh", "-c", f'test {test} "$1"', "sh", os.fspath(path)]).returncode == 0
