"""Folders that appear whole or not at all: built aside under a lock, made durable, sealed, renamed."""

import asyncio
import ctypes
import fcntl
import os
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_POLL_S = 0.05


@asynccontextmanager
async def locked(path: Path, *, shared: bool = False) -> AsyncIterator[None]:
    """One holder at a time, or many that share it, across tasks and processes; a killed holder's is free at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_POLL_S)  # A thread that waits for a lock could not be cancelled.
        yield
    finally:
        os.close(handle)


def seal(folder: Path) -> None:
    """Nobody writes here any more, the superuser excepted: a fence mounts it read-only for that."""
    for parent, folders, files in os.walk(folder):
        for name in (*files, *folders):
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode):
                os.chmod(path, stat.S_IMODE(mode) & ~0o222)
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) & ~0o222)


def make_durable(folder: Path) -> None:
    """Everything written to its file system so far survives a power loss. One call for thousands of files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle) != 0:
            raise OSError(ctypes.get_errno(), f"syncfs failed for {folder}")
    finally:
        os.close(handle)


def remove(folder: Path) -> None:
    """Removes it with all that is in it, sealed or not."""
    for parent, folders, _ in os.walk(folder):
        os.chmod(parent, 0o700)
        for name in folders:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    if folder.exists():
        shutil.rmtree(folder)
