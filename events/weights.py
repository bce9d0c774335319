"""Weights: files that a model reads, kept in the blob store as content-addressed chunks, named by a manifest."""

from typing import Final, NewType

import msgspec

from events.base import BuildId, DeploymentId, Event

ManifestId = NewType("ManifestId", str)
"""64 hexadecimal digits: BLAKE3 of the manifest's canonical JSON. The same files have the same id, from any source."""
ChunkHash = NewType("ChunkHash", str)
"""64 hexadecimal digits: BLAKE3 of the chunk's bytes."""


MIRROR: Final = "mirror"
"""Whose history is the blob store's: there is one of a plane."""


class Mount(msgspec.Struct, frozen=True, gc=False):
    """What a replica finds in a folder, before it starts and for as long as it runs."""

    manifest_id: ManifestId
    mount_location: str
    """An absolute path: where the model sees the files, read-only."""


class WeightsPinned(Event, frozen=True, kw_only=True):
    """A build looked at a source for the first time: from now on its deployment means exactly this revision of it."""

    build_id: BuildId
    deployment_id: DeploymentId
    source: str
    mount_location: str
    revision: str
    """A commit, or a digest of all names, sizes and ETags."""
    files: int
    bytes: int


class WeightsMirrored(Event, frozen=True, kw_only=True):
    """All files are in the blob store, checked, and named by a manifest: the source is not needed any more."""

    build_id: BuildId
    deployment_id: DeploymentId
    source: str
    mount_location: str
    revision: str
    manifest_id: ManifestId
    files: int
    bytes: int
    chunks: int
    """Different ones."""
    bytes_read: int
    """From the source, now: what was known was not read again."""
    bytes_stored: int
    """New in the blob store."""
    seconds: float


class WeightsMirrorFailed(Event, frozen=True, kw_only=True):
    """The source did not give what the config asks for; the build fails of it."""

    build_id: BuildId
    deployment_id: DeploymentId
    source: str
    mount_location: str
    kind: str
    """missing, private, moved, changed, unavailable, damaged, invalid."""
    reason: str
    seconds: float


class WeightsDiscarded(Event, frozen=True, kw_only=True):
    """Nobody needs these any more: from now on they may be missing in the blob store. Who pushes them again has them
    mirrored again."""

    manifests: tuple[ManifestId, ...]
    chunks: int
    """Named by no manifest that is left."""
    bytes: int
    """Of manifests, chunks and notes about them."""
    older_than_h: float
    """What had been written later was kept."""
    needed_manifests: int
    """Of deployments that are not deleted and of builds under way: they and their chunks were kept."""
