"""What tells a plane from every other, for good: its first event. A log that was restored is the same plane's."""

import blake3

from events.base import ORIGIN, Position
from events.log import Log


async def plane_name(log: Log) -> str:
    """Where nothing has happened yet, there is nothing that could be told apart."""
    first = await log.read(ORIGIN, Position(1))
    return blake3.blake3("".join(each.meta.id for each in first).encode()).hexdigest()[:16]
