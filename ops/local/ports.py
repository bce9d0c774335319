"""Ports of the local stack: kept across restarts so that addresses stay, picked where they are taken.

Free ports are looked for below the range that the kernel hands to outgoing connections: a port from that
range can be lost to any client while its server restarts, even to a client that is trying to reach it. A
claim is an abstract socket named after the port; it holds as long as the supervisor lives, so two stacks that
start together never pick the same one before either listens.
"""

import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PREFERRED = 8000
LOWEST_PICKED = 10240
BACKLOG = 2048
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortTaken(OSError):
    """The port that was asked for is in use; the message says what to do."""


@dataclass(frozen=True)
class PortChoice:
    """A port and why it is this one."""

    port: int
    why: str


def choose(
    asked: int | None, remembered: int | None, is_free: Callable[[int], bool], candidates: Iterable[int]
) -> PortChoice:
    """The port asked for or none; else the remembered one, else 8000, else the first free candidate."""
    if asked:
        if is_free(asked):
            return PortChoice(asked, "as configured")
        raise PortTaken(
            f"CAUSEWAY_PORT={asked}: that port is in use; stop what listens there, or unset the variable"
            " to have a free port picked"
        )
    if remembered is not None and is_free(remembered):
        return PortChoice(remembered, "as last time")
    if asked is None and remembered != PREFERRED and is_free(PREFERRED):
        lost = f"; {remembered} of the last run is in use" if remembered else ""
        return PortChoice(PREFERRED, f"the default{lost}")
    for port in candidates:
        if is_free(port):
            return PortChoice(port, f"picked, as {_unavailable(asked, remembered)}")
    raise PortTaken("no free TCP port was found; set CAUSEWAY_PORT to one that is")


def _unavailable(asked: int | None, remembered: int | None) -> str:
    if asked == 0 and remembered is None:
        return "CAUSEWAY_PORT=0 asks for any free one"
    taken = dict.fromkeys([remembered, None if asked == 0 else PREFERRED])
    return f"{' and '.join(str(port) for port in taken if port)} cannot be had"


class PortClaims:
    """The ports this process holds against other stacks of the machine, until it ends or `close`."""

    def __init__(self) -> None:
        self._held: dict[int, socket.socket] = {}
        self._listening: list[socket.socket] = []

    def claim(self, port: int, host: str = "127.0.0.1") -> bool:
        """True if nobody listens on the port and no other stack has claimed it."""
        if not 0 < port < 65536 or port in self._held:
            return False
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            mark.bind(f"\0causeway-port-{port}")
        except OSError:
            mark.close()
            return False
        if not is_free(port, host):
            mark.close()
            return False
        self._held[port] = mark
        return True

    def pick(self, remembered: int | None, host: str = "127.0.0.1") -> int:
        """An inner port (no address users see): the remembered one if it can be had, else any."""
        return choose(0, remembered, lambda port: self.claim(port, host), candidates()).port

    def listen(self, port: int, host: str) -> int:
        """The descriptor of a listening socket for children to share. Its queue lives as long as we hold it.

        So a caller who connects while a child is replaced, or dies, waits a moment for the next one and sees no error.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen(BACKLOG)
        except OSError as error:
            listening.close()
            raise PortTaken(f"cannot listen on {host} port {port}: {error.strerror}; set CAUSEWAY_PORT") from error
        self._listening.append(listening)
        return listening.fileno()

    def stop_listening(self) -> None:
        """Nobody waits any longer for children that will not come."""
        for listening in self._listening:
            listening.close()
        self._listening.clear()

    def close(self) -> None:
        """Gives every port back."""
        self.stop_listening()
        for mark in self._held.values():
            mark.close()
        self._held.clear()


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def candidates(count: int = 200) -> list[int]:
    """Ports to try, in random order, none of which the kernel gives to outgoing connections."""
    low, high = _ephemeral()
    usable = range(LOWEST_PICKED, low) if low - LOWEST_PICKED > count else range(high + 1, 65536)
    usable = usable if len(usable) > count else range(LOWEST_PICKED, 65536)
    return random.sample(usable, count)


def _ephemeral() -> tuple[int, int]:
    try:
        low, high = EPHEMERAL_RANGE.read_text().split()
    except (OSError, ValueError):
        return 32768, 60999
    return int(low), int(high)
