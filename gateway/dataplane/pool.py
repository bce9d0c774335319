"""The pool of connections to replicas: idle ones are used again, new ones are dialled a few at a time.

Whoever waits for a connection to a replica is served in order. A replica that leaves the table gets no request that
has not been sent to it yet.
"""

import asyncio
from collections import deque
from collections.abc import Set

import msgspec

from gateway.dataplane.upstream import Exchange, Upstream
from projections.routing import ReplicaRoute

DIALS_MAX = 32


class _Line(msgspec.Struct, eq=False):
    """One replica's connections and those who wait for one."""

    replica: ReplicaRoute
    live: bool = True
    idle: list[Upstream] = []
    waiting: deque[Exchange] = msgspec.field(default_factory=deque)
    dials: int = 0

    @property
    def empty(self) -> bool:
        return not self.idle and not self.waiting and not self.dials


class Pool:
    def __init__(self, *, connect_timeout_s: float, idle_s: float) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._idle_s = idle_s
        self._lines: dict[ReplicaRoute, _Line] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time

    def acquire(self, replica: ReplicaRoute, exchange: Exchange, fresh: bool) -> None:
        """`exchange.connected` or `connect_failed` follows, maybe at once. `fresh`: not one that has been idle."""
        line = self._lines.get(replica)
        if line is None:
            line = self._lines[replica] = _Line(replica)
        idle, oldest = line.idle, self._now() - self._idle_s
        while idle and not fresh:
            connection = idle.pop()
            if connection.stirred_at >= oldest and not connection.transport.is_closing():
                exchange.connected(connection)
                return
            connection.close()
        line.waiting.append(exchange)
        self._dial(line)

    def forget(self, replica: ReplicaRoute, exchange: Exchange) -> None:
        """It needs no connection any longer."""
        line = self._lines.get(replica)
        if line is not None and exchange in line.waiting:
            line.waiting.remove(exchange)

    def release(self, connection: Upstream, reusable: bool) -> None:
        line = self._lines.get(connection.replica)
        if not reusable or line is None or not line.live or connection.transport.is_closing():
            connection.close()
        elif line.waiting:
            line.waiting.popleft().connected(connection)
        else:
            connection.rest()
            line.idle.append(connection)

    def keep(self, live: Set[ReplicaRoute]) -> None:
        """After a change of the table."""
        for replica, line in list(self._lines.items()):
            line.live = replica in live
            if line.live:
                continue
            while line.idle:
                line.idle.pop().close()
            while line.waiting:
                line.waiting.popleft().replica_gone()
            if line.empty:
                del self._lines[replica]

    @property
    def idle(self) -> int:
        return sum(len(line.idle) for line in self._lines.values())

    async def close(self) -> None:
        self.keep(frozenset())
        for task in tuple(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)

    def _dial(self, line: _Line) -> None:
        while line.dials < min(DIALS_MAX, len(line.waiting)):
            line.dials += 1
            task = self._loop.create_task(self._connect(line))
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)

    async def _connect(self, line: _Line) -> None:
        host, _, port = line.replica.address.rpartition(":")
        failure, connection = "", None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await self._loop.create_connection(
                    lambda: Upstream(line.replica, self._lost, self._now), host.strip("[]"), int(port)
                )
        except TimeoutError:
            failure = f"no connection within {self._connect_timeout_s:g} s"
        except (OSError, ValueError) as error:
            failure = getattr(error, "strerror", None) or str(error)
        finally:
            line.dials -= 1
        if connection is not None:
            self.release(connection, reusable=True)
        elif line.waiting:
            line.waiting.popleft().connect_failed(failure)
        self._dial(line)
        if not line.live and line.empty:
            self._lines.pop(line.replica, None)

    def _lost(self, connection: Upstream) -> None:
        line = self._lines.get(connection.replica)
        if line is not None and connection in line.idle:
            line.idle.remove(connection)
