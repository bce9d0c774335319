"""Rules of a node."""

from typing import Any

from events.base import NodeId
from events.node import NodeDraining, NodeJoined, NodeLeft, NodeLost, WeightsFoundCorrupt
from events.weights import ChunkHash
from handlers.deciders.node import NODE, DeclareNodeLost, DrainNode, JoinNode, LeaveNode, ReportWeightsCorrupt
from tests.spec import changed, given, ids

N = NodeId("n")
OFFER: dict[str, Any] = {
    "node_id": N,
    "boot_id": "b1",
    "host": "10.0.0.1",
    "cpu_millicores": 4000,
    "memory_bytes": 8 << 30,
    "isolation": "process",
}
JOIN, JOINED = JoinNode(**ids(), **OFFER), NodeJoined(**OFFER)
LOST, LEFT = NodeLost(node_id=N, silent_for_s=15.0), NodeLeft(node_id=N, reason="bye")
DECLARE = DeclareNodeLost(**ids(), node_id=N, silent_for_s=15.0)
DRAIN, DRAINING = DrainNode(**ids(), node_id=N, reason="bye"), NodeDraining(node_id=N, reason="bye")
LEAVE = LeaveNode(**ids(), node_id=N, reason="bye")


def test_a_node_joins_once() -> None:
    given(NODE).when(JOIN).then(JOINED)
    given(NODE, JOINED).when(JOIN).unchanged()


def test_a_node_that_restarted_or_offers_something_else_joins_again() -> None:
    given(NODE, JOINED).when(changed(JOIN, boot_id="b2")).then(changed(JOINED, boot_id="b2"))
    given(NODE, JOINED).when(changed(JOIN, cpu_millicores=2000)).then(changed(JOINED, cpu_millicores=2000))


def test_a_node_that_was_lost_or_left_may_come_back() -> None:
    given(NODE, JOINED, LOST).when(JOIN).then(JOINED)
    given(NODE, JOINED, LEFT).when(JOIN).then(JOINED)


def test_a_node_must_offer_something() -> None:
    given(NODE).when(changed(JOIN, cpu_millicores=0)).refused("invalid", "cpu_millicores")
    given(NODE).when(changed(JOIN, memory_bytes=0)).refused("invalid")


def test_a_node_drains_before_it_leaves_and_may_change_its_mind() -> None:
    given(NODE, JOINED).when(DRAIN).then(DRAINING)
    given(NODE, JOINED, DRAINING).when(DRAIN).unchanged()
    given(NODE, JOINED, DRAINING).when(LEAVE).then(LEFT)
    given(NODE, JOINED, DRAINING).when(DECLARE).then(LOST)
    given(NODE, JOINED, DRAINING).when(JOIN).then(JOINED)


def test_only_a_node_that_is_up_is_lost_leaves_or_drains() -> None:
    given(NODE, JOINED).when(DECLARE).then(LOST)
    given(NODE, JOINED).when(LEAVE).then(LEFT)
    for history in ((), (JOINED, LOST), (JOINED, LEFT)):
        given(NODE, *history).when(DECLARE).unchanged()
        given(NODE, *history).when(LEAVE).unchanged()
        given(NODE, *history).when(DRAIN).unchanged()


def test_every_find_of_corrupt_weights_is_a_fact_of_a_node_that_is_known() -> None:
    found: dict[str, Any] = {"node_id": N, "chunk": ChunkHash("a" * 64), "tier": "peer", "source": "n-2"}
    report, fact = ReportWeightsCorrupt(**ids(), **found), WeightsFoundCorrupt(**found)
    given(NODE).when(report).refused("not_found", "node_id")
    given(NODE, JOINED).when(report).then(fact)
    given(NODE, JOINED, fact, LOST).when(report).then(fact)
    given(NODE, JOINED, fact).when(JOIN).unchanged()


def test_a_node_that_gives_weights_elsewhere_joins_again() -> None:
    moved = changed(JOIN, weights_address="10.0.0.1:7")
    given(NODE, JOINED).when(moved).then(changed(JOINED, weights_address="10.0.0.1:7"))
