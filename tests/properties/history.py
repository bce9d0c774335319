"""Histories that really happened, in the simulator: rich ones, with faults in them."""

from functools import cache

from events.codec import Recorded
from tests.sim.loop import SimLoop, run_simulated
from tests.sim.run import play, quiet
from tests.sim.world import World

STEPS = 50


@cache
def history(seed: int) -> tuple[Recorded, ...]:
    loop = SimLoop(seed)
    world = World(seed, loop)
    with quiet(seed):
        run_simulated(seed, play(world, STEPS), loop)
    return world.log.history()


def decisions(recorded: tuple[Recorded, ...]) -> list[tuple[Recorded, ...]]:
    """The same, one decision after the other."""
    whole: list[tuple[Recorded, ...]] = []
    for each in recorded:
        if each.meta.index:
            whole[-1] = (*whole[-1], each)
        else:
            whole.append((each,))
    return whole
