"""A builder in a process of its own, on a real log: `serve_builder.py NATS_URL STATE INDEX`. For tests that kill it."""

import asyncio
import sys
from pathlib import Path

from events.log.jetstream import JetStreamLog
from tests.agents.builder.plant import Plant, workshop


async def main(url: str, state: Path, index: Path) -> None:
    log = await JetStreamLog.connect(url)
    async with Plant(log, workshop(state, index=index), state).running():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
