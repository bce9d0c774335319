"""Log lines as they are written, as server-sent events: each is the line's own HTML, as the page has it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from events.base import DeploymentId
from events.signals.log_lines import LEVELS, LogFiles, LogLine
from events.signals.log_tail import LogTail
from gateway.dashboard.board import level_of
from gateway.dashboard.logs_page import LINES, line

LOOK_S = 0.5
QUIET = b"event: quiet\ndata:\n\n"
"""What a page hears by that it is still connected; a comment would not reach it."""


async def lines(
    files: LogFiles, deployment_id: DeploymentId, asked: Mapping[str, str], after_ns: int, going: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """What came after a time, then what comes, while it is going on."""
    wanted, tail = wanted_by(asked), LogTail(files, deployment_id, asked.get("source"))
    await asyncio.to_thread(tail.look)
    missed = await asyncio.to_thread(
        files.query, deployment_id, start_ns=after_ns + 1, source=asked.get("source"), keep=wanted, limit=LINES
    )
    newest = max([after_ns, *(each.ts_ns for each in missed)])
    yield b": here\n\n" + b"".join(map(_frame, missed[::-1]))
    while going():
        await asyncio.sleep(LOOK_S)
        fresh = [each for each in await asyncio.to_thread(tail.look) if each.ts_ns > newest and wanted(each)]
        yield b"".join(map(_frame, fresh)) if fresh else QUIET


def wanted_by(asked: Mapping[str, str]) -> Callable[[LogLine], bool]:
    least, text = LEVELS.index(level_of(asked)), asked.get("contains", "").lower()
    return lambda each: LEVELS.index(each.level) >= least and text in each.message.lower()


def _frame(each: LogLine) -> bytes:
    """With its time as its id, from which a client that was cut off goes on."""
    data = b"".join(b"data: %s\n" % part for part in line(each).encode().split(b"\n"))
    return b"id: %d\n%s\n" % (each.ts_ns, data.replace(b"\r", b""))
