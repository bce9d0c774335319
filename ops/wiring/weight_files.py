"""The files of a manifest, read from the blob store when a page asks for them."""

from collections.abc import Sequence

from agents.effects.objects import open_objects
from agents.weights.manifest import BadManifest
from agents.weights.store import manifest_of
from events.weights import ManifestId
from gateway.dashboard.sources import File, FilesUnknown
from ops.config import Settings
from projections.stores.objects import StoreUnavailable


async def weight_files(settings: Settings, manifest_id: ManifestId) -> Sequence[File]:
    """Raises FilesUnknown."""
    try:
        async with open_objects(settings.weights_at, dict(settings.inherited_env)) as objects:
            manifest = await manifest_of(objects, manifest_id)
    except (BadManifest, StoreUnavailable) as error:
        raise FilesUnknown(str(error)) from error
    return [File(each.path, each.size, len(each.chunks)) for each in manifest.files]
