"""Hypothesis over the same world: it chooses what people do and what goes wrong, and shortens what fails."""

import asyncio
from contextlib import ExitStack
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.sim.loop import SimLoop, end
from tests.sim.mishaps import MISHAPS
from tests.sim.people import PEOPLE, Act, push
from tests.sim.run import quiet, settle
from tests.sim.settled import check_views
from tests.sim.world import NAMES, World

CHANCE = some.integers(0, 2**20)


def named(table: tuple[tuple[int, Act], ...]) -> some.SearchStrategy[Act]:
    return some.sampled_from([act for _, act in table])


class Plane(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._quiet = ExitStack()
        self._quiet.enter_context(quiet(0))
        self.loop = SimLoop(0)
        asyncio.set_event_loop(self.loop)
        self.world = World(0, self.loop)

    @initialize(name=some.sampled_from(NAMES), chance=CHANCE)
    def begin(self, name: str, chance: int) -> None:
        self.world.start()
        self.pass_time(1.0)
        push(self.world, Random(chance), name)

    @rule(act=named(PEOPLE), chance=CHANCE)
    def people(self, act: Act, chance: int) -> None:
        act(self.world, Random(chance))

    @rule(act=named(MISHAPS), chance=CHANCE)
    def mishap(self, act: Act, chance: int) -> None:
        act(self.world, Random(chance))

    @rule(seconds=some.sampled_from((0.01, 0.1, 1.0, 5.0, 20.0)))
    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule()
    def compare_views(self) -> None:
        check_views(self.world)

    @invariant()
    def nothing_is_broken(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(settle(self.world))
        finally:
            end(self.loop)
            self._quiet.close()


@pytest.mark.sim
@pytest.mark.timeout(900)
def test_whatever_happens_no_invariant_breaks_and_all_settles() -> None:
    chosen = settings(
        max_examples=40,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Plane, settings=chosen)
