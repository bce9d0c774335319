"""Packs a bundle as a tar whose bytes depend on names, contents and links alone: same bundle, same digest."""

import io
import os
import stat
import tarfile
from pathlib import Path

CONTENTS = ("app", "bundle.json", "packages")


class CannotPack(Exception):
    """The bundle holds something that no other machine could unpack."""


def pack(bundle: Path, target: Path) -> int:
    """Blocks: for a thread. Gives the number of members."""
    count = 0
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for top in CONTENTS:
            for path in _below(bundle / top):
                _add(tar, path, path.relative_to(bundle).as_posix())
                count += 1
    return count


def _below(path: Path) -> list[Path]:
    if not path.exists():
        return []
    found = [path]
    for parent, folders, files in os.walk(path):
        # Python's caches hold times, and a replica makes its own.
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [Path(parent, name) for name in (*folders, *files)]
    return sorted(found)


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    about = path.lstat()
    member = tarfile.TarInfo(name)
    if stat.S_ISLNK(about.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
    elif stat.S_ISDIR(about.st_mode):
        member.type, member.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISREG(about.st_mode):
        member.size, member.mode = about.st_size, 0o755 if about.st_mode & 0o100 else 0o644
        with path.open("rb") as body:
            tar.addfile(member, body)
        return
    else:
        raise CannotPack(f"{name} is a device, a pipe or a socket: remove it at the end of build_commands")
    tar.addfile(member, io.BytesIO())
