"""Every Log, plain and behind a network that misbehaves. Each test gets an empty one."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from events.log import Log
from events.log.jetstream import JetStreamLog
from events.log.memory import MemoryLog
from ops.config import Settings
from tests.contract.brokers import connect
from tests.faults import ROUGH, FaultyLog
from tests.nats import NatsServer
from tests.ops.stacks import ELSEWHERE, running, settings_for


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path) as running:
        yield running


@pytest.fixture(params=["memory", "memory, rough", "jetstream", "jetstream, rough"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    kind, _, rough = request.param.partition(", ")
    if kind == "memory":
        memory = MemoryLog()
        yield FaultyLog(memory, Random(7), ROUGH) if rough else memory
        return
    server: NatsServer = request.getfixturevalue("server")
    jetstream = await connect(server)
    faulty = FaultyLog(jetstream, Random(7), ROUGH)
    yield faulty if rough else jetstream
    await faulty.settle()
    await jetstream.close()


@pytest.fixture
async def jetstream(server: NatsServer) -> AsyncIterator[JetStreamLog]:
    log = await connect(server)
    yield log
    await log.close()


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    """Of a stack of PostgreSQL alone."""
    with TemporaryDirectory() as folder:
        given = settings_for(Path(folder), CAUSEWAY_NATS_URL=ELSEWHERE["CAUSEWAY_NATS_URL"])
        with running(given, []):
            yield given
