"""The access log: sampled, but never without what failed; bounded, and never in the way."""

import asyncio
import threading

import msgspec
import pytest

from gateway.insight import access_log
from gateway.insight.access_log import AccessLog
from tests.gateway.insight.trips import trip


def lines(written: list[bytes]) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in b"".join(written).splitlines()]


async def test_a_line_says_what_a_person_looks_for() -> None:
    written: list[bytes] = []
    log = AccessLog(1.0, written.append)
    log.add(trip(status=502, parked_s=0.5, attempts=3))
    await log.close()
    (line,) = lines(written)
    assert line["request_id"] == "r-1"
    assert line["deployment_id"] == "d1"
    assert line["target"] == "environment production"
    assert (line["status"], line["attempts"], line["parked_s"], line["seconds"]) == (502, 3, 0.5, 0.06)
    assert log.lost == 0


async def test_failures_are_always_in_it_and_others_by_chance() -> None:
    written: list[bytes] = []
    none, some = AccessLog(0.0, written.append), AccessLog(0.3, written.append)
    for _ in range(100):
        none.add(trip())
    none.add(trip(status=503))
    await none.close()
    assert [line["status"] for line in lines(written)] == [503]
    written.clear()
    for _ in range(2000):
        some.add(trip())
    await some.close()
    assert 400 < len(lines(written)) < 800


async def test_a_disk_that_hangs_or_is_full_costs_lines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "EVERY_S", 0.01)
    monkeypatch.setattr(access_log, "LINES_MAX", 10)
    goes_on = threading.Event()
    written: list[bytes] = []

    def hang(text: bytes) -> None:
        goes_on.wait(60)
        if written:
            raise OSError(28, "No space left on device")
        written.append(text)

    log = AccessLog(1.0, hang)
    log.add(trip())
    await asyncio.sleep(0.05)
    for _ in range(25):
        log.add(trip())
    await asyncio.sleep(0.05)
    assert log.lost == 15
    goes_on.set()
    await log.close()
    assert len(lines(written)) == 1
    assert log.lost == 25


async def test_nothing_is_left_running_when_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "EVERY_S", 0.01)
    written: list[bytes] = []
    log = AccessLog(1.0, written.append)
    log.add(trip())
    async with asyncio.timeout(20):
        while not written:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert log._tick is None
    await log.close()
