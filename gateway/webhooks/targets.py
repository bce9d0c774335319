"""Where webhooks may go: not to loopback, private, link-local or other internal addresses, unless a setting says so.

The address itself is checked, when the connection to it is made, so that a name cannot mean one thing when it is
checked and another when it is used.
"""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

Network = IPv4Network | IPv6Network
SETTING = "CAUSEWAY_WEBHOOK_NETWORKS"
LOOKUP_THREADS = 32
NAT64 = ip_network("64:ff9b::/96")
SIX_TO_FOUR = ip_network("2002::/16")
UNICAST = ip_network("2000::/3")
"""All of IPv6 that is given out for use between networks; of the rest, Python calls some global that is not."""
NEVER = (ip_network("192.0.0.0/24"), ip_network("192.88.99.0/24"), ip_network("3fff::/20"))
"""Within what is given out: for protocols, for relays, for documents."""


class TargetRefused(OSError):
    """An address that webhooks may not reach."""


class Targets:
    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        """`allowed`: internal networks that may be reached nevertheless."""
        self._allowed = tuple(allowed)

    def check(self, address: str) -> None:
        """Raises TargetRefused."""
        plain = ip_address(address.partition("%")[0])
        inner = carried(plain)
        if any(
            each.version == network.version and each in network for each in (plain, inner) for network in self._allowed
        ):
            return
        for each in (plain, inner):
            if not public(each):
                raise TargetRefused(f"{address} is an internal address: webhooks reach it only if {SETTING} names it")

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """For aiohttp: the socket to this very address, or none."""
        family, kind, protocol, _, sockaddr = info
        self.check(str(sockaddr[0]))
        return socket.socket(family, kind, protocol)

    async def check_url(self, url: str, lookup: "Lookup") -> None:
        """Raises TargetRefused if the host is known and all its addresses are internal. A later look decides."""
        parts = urlsplit(url)
        try:
            found = await lookup.resolve(parts.hostname or "", parts.port or 443)
        except OSError:
            return
        refusals: list[TargetRefused] = []
        for each in found:
            try:
                self.check(each["host"])
            except TargetRefused as refused:
                refusals.append(refused)
        if refusals and len(refusals) == len(found):
            raise refusals[0]


def public(address: IPv4Address | IPv6Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv6Address) and address not in UNICAST and address not in NAT64:
        return address.ipv4_mapped is not None
    return not any(address.version == each.version and address in each for each in NEVER)


def carried(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, else itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        if address in SIX_TO_FOUR:
            return IPv4Address((int(address) >> 80) & 0xFFFFFFFF)
    return address


class Lookup(AbstractResolver):
    """Names to addresses, on threads of its own: a name server that hangs holds up nothing else of the process."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, "webhook-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        def look_up() -> list[Any]:
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)

        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host, host=sockaddr[0], port=port, family=kin, proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kin, _, protocol, _, sockaddr in found
        ]  # fmt: skip

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
