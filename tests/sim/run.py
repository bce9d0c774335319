"""One run: faults and people for STEPS acts (safety), then no faults until all is settled (liveness)."""

import asyncio
import gc
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import msgspec
import structlog

from tests.sim.alive import prove_alive
from tests.sim.checkers.base import Violation
from tests.sim.loop import SimLoop, run_simulated
from tests.sim.mishaps import MISHAPS
from tests.sim.people import ACTS, Act, let_promotions_go_on, push
from tests.sim.settled import check_acknowledged, check_views, unsettled
from tests.sim.world import NAMES, World

STEPS = 60
BETWEEN_S = 2.5
"""Mean time between two acts."""
SETTLE_S = 420.0
LOOK_S = 7.0
TOLD = 60


class Result(msgspec.Struct):
    seed: int
    steps: int
    acts: str = "all"
    events: int = 0
    virtual_s: float = 0.0
    calls: int = 0
    answered: int = 0
    digest: str = ""
    failure: str = ""
    story: list[str] = []


def run_seed(seed: int, steps: int = STEPS, settle_s: float = SETTLE_S, acts: str = "all") -> Result:
    """Never raises for what the run shows. `acts`: one of ACTS."""
    loop = SimLoop(seed)
    world = World(seed, loop)
    result = Result(seed, steps, acts)
    with quiet(seed):
        try:
            run_simulated(seed, _run(world, steps, settle_s, acts), loop)
        except Exception as error:
            result.failure = f"{type(error).__name__}: {error}"
            result.story = list(world.story)[-TOLD:]
    result.events, result.virtual_s, result.digest = world.position, loop.time(), world.log.digest()
    result.calls = len(world.calls)
    result.answered = sum(1 for call in world.calls if call.ended == "answered")
    return result


async def _run(world: World, steps: int, settle_s: float, acts: str) -> None:
    await play(world, steps, acts)
    await settle(world, settle_s)
    await prove_alive(world)
    await settle(world, settle_s)


async def play(world: World, steps: int, acts: str = "all") -> None:
    """The first phase: people, callers and mishaps."""
    dice = world.dice("acts")
    world.start()
    await asyncio.sleep(1.0)
    for name in NAMES:
        push(world, dice, name)
    for _ in range(steps):
        choose_act(dice, acts)(world, dice)
        await asyncio.sleep(dice.expovariate(1 / BETWEEN_S))
        world.check()
        if dice.random() < 0.03:
            check_views(world)


def choose_act(dice: Random, acts: str = "all") -> Act:
    table = MISHAPS if dice.random() < 0.2 else ACTS[acts]
    return dice.choices([act for _, act in table], [weight for weight, _ in table])[0]


async def settle(world: World, within_s: float = SETTLE_S) -> None:
    """Faults off; raises Violation if something is still not as it should be after `within_s`."""
    world.calm()
    until = world.loop.time() + within_s
    while True:
        await asyncio.sleep(LOOK_S)
        world.check()
        left = unsettled(world)
        if not left:
            break
        let_promotions_go_on(world)
        if world.loop.time() > until:
            raise Violation(f"not settled after {within_s:g} s without faults: " + "; ".join(left[:8]))
    check_views(world)
    check_acknowledged(world)


@contextmanager
def quiet(seed: int = 0) -> Iterator[None]:
    """No log lines, no collector at work in the middle of a run, and the seed's own chance for who uses `random`."""
    before, chance = structlog.get_config(), random.getstate()
    random.seed(seed)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        structlog.configure(**before)
        random.setstate(chance)
