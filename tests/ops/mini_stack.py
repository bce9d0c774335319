"""Runs `up` with a table of tiny children, in a process of its own that a test may kill.

`python -m tests.ops.mini_stack TABLE` where TABLE is JSON: [[role, [after…], python source], …]. A role that is called
`gateway…` is started like one: with the listening socket, and asked to drain by SIGUSR2.
The settings come from CAUSEWAY_* as in life.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Callable

from ops.config import CHECKOUT, Settings, load
from ops.local.child import Child
from ops.local.ports import PortTaken
from ops.local.stack import AlreadyUp, up
from ops.local.supervisor import StartFailed

Row = tuple[str, list[str], str]


def table(rows: list[Row]) -> Callable[[Settings], tuple[Child, ...]]:
    def children(settings: Settings) -> tuple[Child, ...]:
        return tuple(
            Child(
                role=role,
                command=(sys.executable, "-c", source),
                env=settings.environ() | {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"},
                after=tuple(after),
                drain_signal=signal.SIGUSR2 if role.startswith("gateway") else None,
                fds=(settings.listen_fd,) if role.startswith("gateway") and settings.listen_fd else (),
            )
            for role, after, source in rows
        )

    return children


def main() -> int:
    try:
        asyncio.run(up(load(), tell=print, role_table=table(json.loads(sys.argv[1]))))
    except (AlreadyUp, StartFailed, PortTaken) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
