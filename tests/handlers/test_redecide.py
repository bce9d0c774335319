"""Deciding again: the same code decides the same; changed code is told where it does not, and by what."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.base import Event, Position
from events.codec import Recorded, event_type
from handlers import redecide as module
from handlers.base import Command, Context, Refused
from handlers.deciders import DECIDER_OF
from handlers.deciders.replica import ReportReady
from handlers.decisions import DECISIONS
from handlers.redecide import Redecided, redecide
from projections.base import fold
from tests.histories import random_history, two_versions_of_iris
from tests.properties.history import decisions, history

choices = st.lists(st.integers(0, 63), max_size=25)


def again(events: tuple[Recorded, ...]) -> Redecided:
    return redecide(decisions(events))


@settings(max_examples=40, deadline=None)
@given(choices)
def test_the_code_that_made_a_history_decides_it_the_same(picks: list[int]) -> None:
    found = again(asyncio.run(random_history(picks)))
    assert found.differences == ()
    assert found.alike + sum(found.not_decided.values()) == found.decisions


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_history_with_faults_is_decided_the_same(seed: int) -> None:
    """In the simulator reactors lag, die and look at old states."""
    found = again(history(seed))
    assert [each for each in found.differences if each.kind != "decided in addition"] == []
    assert found.alike > found.decisions * 0.5


@settings(max_examples=20, deadline=None)
@given(choices, st.integers(0, 10**6))
def test_from_the_middle_deciders_are_asked_and_reactors_are_not(picks: list[int], at: int) -> None:
    whole = decisions(asyncio.run(random_history(picks)))
    begin = at % (len(whole) + 1)
    before = tuple(each for decision in whole[:begin] for each in decision)
    position = before[-1].position if before else Position(0)
    found = redecide(whole[begin:], position, fold(DECISIONS, before))
    assert found.differences == () and found.reactors_asked is (position == 0)


async def test_a_changed_rule_is_told_with_what_it_would_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    events = await (await two_versions_of_iris()).read()
    old = DECIDER_OF[ReportReady]

    def decide(command: Command, state: Any, ctx: Context) -> Sequence[Event]:
        if isinstance(command, ReportReady):
            if command.address.endswith("1"):
                raise Refused("invalid", "an address that ends so")
            return tuple(msgspec.structs.replace(each, seconds=9.0) for each in old.decide(command, state, ctx))
        return old.decide(command, state, ctx)

    new = msgspec.structs.replace(old, decide=decide)
    monkeypatch.setattr(module, "DECIDER_OF", {**DECIDER_OF, **dict.fromkeys(old.commands, new)})
    found = again(events)
    ready = [each.position for each in events if event_type(each.event) == "ReplicaReady"]
    assert [each.position for each in found.differences] == ready
    assert {each.kind for each in found.differences} <= {"refused", "other events"}
    (one, *_) = [each for each in found.differences if each.kind == "other events"]
    assert one.command == "ReportReady" and one.now[0]["seconds"] == 9.0 and one.recorded[0]["seconds"] == 1.5


async def test_what_no_reactor_calls_for_and_what_one_newly_calls_for(monkeypatch: pytest.MonkeyPatch) -> None:
    events = await (await two_versions_of_iris()).read()
    completed = [each for each in events if event_type(each.event) == "PromotionCompleted"][-1]
    without = tuple(each for each in events if each.meta.command_id != completed.meta.command_id)
    missing = redecide(decisions(without))
    added = [each for each in missing.differences if each.kind == "decided in addition"]
    assert any(each.now[0]["type"] == "PromotionCompleted" for each in added)
    too_early = [each for each in events if event_type(each.event) == "ReplicaReady"][1]
    moved = tuple(each for each in events if each.position not in (too_early.position, completed.position))
    early = (*moved[: too_early.position - 1], completed, *moved[too_early.position - 1 :])
    found = again(early)
    assert (completed.position, "not called for") in {(each.position, each.kind) for each in found.differences}
