"""The archive of a log as a history to ask: the same commands, without a broker."""

from pathlib import Path

from events.base import ORIGIN
from events.codec import CorruptMessage, Recorded
from events.log.closed import ClosedLog
from events.log.segments import recorded_of
from ops.past import Past
from projections.stores.archive import ArchiveBroken, FolderArchive
from projections.stores.kept import KeptSnapshots


def past_in_archive(folder: Path) -> Past:
    """Raises ArchiveBroken."""
    archive = FolderArchive(folder)
    if not archive.segments():
        raise ArchiveBroken(f"there is no archive in {folder}: no file such as 000000000001-000000005000.ndjson.gz")
    events: list[Recorded] = []
    for segment, messages in archive.chain():
        try:
            events += map(recorded_of, messages)
        except CorruptMessage as error:
            raise ArchiveBroken(f"segment {segment.first}-{segment.last} in {folder}: {error}") from error
    return Past(ClosedLog(ORIGIN, events), KeptSnapshots(folder / "snapshots"))
