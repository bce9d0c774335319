"""Silence and what it means."""

from datetime import UTC, datetime

from events.base import NodeId
from events.signals import Heartbeat, Resumed
from handlers.deciders.node import DeclareNodeLost
from handlers.deciders.replica import DeclareReplicaLost
from handlers.reactors.detect_lost import DETECT_LOST, GRACE_S
from tests.reactors.after import After
from tests.reactors.facts import assigned, lost, node, node_lost, ready

ANY = datetime(2000, 1, 1, tzinfo=UTC)


def beat(name: str) -> Heartbeat:
    return Heartbeat(node_id=NodeId(name), boot_id="b1", at=ANY)


def test_a_node_that_falls_silent_is_lost_after_the_grace_period() -> None:
    story = After(DETECT_LOST, node("n1")).hears(beat("n1"))
    assert story.passes(GRACE_S - 1).calls_for() == ()
    assert story.passes(1).the(DeclareNodeLost).node_id == "n1"


def test_each_heartbeat_begins_the_grace_period_anew() -> None:
    story = After(DETECT_LOST, node("n1")).hears(beat("n1"))
    for _ in range(5):
        assert story.passes(GRACE_S - 1).hears(beat("n1")).calls_for() == ()


def test_after_an_interruption_of_the_channel_everybody_has_a_grace_period_again() -> None:
    story = After(DETECT_LOST, node("n1")).hears(beat("n1")).passes(GRACE_S)
    assert story.hears(Resumed(at=ANY)).calls_for() == ()
    assert story.passes(GRACE_S).calls_for() == (DeclareNodeLost,)


def test_a_node_whose_clock_is_wrong_is_not_lost_for_it() -> None:
    """The simulator found this: it was lost and joined again fifty times a second."""
    story = After(DETECT_LOST, node("n1")).hears(beat("n1"))
    story.passes(GRACE_S).then(node_lost("n1")).then(node("n1"), clock_s=-3600)
    assert story.calls_for() == ()
    assert story.hears(beat("n1")).passes(GRACE_S - 1).calls_for() == ()


def test_where_nothing_is_heard_from_anybody_nobody_new_is_called_lost() -> None:
    story = After(DETECT_LOST, node("n1"))
    assert story.passes(10 * GRACE_S).calls_for() == ()
    assert story.hears(beat("other")).passes(GRACE_S).calls_for() == (DeclareNodeLost,)


def test_the_replicas_of_a_lost_node_are_lost_and_no_others() -> None:
    story = After(DETECT_LOST, node("n1"), node("n2"), assigned("d"), ready("d"), assigned("e", on="n2"), ready("e"))
    story.then(node_lost("n1"))
    assert story.the(DeclareReplicaLost).replica_id == "d-1"
    assert story.then(lost("d")).calls_for() == ()


def test_a_machine_that_restarted_lost_what_it_ran_before() -> None:
    story = After(DETECT_LOST, node("n1"), assigned("d"), ready("d"), node("n1", boot="b2"), assigned("d", 2))
    assert story.the(DeclareReplicaLost).replica_id == "d-1"


def test_an_agent_that_restarted_on_the_same_boot_lost_nothing() -> None:
    story = After(DETECT_LOST, node("n1"), assigned("d"), ready("d"), node("n1", cpu_millicores=1000))
    assert story.calls_for() == ()


def test_a_replica_that_a_late_scheduler_put_on_a_lost_node_is_lost_too() -> None:
    """The simulator found this: it was waited for, for ever."""
    story = After(DETECT_LOST, node("n1"), node_lost("n1"), assigned("d"))
    assert story.the(DeclareReplicaLost).replica_id == "d-1"
    assert story.then(lost("d"), assigned("d", 2)).the(DeclareReplicaLost).replica_id == "d-2"
    assert story.then(lost("d", 2), node("n1"), assigned("d", 3)).calls_for() == ()
