"""Causes: every event leads back to the person or the signal that began it."""

from events.base import EventId
from events.codec import Recorded, event_type
from projections.base import fold
from tests.histories import two_versions_of_iris
from tests.projections.causality_fold import CAUSALITY, Causality, chain


async def folded() -> tuple[tuple[Recorded, ...], Causality]:
    events = await (await two_versions_of_iris()).read()
    return events, fold(CAUSALITY, events)


def types_of(events: tuple[Recorded, ...], causality: Causality, event_id: EventId) -> list[str]:
    return [event_type(events[link.position - 1].event) for link in chain(causality, event_id)]


def last(events: tuple[Recorded, ...], kind: str) -> EventId:
    return next(each.meta.id for each in reversed(events) if event_type(each.event) == kind)


async def test_a_switch_of_traffic_leads_back_to_the_push_through_the_life_of_its_build() -> None:
    events, causality = await folded()
    assert types_of(events, causality, last(events, "PromotionCompleted")) == [
        "DeploymentPushed",
        "BuildRequested",
        "BuildStarted",
        "BuildStepFinished",
        "BuildSucceeded",
        "PromotionStarted",
        "PromotionCompleted",
    ]


async def test_a_replica_that_a_parked_request_woke_leads_back_to_that_decision() -> None:
    events, causality = await folded()
    ready = last(events, "ReplicaReady")
    assert types_of(events, causality, ready) == [
        "ReplicaTargetRaised",
        "ReplicaAssigned",
        "ReplicaEnvironmentReady",
        "ReplicaProcessStarted",
        "ReplicaReady",
    ]
    assert [link.how for link in chain(causality, ready)] == ["began", "caused by", "after", "after", "after"]


async def test_every_event_leads_back_to_one_that_somebody_outside_began() -> None:
    events, causality = await folded()
    for recorded in events:
        root = chain(causality, recorded.meta.id)[0]
        actor = events[root.position - 1].meta.actor.name
        assert root.how == "began"
        assert actor.startswith(("key:", "agent:")) or actor == "reactor:autoscale"


def test_a_chain_ends_where_the_cause_is_not_in_the_log() -> None:
    assert chain(Causality(), EventId("nobody")) == ()
