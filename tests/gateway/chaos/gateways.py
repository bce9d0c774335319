"""Real gateway processes under the real supervisor, and nothing else of the plane.

The settings come from CAUSEWAY_* as in life; broker and model servers are the test's own.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from ops.config import Settings, load
from ops.local import attach
from ops.local.child import Child
from ops.local.stack import roles, up
from ops.local.stack_file import RoleStatus
from tests.nats import NatsServer

GENEROUS_S = 60.0


def gateways(settings: Settings) -> tuple[Child, ...]:
    return tuple(child for child in roles(settings) if child.role.startswith("gateway"))


@contextmanager
def running(state: Path, server: NatsServer, workers: int, **variables: str) -> Iterator[Settings]:
    given = {
        "PATH": "/usr/bin:/bin",
        "CAUSEWAY_STATE": str(state),
        "CAUSEWAY_PORT": "0",
        "CAUSEWAY_NATS_URL": server.url,
        "CAUSEWAY_NATS_MONITOR_URL": server.monitor_url,
        "CAUSEWAY_POSTGRES_URL": "postgresql://postgres@/postgres?host=/nowhere",
        "CAUSEWAY_GATEWAY_WORKERS": str(workers),
        "CAUSEWAY_RESTART_DELAY_S": "0.1",
    }
    settings = load(given | variables)
    try:
        attach.start_detached(settings, (sys.executable, "-m", "tests.gateway.chaos.gateways"))
        yield settings
    finally:
        attach.down(settings)


def address(settings: Settings) -> tuple[str, int]:
    return "127.0.0.1", attach.attached(settings).port or 0


def pids(settings: Settings) -> dict[str, int]:
    status = attach.status(settings)
    assert status is not None
    return status.pids


def serving(settings: Settings) -> None:
    """Waits until every worker serves: one that was killed comes back when the broker does."""
    _until(settings, lambda role: role.phase == "ready", "a killed gateway process does not come back")


def drained(settings: Settings) -> None:
    """Waits until no process that was replaced is left."""
    _until(settings, lambda role: not role.draining, "a gateway process that was replaced does not end")


def _until(settings: Settings, holds: Callable[[RoleStatus], bool], otherwise: str) -> None:
    until = time.monotonic() + GENEROUS_S
    while time.monotonic() < until:
        status = attach.status(settings)
        assert status is not None
        if all(holds(role) for role in status.roles):
            return
        time.sleep(0.05)
    raise AssertionError(otherwise)


def kill_one(settings: Settings) -> set[int]:
    """Kills a worker that callers are connected to; the ports of those callers.

    A worker is stopped while we look, so that whom we saw is whom the kill hits.
    """
    _, port = address(settings)
    until = time.monotonic() + GENEROUS_S
    while time.monotonic() < until:
        for pid in pids(settings).values():
            process = psutil.Process(pid)
            _stop(process, until)
            if ports := _callers(process, port):
                process.kill()
                return ports
            process.send_signal(signal.SIGCONT)
    raise AssertionError("no worker has a caller's connection")


def _stop(process: psutil.Process, until: float) -> None:
    process.send_signal(signal.SIGSTOP)
    while process.status() != psutil.STATUS_STOPPED and time.monotonic() < until:
        time.sleep(0.005)


def _callers(process: psutil.Process, port: int) -> set[int]:
    connections = [each for each in process.net_connections("tcp") if each.status != psutil.CONN_LISTEN]
    return {int(each.raddr[1]) for each in connections if each.laddr[1] == port}


if __name__ == "__main__":
    asyncio.run(up(load(), tell=print, role_table=gateways))
