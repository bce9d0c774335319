"""The archive of the log, where the settings have it: the state folder, or a bucket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agents.effects.objects import open_objects
from ops.config import Settings
from projections.stores.archive import Archive


@asynccontextmanager
async def open_archive(settings: Settings, place: str | None = None) -> AsyncIterator[Archive]:
    """`place`: another one, a folder or `s3://bucket/prefix`."""
    chosen = place or settings.archive_at
    async with open_objects(chosen, dict(settings.inherited_env)) as objects:
        yield Archive(objects, chosen if chosen.startswith("s3://") else str(Path(chosen)))
