"""uvicorn's own HTTP protocol, on a connection that it shares with the data plane.

It gets one whole message at a time, exactly framed, and tells when its answer is complete. The wait for the next
message is not its business then, so its keep-alive timer is stopped.
"""

import re
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from gateway.dataplane.heads import RequestHead

_UPGRADE = re.compile(rb"(?<=\r\n)upgrade:[^\r]*\r\n", re.IGNORECASE)


class ControlSide(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        answered: Callable[[], None],
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._answered = answered

    def send_400_response(self, msg: str) -> None:
        """uvicorn would write it into the middle of an answer, too, where the caller takes it for a part of that."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()
        self._answered()


def for_control(head: RequestHead, raw: bytes, *, closing: bool) -> bytes:
    """The head as uvicorn gets it. `closing`: it tells the caller that the connection ends."""
    if head.value(b"upgrade") is not None:
        # Not served, so ignored (RFC 9110 7.8), as for h2c, which clients try. llhttp would see no body after it.
        raw = _UPGRADE.sub(b"", raw)
    return raw[:-2] + b"connection: close\r\n\r\n" if closing else raw
