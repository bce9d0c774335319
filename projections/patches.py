"""The patch chain of a development deployment, as the control API and the node agent both need it."""

from typing import Any

import msgspec

from events.base import BlobDigest
from events.model import DevelopmentPatched, DevelopmentSyncRequested


class Patch(msgspec.Struct, frozen=True):
    to_hash: str
    """truss's hash of the source with it."""
    operations: BlobDigest
    """JSON list of truss's patch operations."""
    signature: BlobDigest


class Patches(msgspec.Struct, frozen=True):
    chain: tuple[Patch, ...] = ()
    wanted: int = 0
    """How many of the chain a replica is to have."""
    attempt: int = 0
    """Of the last sync; 0: none was asked for."""


def changed(patches: Patches, event: Any) -> Patches | None:
    """None: the event is about something else."""
    match event:
        case DevelopmentPatched():
            patch = Patch(event.to_hash, event.patch, event.signature)
            return msgspec.structs.replace(patches, chain=(*patches.chain, patch))
        case DevelopmentSyncRequested():
            return msgspec.structs.replace(patches, wanted=event.number, attempt=event.attempt)
        case _:
            return None
