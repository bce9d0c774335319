"""A gateway in memory: the real data plane and uvicorn's real protocol, with h11 as the replica.

One `Stand` serves many cases, one after the other; `settle` ends a case and tells whether anything of it is left.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import uvicorn
from uvicorn.server import ServerState

from events.signals.memory import MemorySignals
from gateway.dataplane.front import http_protocol
from gateway.dataplane.plane import DataPlane
from gateway.dataplane.settings import DataPlaneSettings
from tests.gateway.dataplane.happened import ONE, Happenings, issued, promoted, pushed, ready, registered
from tests.gateway.fuzz.loop import Loop, Pipe
from tests.gateway.fuzz.strict import Request

SETTINGS = DataPlaneSettings(attempts_max=3, load_every_s=5000.0)
JUMPS_MAX = 200


class Stand:
    def __init__(self, loop: Loop, settings: DataPlaneSettings) -> None:
        happenings = Happenings()
        happenings.add(issued(), registered(), pushed(ONE), promoted(ONE), ready("r1", "10.0.0.1:80"))
        self.loop = loop
        self.plane = DataPlane(
            happenings.routing,
            happenings.access,
            MemorySignals(),
            settings,
            worker="w1",
            stale_since=lambda: None,
            status_of=lambda deployment: None,
        )
        config = uvicorn.Config(
            self._control_app,
            http=http_protocol(self.plane),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
        )
        config.load()
        self._protocol: Any = config.http_protocol_class
        self._config = config
        self._state = ServerState()
        self.controlled: list[Request] = []
        """Requests that the control app got; those of `/early` without their bodies."""

    def caller(self) -> Pipe:
        return Pipe(self.loop, self._protocol(config=self._config, server_state=self._state, app_state={}))

    async def _control_app(self, scope: Any, receive: Any, send: Any) -> None:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        request = Request(scope["method"].encode(), scope["raw_path"] + query, scope["headers"], closes=False)
        number = len(self.controlled)
        self.controlled.append(request)
        while scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            request.body += message.get("body", b"")
            if not message.get("more_body"):
                request.whole = True
                break
        headers = [(b"content-length", b"7"), (b"x-controlled", b"%d" % number)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"control"})

    def settle(self, caller: Pipe) -> None:
        """Lets time pass until nothing is left to happen."""
        for _ in range(JUMPS_MAX):
            if not self.loop.next_timer():
                break
        else:
            raise AssertionError("it never comes to rest")
        self.plane.pool.keep(frozenset())
        self.loop.pump()
        plane, state = self.plane, self._state
        left = {
            "connection": caller.ended is None,
            "registered": bool(state.connections),
            "tasks": bool(state.tasks),
            "in flight": bool(plane.loads.in_flight),
            "loads": bool(plane.loads.deployments),
            "parked": bool(plane.parking.count or plane.parking.bytes),
            "resting": bool(plane.resting),
            "idle": bool(plane.pool.idle),
        }
        assert not any(left.values()), f"left behind: {[name for name, there in left.items() if there]}"
        assert not self.loop.failures, self.loop.failures
        plane.loads.avoided.clear()
        self.controlled.clear()


@contextmanager
def stand(**changes: Any) -> Iterator[Stand]:
    with Loop() as loop:
        made = Stand(loop, msgspec.structs.replace(SETTINGS, **changes))
        yield made
