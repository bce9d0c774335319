"""Rules of a node."""

from typing import Any

from events.base import NodeId
from events.node import (
    NodeDraining,
    NodeJoined,
    NodeLeft,
    NodeLost,
    NodeResumed,
    WeightsFoundCorrupt,
    WeightsPrefetched,
    WeightsPrefetchFailed,
    WeightsPrefetchLate,
    WeightsPrefetchRequested,
    WeightsPrefetchWithdrawn,
)
from events.weights import ChunkHash, ManifestId
from handlers.deciders.node import (
    NODE,
    DeclareNodeLost,
    DrainNode,
    JoinNode,
    LeaveNode,
    PrefetchWeights,
    ReportPrefetched,
    ReportPrefetchFailed,
    ReportPrefetchLate,
    ReportWeightsCorrupt,
    ResumeNode,
    WithdrawPrefetch,
)
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


def test_an_agent_that_begins_where_another_ended_without_a_goodbye_is_on_record() -> None:
    resume, resumed = ResumeNode(**ids(), node_id=N, boot_id="b1"), NodeResumed(node_id=N, boot_id="b1")
    given(NODE, JOINED).when(resume).then(resumed)
    given(NODE, JOINED, DRAINING).when(resume).then(resumed)
    given(NODE, JOINED).when(changed(resume, boot_id="b2")).unchanged()
    for gone in (LOST, LEFT):
        given(NODE, JOINED, gone).when(resume).unchanged()
    given(NODE).when(resume).unchanged()


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
    given(NODE).when(DRAIN).refused("not_found", "node_id")
    given(NODE, JOINED, LOST).when(DRAIN).refused("precondition", "node_id")
    given(NODE, JOINED, LEFT).when(DRAIN).refused("precondition", "node_id")


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


WISH: dict[str, Any] = {"node_id": N, "manifest_id": ManifestId("c" * 64)}
SIZES: dict[str, Any] = {"seconds": 1.5, "node_bytes": 1, "peer_bytes": 2, "mirror_bytes": 3}
ASK, ASKED = PrefetchWeights(**ids(), **WISH), WeightsPrefetchRequested(**WISH)
WITHDRAW, WITHDRAWN = WithdrawPrefetch(**ids(), **WISH), WeightsPrefetchWithdrawn(**WISH)
HERE, GOT = ReportPrefetched(**ids(), **WISH, **SIZES), WeightsPrefetched(**WISH, **SIZES)
NEVER = ReportPrefetchFailed(**ids(), **WISH, reason="gone"), WeightsPrefetchFailed(**WISH, reason="gone")
ROOM: dict[str, Any] = {**WISH, "lack": "room", "reason": "full"}
LATE = ReportPrefetchLate(**ids(), **ROOM), WeightsPrefetchLate(**ROOM)


def test_weights_are_wished_for_once_until_the_wish_has_ended() -> None:
    given(NODE, JOINED).when(ASK).then(ASKED)
    given(NODE, JOINED, ASKED).when(ASK).unchanged()
    for ended in (GOT, NEVER[1], WITHDRAWN):
        given(NODE, JOINED, ASKED, ended).when(ASK).then(ASKED)
        for report in (HERE, NEVER[0], LATE[0], WITHDRAW):
            given(NODE, JOINED, ASKED, ended).when(report).unchanged()


def test_only_a_node_that_is_up_takes_a_wish() -> None:
    given(NODE).when(ASK).refused("not_found", "node_id")
    for status in (DRAINING, LOST, LEFT):
        given(NODE, JOINED, status).when(ASK).refused("precondition", "node_id")


def test_a_wish_outlives_the_loss_and_the_restart_of_its_node_and_ends_when_the_node_leaves() -> None:
    given(NODE, JOINED, ASKED, LOST, JOINED).when(ASK).unchanged()
    given(NODE, JOINED, ASKED, LOST, JOINED).when(HERE).then(GOT)
    given(NODE, JOINED, ASKED, LEFT, JOINED).when(HERE).unchanged()
    given(NODE, JOINED, ASKED, LEFT, JOINED).when(ASK).then(ASKED)


def test_what_became_of_a_wish_is_told_and_each_lack_once() -> None:
    given(NODE, JOINED, ASKED).when(HERE).then(GOT)
    given(NODE, JOINED, ASKED).when(NEVER[0]).then(NEVER[1])
    given(NODE, JOINED, ASKED).when(LATE[0]).then(LATE[1])
    given(NODE, JOINED, ASKED, LATE[1]).when(LATE[0]).unchanged()
    mirror = {"lack": "mirror", "reason": "away"}
    given(NODE, JOINED, ASKED, LATE[1]).when(changed(LATE[0], **mirror)).then(changed(LATE[1], **mirror))
    given(NODE, JOINED, ASKED, LATE[1]).when(WITHDRAW).then(WITHDRAWN)
    given(NODE, JOINED, ASKED, WITHDRAWN, ASKED).when(LATE[0]).then(LATE[1])
