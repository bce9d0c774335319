"""What holds for every fold: how the log arrives makes no difference, nor where a process went on from a snapshot."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from agents.builds import BUILDS
from handlers.decisions import DECISIONS
from ops.names import NAMES
from ops.replay import LOOKED_BACK_AT
from projections.base import Projection, fold
from projections.cold_starts import COLD_STARTS
from projections.seals import SEALS
from projections.stores.unread import read_state, stored
from projections.view import View
from projections.webhooks import TURN
from projections.weights import WEIGHTS
from tests.properties.history import decisions, history
from tests.sim.checkers.snapshots import FOLDS

EVERY: tuple[Projection[Any], ...] = (*FOLDS, BUILDS, COLD_STARTS, DECISIONS, NAMES, SEALS, TURN, WEIGHTS)
SEEDS = some.integers(0, 2)


def batches(seed: int, cuts: list[float]) -> list[tuple[Any, ...]]:
    whole = decisions(history(seed))
    marks = sorted({0, len(whole), *(int(cut * len(whole)) for cut in cuts)})
    return [tuple(each for decision in whole[a:b] for each in decision) for a, b in pairwise(marks)]


@pytest.mark.parametrize("projection", EVERY, ids=lambda projection: projection.name)
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, cuts=some.lists(some.floats(0, 1), max_size=12), again=some.booleans())
def test_a_view_does_not_depend_on_batch_boundaries_or_on_what_comes_twice(
    projection: Projection[Any], seed: int, cuts: list[float], again: bool
) -> None:
    view = View(projection)
    for batch in batches(seed, cuts):
        view.fold(batch)
        if again:
            view.fold(batch)
    assert view.state == fold(projection, history(seed))
    assert view.position == history(seed)[-1].position


@pytest.mark.parametrize("projection", EVERY, ids=lambda projection: projection.name)
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, at=some.floats(0, 1))
def test_going_on_from_a_snapshot_gives_the_same(projection: Projection[Any], seed: int, at: float) -> None:
    view = View(projection)
    for batch in batches(seed, [at]):
        view.fold(batch)
        content = msgspec.msgpack.encode(view.state)
        view.restore(msgspec.msgpack.decode(content, type=projection.state_type), view.position)
    assert view.state == fold(projection, history(seed))


@pytest.mark.parametrize("projection", LOOKED_BACK_AT, ids=lambda projection: projection.name)
@settings(max_examples=12, deadline=None)
@given(seed=SEEDS, at=some.floats(0, 1))
def test_going_on_from_one_that_is_read_as_far_as_the_fold_asks_gives_the_same(
    projection: Projection[Any], seed: int, at: float
) -> None:
    view = View(projection)
    for batch in batches(seed, [at]):
        content = msgspec.msgpack.encode(view.state, enc_hook=stored)
        view.restore(read_state(projection.state_type, content), view.position)
        view.fold(batch)
    content = msgspec.msgpack.encode(view.state, enc_hook=stored)
    assert msgspec.msgpack.decode(content, type=projection.state_type) == fold(projection, history(seed))
