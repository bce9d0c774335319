"""What every load history promises."""

from collections.abc import AsyncIterator

import pytest

from events.base import DeploymentId
from events.signals.jetstream_loads import open_loads
from events.signals.load_history import LoadHistory, LoadRecord, LoadSpan, MemoryLoadHistory
from tests.nats import NatsServer

A, B, AB = DeploymentId("a1"), DeploymentId("b1"), DeploymentId("a2")


@pytest.fixture(params=["memory", "jetstream"])
async def loads(request: pytest.FixtureRequest) -> AsyncIterator[LoadHistory]:
    if request.param == "memory":
        yield MemoryLoadHistory()
        return
    server: NatsServer = request.getfixturevalue("server")
    async with open_loads(server.url) as kept:
        yield kept


def span(at: float, *records: tuple[DeploymentId, float]) -> LoadSpan:
    return LoadSpan(at, tuple(LoadRecord(each, mean, 3, 1, 2) for each, mean in records))


async def test_a_deployment_reads_its_own_spans_in_order_between_two_times(loads: LoadHistory) -> None:
    at = 10.0 * (1_800_000_000 // 10)
    assert await loads.read(A, 0.0, at + 100) == []
    await loads.keep(span(at, (A, 1.5), (B, 7.0), (AB, 9.0)))
    await loads.keep(span(at + 10, (A, 2.5)))
    await loads.keep(span(at + 20, (A, 3.5)))
    found = await loads.read(A, 0.0, at + 10)
    assert [(ended_at - at, record.mean) for ended_at, record in found] == [(0.0, 1.5), (10.0, 2.5)]
    assert [record.mean for _, record in await loads.read(B, 0.0, at + 100)] == [7.0]
    assert [ended_at - at for ended_at, _ in await loads.read(A, 0.0, at + 100)] == [0.0, 10.0, 20.0]
    assert found[0][1] == LoadRecord(A, 1.5, 3, 1, 2)


async def test_the_first_of_two_batches_for_one_moment_stays(loads: LoadHistory) -> None:
    await loads.keep(span(1_800_000_000.0, (A, 1.0)))
    await loads.keep(span(1_800_000_000.0, (A, 2.0)))
    assert [record.mean for _, record in await loads.read(A, 0.0, 2e9)] == [1.0]
