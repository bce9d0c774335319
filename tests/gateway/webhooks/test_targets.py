"""Internal addresses are out of reach, however they are written, unless they were allowed."""

import socket
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.webhooks.post import Poster
from gateway.webhooks.targets import Lookup, TargetRefused, Targets
from tests.gateway.webhooks.plant import SECRET
from tests.gateway.webhooks.receivers import Receiver, listening
from tests.gateway.webhooks.test_lanes import recorded

INTERNAL = (
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "192.0.2.1", "198.18.0.1",
    "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b:1::a9fe:a9fe", "fec0::1", "3fff::1", "5f00::1", "192.0.0.8",
)  # fmt: skip


@pytest.mark.parametrize("address", INTERNAL)
def test_internal_addresses_are_refused_by_name_of_the_setting(address: str) -> None:
    with pytest.raises(TargetRefused, match="CAUSEWAY_WEBHOOK_NETWORKS"):
        Targets().check(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_reached(address: str) -> None:
    Targets().check(address)


def test_a_network_that_was_allowed_is_reached_and_no_other() -> None:
    targets = Targets([ip_network("10.1.0.0/16"), ip_network("fd00::/8")])
    for address in ("10.1.2.3", "fd00::1", "::ffff:10.1.2.3"):
        targets.check(address)
    for address in ("10.2.0.1", "127.0.0.1", "fe80::1"):
        with pytest.raises(TargetRefused):
            targets.check(address)


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "[::ffff:127.0.0.1]"])
async def test_the_ways_to_write_loopback_all_end_at_its_address(host: str) -> None:
    lookup = Lookup()
    with pytest.raises(TargetRefused):
        await Targets().check_url(f"http://{host}:8080/x", lookup)
    await lookup.close()


async def test_a_name_that_nobody_knows_yet_may_be_registered() -> None:
    lookup = Lookup()
    await Targets().check_url("https://nobody.invalid/hook", lookup)
    await lookup.close()


async def test_a_name_that_means_an_internal_address_later_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when the webhook is added, loopback when the event is sent."""
    answers, real = iter(("8.8.8.8",)), socket.getaddrinfo

    def rebound(host: str, *more: Any, **named: Any) -> Any:
        return real(next(answers, "127.0.0.1") if host == "rebound.example" else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    lookup, targets = Lookup(), Targets()
    async with listening(Receiver()) as receiver, Poster(targets) as post:
        url = receiver.url.replace("127.0.0.1", "rebound.example")
        await targets.check_url(url, lookup)
        answer = await post(url, SECRET, recorded(1, 1), 1, 30.0)
        assert answer.result == "away" and "127.0.0.1 is an internal address" in answer.reason
        assert receiver.seen == []
    await lookup.close()
