"""Weights: files that a model reads, kept in the blob store as content-addressed chunks, named by a manifest."""

from typing import NewType

import msgspec

ManifestId = NewType("ManifestId", str)
"""64 hexadecimal digits: BLAKE3 of the manifest's canonical JSON. The same files have the same id, from any source."""
ChunkHash = NewType("ChunkHash", str)
"""64 hexadecimal digits: BLAKE3 of the chunk's bytes."""


class Mount(msgspec.Struct, frozen=True, gc=False):
    """What a replica finds in a folder, before it starts and for as long as it runs."""

    manifest_id: ManifestId
    mount_location: str
    """An absolute path: where the model sees the files, read-only."""
