"""A node agent in a process of its own, on a real log: `serve_node.py NATS_URL STATE MODE`. For tests that kill it."""

import asyncio
import shutil
import sys
from pathlib import Path

from agents.effects.limits import find_limits
from agents.effects.sandbox import find_sandbox
from events.log.jetstream import JetStreamLog
from tests.agents.node.bundles import runtime
from tests.agents.node.site import Site


async def main(url: str, state: Path, mode: str) -> None:
    found = shutil.which("bwrap")
    sandbox = await find_sandbox(mode, Path(found) if found else None)
    log = await JetStreamLog.connect(url)
    async with Site(log, runtime(state, sandbox, find_limits())).running():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
