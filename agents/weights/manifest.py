"""What a folder of weights holds: its files in the order in which they are needed, each a row of chunks.

A manifest is immutable and content-addressed itself: its id is BLAKE3 of its canonical JSON, so whoever has the id can
check the manifest, and whoever has the manifest can check every byte. `decode` is the only way in: what it gives
has safe relative paths, sizes that add up and no path that is also another's folder.
"""

import re
from collections.abc import Iterator, Sequence

import blake3
import msgspec

from events.weights import ChunkHash, ManifestId, Mount

VERSION = 1
CHUNK_BYTES_MAX = 16 << 20
"""No chunk is longer: what a reader must be able to hold to check it."""
MANIFEST_BYTES_MAX = 64 << 20
MODES = (0o444, 0o555)
"""Read-only, and read-only for programs."""
PREFIX = "weights/"
MANIFESTS, CHUNKS = PREFIX + "manifests/", PREFIX + "chunks/"
KNOWN = PREFIX + "known/"
"""Notes of the mirror: which chunks some content was."""
PINS = PREFIX + "pins/"
"""Notes of the mirror: which versions a source held when it was pinned."""
PLANES = PREFIX + "planes/"
"""Whose weights lie here."""
_HASH = re.compile(r"[0-9a-f]{64}")
_NAME_BYTES_MAX, _PATH_BYTES_MAX = 255, 4096


class BadManifest(ValueError):
    """Bytes that are no manifest, or one that must not be followed; the text names what is wrong."""


class Chunk(msgspec.Struct, frozen=True, array_like=True, gc=False):
    hash: ChunkHash
    size: int


class File(msgspec.Struct, frozen=True, gc=False):
    path: str
    """Relative, `/` between names, neither `.` nor `..` among them."""
    size: int
    mode: int
    chunks: tuple[Chunk, ...]
    """In order, without a gap; none for an empty file."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    version: int
    files: tuple[File, ...]
    """In the order in which they are needed: a reader that gets the first may begin."""

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)

    def chunks(self) -> Iterator[Chunk]:
        """In order of need, each once."""
        seen: set[ChunkHash] = set()
        for file in self.files:
            for chunk in file.chunks:
                if chunk.hash not in seen:
                    seen.add(chunk.hash)
                    yield chunk


def chunk_hash(body: bytes | bytearray | memoryview) -> ChunkHash:
    return ChunkHash(blake3.blake3(body).hexdigest())


def encode(manifest: Manifest) -> tuple[ManifestId, bytes]:
    """Its id and its canonical bytes. Raises BadManifest."""
    check(manifest)
    body = msgspec.json.encode(manifest)
    if len(body) > MANIFEST_BYTES_MAX:
        raise BadManifest(f"a manifest of {len(body)} bytes; {MANIFEST_BYTES_MAX} are allowed: mount fewer files")
    return ManifestId(blake3.blake3(body).hexdigest()), body


def decode(manifest_id: ManifestId, body: bytes) -> Manifest:
    """Raises BadManifest, also where the bytes are not those that the id names."""
    if (actual := blake3.blake3(body).hexdigest()) != manifest_id:
        raise BadManifest(f"manifest {manifest_id}: the bytes are those of {actual}")
    try:
        manifest = msgspec.json.decode(body, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BadManifest(f"manifest {manifest_id}: {error}") from error
    check(manifest)
    return manifest


def check(manifest: Manifest) -> None:
    if manifest.version != VERSION:
        raise BadManifest(f"version {manifest.version} of manifests is not known here, {VERSION} is")
    paths: set[str] = set()
    sizes: dict[ChunkHash, int] = {}
    for file in manifest.files:
        check_path(file.path)
        if file.path in paths:
            raise BadManifest(f"path {file.path!r} is there twice")
        paths.add(file.path)
        _check_file(file, sizes)
    for path in paths:
        for folder in _folders(path):
            if folder in paths:
                raise BadManifest(f"path {folder!r} is a file and the folder of {path!r}")


def check_path(path: str) -> None:
    """Raises BadManifest unless it is a plain path below the folder that it is for."""
    names = path.split("/")
    if any(name in ("", ".", "..") for name in names):
        raise BadManifest(f"path {path!r} must be relative, without empty names, `.` and `..`")
    if "\\" in path or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        raise BadManifest(f"path {path!r} must hold neither backslashes nor control characters")
    try:
        lengths = [len(name.encode()) for name in names]
    except UnicodeEncodeError:
        raise BadManifest(f"path {path!r} is not UTF-8") from None
    if max(lengths) > _NAME_BYTES_MAX or sum(lengths) + len(names) > _PATH_BYTES_MAX:
        raise BadManifest(f"path {path[:80]!r}… is longer than a file system takes")


def check_mounts(mounts: Sequence[Mount]) -> None:
    """Raises BadManifest unless each has a folder of its own, none within another's."""
    locations: list[str] = []
    for mount in mounts:
        location = mount.mount_location
        if not location.startswith("/"):
            raise BadManifest(f"mount_location {location!r} must be an absolute path, such as /weights/model")
        check_path(location[1:])
        for other in locations:
            if f"{location}/".startswith(f"{other}/") or f"{other}/".startswith(f"{location}/"):
                raise BadManifest(f"mount_location {location!r} and {other!r} lie within each other")
        locations.append(location)
        _check_hash(mount.manifest_id)


def manifest_key(manifest_id: ManifestId) -> str:
    """Where it lies in the blob store."""
    return MANIFESTS + _check_hash(manifest_id)


def chunk_key(chunk: ChunkHash) -> str:
    """Where it lies in the blob store: not all in one folder."""
    return f"{CHUNKS}{_check_hash(chunk)[:2]}/{chunk}"


def _check_file(file: File, sizes: dict[ChunkHash, int]) -> None:
    if file.mode not in MODES:
        raise BadManifest(f"file {file.path!r}: mode {file.mode:o} is neither 444 nor 555")
    for chunk in file.chunks:
        _check_hash(chunk.hash)
        if not 0 < chunk.size <= CHUNK_BYTES_MAX:
            raise BadManifest(f"file {file.path!r}: a chunk of {chunk.size} bytes; 1 to {CHUNK_BYTES_MAX} are allowed")
        if sizes.setdefault(chunk.hash, chunk.size) != chunk.size:
            raise BadManifest(f"file {file.path!r}: chunk {chunk.hash} has two sizes")
    if sum(chunk.size for chunk in file.chunks) != file.size:
        raise BadManifest(f"file {file.path!r}: its chunks do not add up to {file.size} bytes")


def _check_hash(text: str) -> str:
    if not _HASH.fullmatch(text):
        raise BadManifest(f"{text!r} is not a BLAKE3 hash: 64 hexadecimal digits")
    return text


def _folders(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
