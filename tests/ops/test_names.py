"""Names that people use, as they change."""

import msgspec
import pytest

from events.base import Actor, CommandId, CorrelationId, DeploymentId, EventId, Metadata, Position, StreamName
from events.codec import Recorded
from events.model import DeploymentDeleted, DeploymentPushed, DeploymentRenamed
from events.union import AnyEvent
from handlers.deciders.model import model_id_of
from ops.names import NAMES, Names, UnknownName, kind_of, resolve, resolve_deployment
from tests.histories import START, history
from tests.reactors.facts import REGISTERED, M, pushed

META = Metadata(
    id=EventId("e"), command_id=CommandId("c"), correlation_id=CorrelationId("c"), causation_id=None,
    actor=Actor("operator", "local shell"), at=START,
)  # fmt: skip


async def test_who_was_renamed_is_found_by_its_new_name_and_by_its_id() -> None:
    async with history() as plane:
        first = await plane.push()
        events = await plane.log.read()
    names = Names()
    for recorded in events:
        NAMES.evolve(names, recorded)
    assert resolve(names, "iris/deployment-1") == first
    renamed = DeploymentRenamed(
        model_id=model_id_of("default", "iris"), deployment_id=DeploymentId(first), name="winter"
    )
    last = events[-1]
    NAMES.evolve(names, type(last)(last.position, last.stream, renamed, last.meta))
    assert resolve(names, "iris/winter") == resolve_deployment(names, "iris") == resolve(names, first) == first
    assert resolve(names, "iris/deployment-1") == first, "it is asked for by the name that it had"
    with pytest.raises(UnknownName, match="iris/winter"):
        resolve_deployment(names, "iris/deployment-1")  # nothing is done to it by that name


def test_of_two_with_one_name_the_later_has_it_and_both_are_known_by_their_ids() -> None:
    names = Names()
    events: tuple[AnyEvent, ...] = (
        REGISTERED,
        named("spring", "aaaa"),
        DeploymentRenamed(model_id=M, deployment_id=DeploymentId("aaaa"), name="winter"),
        named("spring", "bbbb"),
        DeploymentDeleted(model_id=M, deployment_id=DeploymentId("bbbb")),
        named("spring", "cccc"),
    )
    for number, event in enumerate(events, 1):
        NAMES.evolve(names, Recorded(Position(number), StreamName("model", M), event, META))
    assert resolve(names, "iris/spring") == "cccc" and resolve(names, "iris/winter") == "aaaa"
    assert [kind_of(names, each) for each in ("aaaa", "bbbb", "cccc")] == ["deployment"] * 3
    assert resolve_deployment(names, "bbbb") == "bbbb"
    assert (kind_of(names, M), kind_of(names, f"{M}-production")) == ("model", "environment")
    assert kind_of(names, "nobody") is None


def named(name: str, deployment: str) -> DeploymentPushed:
    return msgspec.structs.replace(pushed(deployment), name=name)
