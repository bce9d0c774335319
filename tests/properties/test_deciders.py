"""What holds for every decider, whatever it is asked in whatever order."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from events.base import EventId, Metadata
from events.codec import decode, encode
from handlers.base import Command, Context, Decider, Refused
from handlers.deciders import DECIDERS
from handlers.deciders.build import (
    ReportBuildStep,
    ReportWeightsMirrored,
    ReportWeightsMirrorFailed,
    ReportWeightsPinned,
    StartBuild,
)
from handlers.deciders.model import PushDeployment, RetryDeployment
from handlers.deciders.node import ReportWeightsCorrupt, ResumeNode
from handlers.deciders.promotion_commands import StartPromotion
from handlers.deciders.scaling import ScaleByLoad
from handlers.deciders.weights import DiscardWeights
from tests.properties.commands import commands_of

CONTEXT = Context(datetime(2026, 1, 1, tzinfo=UTC))
REPORTS = (
    ReportBuildStep,
    ReportWeightsPinned,
    ReportWeightsMirrored,
    ReportWeightsMirrorFailed,
    ReportWeightsCorrupt,
    ResumeNode,
    DiscardWeights,
)
EACH_TIME_ANEW = (PushDeployment, RetryDeployment, StartBuild, *REPORTS, ScaleByLoad, StartPromotion)
"""Asked again by a new command, these may do it again; the same command id is answered by dispatch."""


def decided(decider: Decider[Any, Any], command: Command, state: Any) -> tuple[Any, ...]:
    try:
        return tuple(decider.decide(command, state, CONTEXT))
    except Refused as refused:
        assert refused.reason and "\n" not in refused.reason, "a refusal says why, in one line"
        return ()


@pytest.mark.parametrize("decider", DECIDERS, ids=lambda decider: decider.category)
@settings(max_examples=50, deadline=None)
@given(chosen=some.data())
def test_what_was_decided_can_be_folded_and_asking_again_changes_nothing(
    decider: Decider[Any, Any], chosen: some.DataObject
) -> None:
    state = decider.initial
    for command in chosen.draw(commands_of(decider)):
        events = decided(decider, command, state)
        before = state
        for event in events:
            state = decider.evolve(state, event)
        if not isinstance(command, EACH_TIME_ANEW):
            assert decided(decider, command, state) == ()
        assert decided(decider, command, before) == events, "deciding changes nothing by itself"


@pytest.mark.parametrize("decider", DECIDERS, ids=lambda decider: decider.category)
@settings(max_examples=25, deadline=None)
@given(chosen=some.data())
def test_what_was_decided_survives_the_wire(decider: Decider[Any, Any], chosen: some.DataObject) -> None:
    state = decider.initial
    for command in chosen.draw(commands_of(decider)):
        for event in decided(decider, command, state):
            state = decider.evolve(state, event)
            meta = Metadata(
                id=EventId("e"),
                command_id=command.id,
                correlation_id=command.correlation_id,
                causation_id=None,
                actor=command.actor,
                at=CONTEXT.now,
            )
            assert decode(encode(event, meta)) == (event, meta)
