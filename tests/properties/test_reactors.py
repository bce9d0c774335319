"""What holds for every reactor at every moment of a history that really happened."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from events.base import EventId, Metadata, Position, StreamName
from events.codec import Recorded
from handlers.base import Context, Reactor, Refused, called_for
from handlers.deciders import DECIDER_OF
from handlers.decisions import DECISIONS, Aggregate
from handlers.reactors import REACTORS
from projections.base import fold
from tests.properties.history import history
from tests.sim.loop import EPOCH

SEEDS = some.integers(0, 2)


def state_at(reactor: Reactor[Any], past: tuple[Recorded, ...]) -> Any:
    state = reactor.initial(EPOCH)
    for recorded in past:
        state = reactor.evolve(state, recorded)
    return state


@pytest.mark.parametrize("reactor", REACTORS, ids=lambda reactor: reactor.name)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, at=some.floats(0, 1), later_s=some.sampled_from((0.0, 60.0, 4000.0)))
def test_asking_what_is_due_changes_nothing_and_has_one_answer(
    reactor: Reactor[Any], seed: int, at: float, later_s: float
) -> None:
    past = history(seed)[: int(at * len(history(seed)))]
    now = (past[-1].meta.at if past else EPOCH) + timedelta(seconds=later_s)
    state = state_at(reactor, past)
    first, second = tuple(called_for(reactor, state, now)), tuple(called_for(reactor, state, now))
    assert first == tuple(called_for(reactor, state_at(reactor, past), now))
    assert first == second or (reactor.ripe is not None and not second), "unless it notes what it has looked at"
    ids = [due.command.id for due in first]
    assert len(ids) == len(set(ids)), "two commands that are due have two ids"


@pytest.mark.parametrize("reactor", REACTORS, ids=lambda reactor: reactor.name)
@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, at=some.floats(0, 1))
def test_what_is_due_can_be_decided_and_folded_by_all(reactor: Reactor[Any], seed: int, at: float) -> None:
    past = history(seed)[: int(at * len(history(seed)))]
    now = (past[-1].meta.at if past else EPOCH) + timedelta(seconds=60)
    aggregates = fold(DECISIONS, past)
    states = {each.name: state_at(each, past) for each in REACTORS}
    position = len(past)
    for due in called_for(reactor, state_at(reactor, past), now):
        command, decider = due.command, DECIDER_OF[type(due.command)]
        stream = StreamName(decider.category, decider.aggregate_id(command))
        aggregate = aggregates.get(stream) or Aggregate(decider.initial)
        try:
            events = decider.decide(command, aggregate.state, Context(now))
        except Refused:
            continue
        for index, event in enumerate(events):
            position += 1
            meta = Metadata(
                id=EventId(f"{command.id}{index}"),
                command_id=command.id,
                correlation_id=command.correlation_id,
                causation_id=command.causation_id,
                actor=command.actor,
                at=now,
                index=index,
                count=len(events),
            )
            recorded = Recorded(Position(position), stream, event, meta)  # type: ignore[arg-type]
            aggregates = DECISIONS.evolve(aggregates, recorded)
            states = {each.name: each.evolve(states[each.name], recorded) for each in REACTORS}
