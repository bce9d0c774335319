"""The archive of a log as a history to ask: the same commands, without a broker."""

from pathlib import Path

from events.base import ORIGIN
from events.codec import CorruptMessage, Recorded
from events.log.closed import ClosedLog
from events.log.segments import recorded_of
from ops.past import Past, past_of
from projections.stores.archive import Archive, ArchiveBroken


async def past_in_archive(archive: Archive, snapshots: Path) -> Past:
    """`snapshots`: where this machine keeps some; those of other histories do no harm.

    Raises ArchiveBroken, StoreUnavailable.
    """
    events: list[Recorded] = []
    async for segment, messages in archive.chain():
        try:
            events += map(recorded_of, messages)
        except CorruptMessage as error:
            raise ArchiveBroken(f"segment {segment.first}-{segment.last} in {archive.place}: {error}") from error
    if not events:
        raise ArchiveBroken(f"there is no archive in {archive.place}: nothing like 000000000001-000000005000.ndjson.gz")
    return past_of(ClosedLog(ORIGIN, events), snapshots)
