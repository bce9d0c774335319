"""Who answers on a port: only the process that really listens there counts as the replica."""

import socket
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from agents.effects.ports import Ports, listens, port_of


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_only_the_process_that_listens_is_taken_for_it(family: int, host: str, other: subprocess.Popen[bytes]) -> None:
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        address = f"{host}:{listening.getsockname()[1]}"
        assert not listens(psutil.Process(), address), "bound is not yet listening"
        listening.listen()
        with socket.create_connection((host, port_of(address))):
            assert listens(psutil.Process(), address)
            assert not listens(psutil.Process(other.pid), address)
    assert not listens(psutil.Process(), address)


def test_a_process_that_has_ended_listens_nowhere(other: subprocess.Popen[bytes]) -> None:
    server = psutil.Process(other.pid)
    other.kill()
    other.wait()
    assert not listens(server, "127.0.0.1:1") and not listens(None, "127.0.0.1:1")


def test_a_picked_port_is_free_and_is_not_picked_again_before_it_is_released() -> None:
    ports = Ports("127.0.0.1")
    first = ports.pick()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
    others = {ports.pick() for _ in range(20)}
    assert first not in others and len(others) == 20
