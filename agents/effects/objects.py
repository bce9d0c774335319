"""Where weights are mirrored, and the log is archived: a folder, or `s3://bucket/prefix`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from projections.stores.objects import FolderObjects, Objects


@asynccontextmanager
async def open_objects(store: str, surroundings: Mapping[str, str]) -> AsyncIterator[Objects]:
    """`store`: a folder's path, or an S3 address, whose credentials are in the AWS variables of the surroundings."""
    if store.startswith("s3://"):
        from agents.effects.objects_s3 import open_bucket

        async with open_bucket(store, surroundings) as objects:
            yield objects
    else:
        yield FolderObjects(Path(store))
