"""The soak, small, in one process with the gateway, so that its tasks, timers and descriptors can be counted."""

import asyncio
import gc
import os
from typing import Any

import msgspec

from events.base import ReplicaId
from events.replica import ReplicaUnready
from tests.gateway.chaos.replica import Model
from tests.gateway.dataplane.happened import ONE, TWO, pushed, ready
from tests.gateway.dataplane.stage import QUICK, staged, until
from tests.gateway.soak.callers import Soaked, soak

ASLEEP = ReplicaUnready(replica_id=ReplicaId("r2"), deployment_id=TWO, reason="asleep")


def running() -> tuple[int, int]:
    """Tasks and timers of the loop, those of whoever asks with them."""
    loop: Any = asyncio.get_running_loop()
    return len(asyncio.all_tasks()), sum(not each.cancelled() for each in loop._scheduled)


async def test_callers_of_all_manners_leave_nothing_behind() -> None:
    Model.name = b"r"
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", 0, backlog=2048)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    descriptors, at_start = len(os.listdir("/proc/self/fd")), list[tuple[int, int]]()
    soaked = Soaked(3000)
    async with staged(msgspec.structs.replace(QUICK, load_every_s=0.02)) as stage:
        await asyncio.sleep(0.05)
        await until(lambda: at_start.append(running()) is None)  # type: ignore[func-returns-value]
        stage.happenings.add(pushed(TWO), ready("r1", address))

        async def release() -> None:
            stage.happenings.add(ready("r2", address, TWO))

        async def sample() -> None:
            stage.happenings.add(ASLEEP)
            assert stage.plane.parking.count <= 10

        await soak(soaked, ("127.0.0.1", stage.port), release, sample)
        assert soaked.wrong == []
        assert soaked.left >= 120
        assert soaked.waited >= 30
        await until(lambda: stage.plane.connections == 0)
        await until(lambda: not stage.plane.loads.deployments)
        counts = stage.plane.counts
        assert counts.answered >= soaked.steady + soaked.waited
        assert counts.left > 0
        assert counts.cut == 0
        assert stage.plane.pool.idle > 0
        stage.happenings.add(msgspec.structs.replace(ASLEEP, replica_id=ReplicaId("r1"), deployment_id=ONE))
        assert stage.plane.pool.idle == 0
        await until(lambda: Model.answering == 0)
        tasks, timers = at_start[0]
        await until(lambda: running() == (tasks, timers + 1))  # The clock of all calls keeps its one timer.
    server.close()
    gc.collect()
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
