"""Ports: kept where possible, picked where not, and never two stacks on one."""

import socket

import pytest

from ops.local.ports import PortClaims, PortTaken, candidates, choose


def test_the_port_of_the_last_run_comes_first_then_8000_then_any() -> None:
    assert choose(None, 9123, lambda _: True, []).port == 9123
    assert choose(None, None, lambda _: True, []).port == 8000
    taken = {8000, 9123}
    choice = choose(None, 9123, lambda port: port not in taken, [8000, 20001])
    assert (choice.port, choice.why) == (20001, "picked, as 9123 and 8000 cannot be had")
    assert choose(0, None, lambda _: True, [20001]).port == 20001


def test_a_port_that_was_asked_for_is_taken_or_refused_never_replaced() -> None:
    assert choose(8443, 9123, lambda _: True, []).port == 8443
    with pytest.raises(PortTaken, match="CAUSEWAY_PORT=8443: that port is in use"):
        choose(8443, 9123, lambda port: port != 8443, [20001])


def test_a_port_somebody_listens_on_cannot_be_claimed() -> None:
    claims = PortClaims()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not claims.claim(listener.getsockname()[1])
    claims.close()


def test_two_stacks_never_claim_one_port_before_either_listens() -> None:
    one, two = PortClaims(), PortClaims()
    port = one.pick(remembered=None)
    assert not two.claim(port)
    one.close()
    assert two.claim(port)
    two.close()


def test_no_candidate_lies_where_the_kernel_takes_ports_for_outgoing_connections() -> None:
    assert all(10240 <= port < 32768 or port > 60999 for port in candidates())
