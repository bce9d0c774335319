"""The local nats-server: durable, on loopback, and closed to everyone who cannot read the run folder."""

import socket
import stat
from pathlib import Path

import nats

from ops.local.attach import attached
from ops.local.nats_server import NatsAddress, configuration
from tests.ops.stacks import ELSEWHERE, running, settings_for

POSTGRES_ELSEWHERE = {"CAUSEWAY_POSTGRES_URL": ELSEWHERE["CAUSEWAY_POSTGRES_URL"]}


async def test_it_listens_to_this_stack_only(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "with blank", **POSTGRES_ELSEWHERE)
    with running(settings, []):
        url = attached(settings).nats_url
        assert url is not None
        client = await nats.connect(url)
        await client.close()
        assert b"Authorization Violation" in knock(int(url.rpartition(":")[2]))
        kept = [settings.state / "run" / name for name in ("nats.json", "nats.conf", "stack.json")]
        assert [stat.S_IMODE(file.stat().st_mode) for file in kept] == [0o600] * 3
        assert list((settings.state / "nats").iterdir())


def knock(port: int) -> bytes:
    """What the server says to a client that comes without a password."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"CONNECT {}\r\nPING\r\n")
        return b"".join(iter(lambda: connection.recv(4096), b""))


def test_two_stacks_have_ports_and_passwords_of_their_own_and_keep_them(tmp_path: Path) -> None:
    one, two = (settings_for(tmp_path / name, **POSTGRES_ELSEWHERE) for name in ("one", "two"))
    with running(one, []), running(two, []):
        urls = attached(one).nats_url, attached(two).nats_url
        assert urls[0] != urls[1]
    with running(one, []):
        assert attached(one).nats_url == urls[0]


def test_an_acknowledgement_means_on_disk() -> None:
    written = configuration(NatsAddress(port=1, monitor_port=2, password='odd"\\word'), Path("/a b"))
    assert "sync_interval: always" in written
    assert 'password: "odd\\"\\\\word"' in written
