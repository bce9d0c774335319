"""From targets to replicas on nodes."""

from events.base import DeploymentId, NodeId
from events.model import DeploymentDeleted, DeploymentRetried
from events.node import NodeDraining, NodeLeft
from handlers.deciders.model import FailDeployment
from handlers.deciders.replica import AssignReplica, DrainReplica
from handlers.deciders.scaling import ReportNoCapacity
from handlers.reactors.place_replicas import BACKOFF_S, PLACE_REPLICAS, START_FAILURES
from tests.reactors.after import After
from tests.reactors.facts import (
    REGISTERED,
    M,
    assigned,
    built,
    draining,
    failed,
    lost,
    node,
    node_lost,
    pushed,
    raised,
    ready,
    stopped,
    to_zero,
)

D = DeploymentId("d")
WANTED = (REGISTERED, pushed("d"), built("d"), raised("d"))


def on(story: After) -> list[tuple[str, str]]:
    """What is assigned, and where."""
    return [(each.replica_id, each.node_id) for each in story.due() if isinstance(each, AssignReplica)]


def test_what_lacks_is_assigned_with_all_that_a_node_needs() -> None:
    story = After(PLACE_REPLICAS, node("n1"), *WANTED)
    command = story.the(AssignReplica)
    assert (command.replica_id, command.node_id, command.cpu_millicores) == ("d-1", "n1", 1000)
    assert story.then(assigned("d")).calls_for() == ()


def test_only_what_is_built_is_placed() -> None:
    assert After(PLACE_REPLICAS, node("n1"), REGISTERED, pushed("d"), raised("d")).calls_for() == ()


def test_replicas_spread_over_the_nodes() -> None:
    story = After(PLACE_REPLICAS, node("n1"), node("n2"), *WANTED, raised("d", 2, 1))
    assert {each for _, each in on(story)} == {"n1", "n2"}


def test_several_placed_at_once_do_not_share_one_room() -> None:
    story = After(PLACE_REPLICAS, node("n1", cpu_millicores=2000), *WANTED, raised("d", 3, 1))
    assert [each for each, _ in on(story)] == ["d-1", "d-2"]
    assert "1000 millicores" in story.the(ReportNoCapacity).reason


def test_a_node_that_is_gone_takes_nothing() -> None:
    n1 = NodeId("n1")
    for gone in (node_lost("n1"), NodeLeft(node_id=n1, reason="bye"), NodeDraining(node_id=n1, reason="bye")):
        assert After(PLACE_REPLICAS, node("n1"), *WANTED, gone).calls_for() == (ReportNoCapacity,)


def test_a_node_that_joins_takes_what_had_no_room() -> None:
    story = After(PLACE_REPLICAS, *WANTED)
    assert story.calls_for() == (ReportNoCapacity,)
    assert on(story.then(node("n1"))) == [("d-1", "n1")]


def test_too_many_are_drained_the_youngest_that_is_not_ready_first() -> None:
    story = After(PLACE_REPLICAS, node("n1", cpu_millicores=8000), *WANTED, raised("d", 3, 1))
    story.then(assigned("d", 1), assigned("d", 2), assigned("d", 3), ready("d", 3), ready("d", 1))
    story.then(to_zero("d"), raised("d", 2))
    assert story.the(DrainReplica).replica_id == "d-2"
    assert story.then(draining("d", 2)).calls_for() == ()


def test_one_that_is_leaving_is_replaced_and_its_ordinal_never_used_again() -> None:
    story = After(PLACE_REPLICAS, node("n1", cpu_millicores=8000), *WANTED, assigned("d"), ready("d"), to_zero("d"))
    story.then(draining("d"), raised("d"))
    assert [each for each, _ in on(story)] == ["d-2"]
    assert on(story.then(assigned("d", 2), stopped("d", 1))) == []


def test_what_fails_is_tried_again_after_pauses_that_grow() -> None:
    story = After(PLACE_REPLICAS, node("n1"), *WANTED)
    for attempt in range(1, START_FAILURES):
        story.then(assigned("d", attempt), failed("d", attempt))
        assert story.calls_for() == ()
        assert len(on(story.passes(BACKOFF_S * 2 ** (attempt - 1)))) == 1


def test_a_deployment_whose_first_replicas_all_fail_has_failed_with_the_last_reason() -> None:
    story = After(PLACE_REPLICAS, node("n1"), *WANTED)
    for attempt in range(1, START_FAILURES + 1):
        story.then(assigned("d", attempt), failed("d", attempt))
    assert "load: boom" in story.the(FailDeployment).reason
    story.then(DeploymentRetried(model_id=M, deployment_id=D, attempt=2))
    assert len(on(story.passes(60))) == 1


def test_a_lost_replica_is_replaced_at_once_and_is_no_failure() -> None:
    story = After(PLACE_REPLICAS, node("n1"), node("n2"), *WANTED)
    for attempt in range(1, 2 * START_FAILURES):
        story.then(assigned("d", attempt), lost("d", attempt))
        assert len(on(story)) == 1


def test_a_node_that_holds_more_than_it_offers_is_relieved_of_its_youngest() -> None:
    """The simulator found this: two control processes had placed by slightly different views."""
    story = After(PLACE_REPLICAS, node("n1", cpu_millicores=2000), *WANTED, raised("d", 3, 1))
    story.then(assigned("d", 1), assigned("d", 2), assigned("d", 3), ready("d", 1), ready("d", 2), ready("d", 3))
    assert story.the(DrainReplica).replica_id == "d-3"
    assert story.then(draining("d", 3)).calls_for() == (ReportNoCapacity,)


def test_what_was_deleted_is_drained() -> None:
    story = After(PLACE_REPLICAS, node("n1"), *WANTED, assigned("d"), ready("d"))
    story.then(DeploymentDeleted(model_id=M, deployment_id=D))
    assert story.the(DrainReplica).replica_id == "d-1"
    assert story.then(draining("d"), stopped("d")).calls_for() == ()


DRAINS = NodeDraining(node_id=NodeId("n1"), reason="maintenance")


def test_what_runs_on_a_node_that_drains_is_replaced_first_and_then_drained() -> None:
    story = After(PLACE_REPLICAS, node("n1"), node("n2"), *WANTED, assigned("d"), ready("d"), DRAINS)
    assert on(story) == [("d-2", "n2")] and story.calls_for() == (AssignReplica,)
    assert story.then(assigned("d", 2, on="n2")).calls_for() == ()
    drain = story.then(ready("d", 2)).the(DrainReplica)
    assert (drain.replica_id, drain.reason) == ("d-1", "node n1 drains")
    assert story.then(draining("d"), stopped("d")).calls_for() == ()


def test_a_node_that_drains_keeps_what_has_no_other_place_and_hands_over_one_by_one() -> None:
    story = After(PLACE_REPLICAS, node("n1"), node("n2", cpu_millicores=1000), *WANTED, raised("d", 2, 1))
    story.then(assigned("d", 1), assigned("d", 2), ready("d", 1), ready("d", 2), DRAINS)
    assert story.calls_for() == (AssignReplica, ReportNoCapacity)
    story.then(assigned("d", 3, on="n2"), ready("d", 3))
    assert story.the(DrainReplica).replica_id == "d-1"
    story.then(draining("d", 1), stopped("d", 1))
    assert story.calls_for() == (ReportNoCapacity,), "the other one goes on serving"
    story.then(to_zero("d"))
    assert [each.replica_id for each in story.due() if isinstance(each, DrainReplica)] == ["d-3", "d-2"]


def test_what_is_not_ready_yet_on_a_node_that_drains_goes_at_once() -> None:
    story = After(PLACE_REPLICAS, node("n1"), node("n2"), *WANTED, assigned("d"), DRAINS)
    assert set(story.calls_for()) == {AssignReplica, DrainReplica}


def test_a_node_that_is_back_before_it_has_drained_keeps_what_is_wanted() -> None:
    story = After(PLACE_REPLICAS, node("n1"), node("n2"), *WANTED, assigned("d"), ready("d"), DRAINS)
    story.then(assigned("d", 2, on="n2"), node("n1"))
    assert story.the(DrainReplica).replica_id == "d-2"
