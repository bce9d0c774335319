"""Unpacks an uploaded tar, plain or gzipped, as if it came from an enemy.

Nothing is written outside the target: names are relative and without `..`, every file is made anew in folders that we
made, links are made last and must end inside. Sizes are checked before bytes are written, and a header can claim no
more memory than we allow. Whatever is wrong, the error names the member and what to do.
"""

import errno
import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import msgspec

GIB = 1 << 30
_HEADER_MAX_BYTES = 1 << 20
_NAMING = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)
"""What a name can be at fault for. Anything else, such as a full disk, is not the archive's doing."""


class UnpackLimits(msgspec.Struct, frozen=True):
    members: int = 100_000
    bytes: int = 20 * GIB
    depth: int = 64


class Unpacked(msgspec.Struct, frozen=True):
    files: int
    bytes: int


class BadArchive(Exception):
    """An archive that is not unpacked. Nothing of it should be used."""

    def __init__(self, member: str, why: str, fix: str) -> None:
        super().__init__(f"archive member {member!r} {why}: {fix}" if member else f"the archive {why}: {fix}")
        self.member = member


UNPACK_LIMITS = UnpackLimits()


def unpack(archive: Path, into: Path, limits: UnpackLimits = UNPACK_LIMITS) -> Unpacked:
    """Blocks: for a thread. `into` is made, and must not exist."""
    into.mkdir(parents=True)
    try:
        with archive.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            plain = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if gzipped else raw
            bounded = cast(IO[bytes], _Bounded(plain, limits.bytes + limits.members * 2048 + _HEADER_MAX_BYTES))
            with tarfile.open(fileobj=bounded, mode="r|", bufsize=512 * 128, tarinfo=_Header) as tar:
                return _Unpacking(into, limits).run(tar)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise BadArchive("", f"cannot be read ({error})", "push again; the upload may be cut short") from error


class _Header(tarfile.TarInfo):
    """tarfile reads names and extended headers whole into memory, however long they claim to be."""

    def _proc_member(self, tar: tarfile.TarFile) -> Any:
        if self.size < 0 or (not self.isreg() and self.size > _HEADER_MAX_BYTES):
            raise BadArchive(self.name, f"claims {self.size} bytes as a header", "pack with plain tar")
        return super()._proc_member(tar)  # type: ignore[misc]


class _Bounded:
    """Counts what is read, so that a gzip bomb ends early."""

    def __init__(self, source: IO[bytes], left: int) -> None:
        self._source = source
        self._left = left

    def read(self, size: int) -> bytes:
        chunk = self._source.read(size)
        self._left -= len(chunk)
        if self._left < 0:
            raise BadArchive("", "is too big when unpacked", "keep large files out of it; load them as weights")
        return chunk


class _Unpacking:
    def __init__(self, root: Path, limits: UnpackLimits) -> None:
        self._root = root
        self._limits = limits
        self._files: set[PurePosixPath] = set()
        self._links: list[tuple[str, PurePosixPath, str]] = []
        self._bytes = 0

    def run(self, tar: tarfile.TarFile) -> Unpacked:
        for count, member in enumerate(tar, 1):
            if count > self._limits.members:
                raise BadArchive(
                    member.name,
                    f"is one more than the {self._limits.members} that are allowed",
                    "list what need not be uploaded in .truss_ignore",
                )
            try:
                self._one(tar, member)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno not in _NAMING:
                    raise
                why = error.strerror if isinstance(error, OSError) else error
                raise BadArchive(member.name, f"cannot be written ({why})", "rename or remove it") from error
        self._make_links()
        return Unpacked(len(self._files), self._bytes)

    def _one(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        name = self._inside(member)
        target = self._root / name
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
        elif member.issym():
            self._links.append((member.name, name, member.linkname))
        elif member.islnk():
            self._copy_of(member, name)
        elif member.isreg() and not member.issparse():
            self._claim(member, member.size)
            source = tar.extractfile(member)
            assert source is not None
            self._write(name, source, executable=bool(member.mode & 0o100))
        else:
            kind = "a sparse file" if member.issparse() else "a device, a pipe or of an unknown kind"
            raise BadArchive(member.name, f"is {kind}", "only files, folders and links can be pushed")

    def _inside(self, member: tarfile.TarInfo) -> PurePosixPath:
        name = PurePosixPath(member.name)
        if name.is_absolute():
            raise BadArchive(member.name, "has an absolute name", "pack with names relative to the project")
        if ".." in name.parts:
            raise BadArchive(member.name, "leads out of the project", "pack without `..` in names")
        if not name.parts and not member.isdir():
            raise BadArchive(member.name, "has no name", "pack files with their names")
        if len(name.parts) > self._limits.depth:
            raise BadArchive(member.name, f"is deeper than {self._limits.depth} folders", "flatten it")
        return name

    def _claim(self, member: tarfile.TarInfo, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limits.bytes:
            raise BadArchive(
                member.name,
                f"takes the project over {self._limits.bytes} bytes",
                "keep large files out of it; load them as weights",
            )

    def _write(self, name: PurePosixPath, source: IO[bytes], *, executable: bool) -> None:
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # No link exists yet, and O_EXCL: this can only make a new file, below folders that we made.
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755 if executable else 0o644)
        with os.fdopen(handle, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 18)
        self._files.add(name)

    def _copy_of(self, member: tarfile.TarInfo, name: PurePosixPath) -> None:
        """A hard link becomes a copy, and only of a file that this archive brought."""
        original = PurePosixPath(member.linkname)
        if original not in self._files:
            raise BadArchive(
                member.name,
                f"is a hard link to {member.linkname!r}, which is no earlier file of the archive",
                "push the file itself",
            )
        source = self._root / original
        self._claim(member, source.stat().st_size)
        with source.open("rb") as file:
            self._write(name, file, executable=os.access(source, os.X_OK))

    def _make_links(self) -> None:
        """After all files and never below a link, so nothing is written through one; then see where they end."""
        root = self._root.resolve()
        names = {name for _, name, _ in self._links}
        for member, name, to in self._links:
            if PurePosixPath(to).is_absolute():
                raise _points_outside(member, to)
            if not names.isdisjoint(name.parents):
                raise BadArchive(member, "lies below a link", "push the folder itself in the link's place")
            link = self._root / name
            try:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(to)
            except OSError as error:
                raise BadArchive(member, f"cannot be linked ({error.strerror})", "rename or remove it") from error
        for member, name, to in self._links:
            if not _ends_inside(self._root / name, root):
                raise _points_outside(member, to)


def _points_outside(member: str, to: str) -> BadArchive:
    return BadArchive(member, f"is a link to {to!r}, outside the project", "push the file itself in its place")


def _ends_inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False  # A loop ends nowhere.
