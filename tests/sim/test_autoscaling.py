"""Load of every shape against the whole simulated plane, while autoscalers crash, replicas die and nodes are lost.

What must hold at every step is in the checkers (bounds, grounds, staircase) and here: every call gets an answer, steps
down are a whole delay apart, and constant load changes the direction at most once a delay.
"""

import asyncio
import math
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from events.base import BlobDigest, DeploymentId
from events.codec import Recorded
from events.environment import PromotionCompleted
from events.model import DeploymentPushed
from events.scaling import AutoscalingSettings, ReplicaTargetLowered, ReplicaTargetRaised, ScaledToZero
from gateway.addresses import Target
from handlers.deciders.environment import ConfigureEnvironment
from handlers.deciders.model import PushDeployment, model_id_of
from handlers.deciders.scaling import ConfigureScaling
from tests.faults import NONE
from tests.sim.gateway import PARK_DEADLINE_S
from tests.sim.loop import SimLoop, run_simulated
from tests.sim.mishaps import crash_replica, lose_node, second_control
from tests.sim.people import Act
from tests.sim.run import quiet
from tests.sim.world import TEAM, World

pytestmark = pytest.mark.sim
MODEL = model_id_of(TEAM, "iris")
PRODUCTION = Target(MODEL, "environment", "production")
SETTINGS = AutoscalingSettings(
    max_replica=6, autoscaling_window_s=20, scale_down_delay_s=30, concurrency_target=4, target_utilization_percent=70
)
CALL_S = 2.0
ANSWERED_WITHIN_S = 2 * PARK_DEADLINE_S + 30.0
Shape = Callable[[float], float]


def ramp(t: float) -> float:
    return min(16.0, t / 20) if t < 500 else max(0.0, 16 - (t - 500) / 20)


def spike(t: float) -> float:
    return 18.0 if t % 180 < 12 else 1.0


def sawtooth(t: float) -> float:
    return 16.0 * (t % 120) / 120


def rest_and_return(t: float) -> float:
    return 5.0 if t % 160 < 60 else 0.0


def wave(t: float) -> float:
    return 8.0 + 8.0 * math.sin(t / 40)


class Autoscalers:
    """The one autoscaler dies for a while, at times."""

    def __call__(self, world: World, dice: Random) -> None:
        world.spawn(self._crash(world, dice.choice((0.0, 2.0, 9.0))), "crash the autoscaler")

    async def _crash(self, world: World, pause_s: float) -> None:
        world.tell(f"the autoscaler crashes, for {pause_s:g} s")
        await world.control[0].crash()
        await asyncio.sleep(pause_s)
        world.control[0].start()


MISHAPS: tuple[Act, ...] = (Autoscalers(), crash_replica, lose_node, second_control)


async def one_model(world: World) -> None:
    """In production, ready, with SETTINGS; nothing fails by itself."""
    world.scripts.faults = False
    for process in world.processes:
        process.clock.skew_s = 0.0
        process.log.faults = NONE
    world.start()
    await asyncio.sleep(1.0)
    world.ask(push(world))
    while not any(isinstance(each.event, PromotionCompleted) for each in world.log.history()):
        await asyncio.sleep(1.0)
        assert world.loop.time() < 120, "it never became production"
    world.ask(ConfigureEnvironment(**world.identity(), model_id=MODEL, environment="production", autoscaling=SETTINGS))
    world.ask(
        ConfigureScaling(**world.identity(), deployment_id=deployment(world), settings=SETTINGS, source="settings")
    )
    await asyncio.sleep(2.0)


def push(world: World) -> PushDeployment:
    blob = BlobDigest("sha256:" + "a" * 64)
    return PushDeployment(
        **world.identity(),
        model_id=MODEL,
        model_name="iris",
        team=TEAM,
        name=None,
        is_development=False,
        source=blob,
        config=blob,
        raw_config=None,
        environment=None,
        scale_down_previous=True,
        cpu_millicores=500,
        memory_bytes=1 << 30,
        predict_concurrency=4,
        deploy_timeout_s=600,
        labels="{}",
        client="{}",
    )


def deployment(world: World) -> DeploymentId:
    pushes = (each.event for each in world.log.history() if isinstance(each.event, DeploymentPushed))
    return next(pushes).deployment_id


async def offer(world: World, shape: Shape, seconds: int, dice: Random, mishap_every_s: float | None) -> None:
    """So many calls at once as the shape says, each of CALL_S."""
    owed = 0.0
    asked: list[tuple[float, int]] = []
    for second in range(seconds):
        owed += shape(second) / CALL_S
        while owed >= 1:
            owed -= 1
            asked.append((world.loop.time(), len(world.calls)))
            world.call(PRODUCTION, CALL_S, dice.choice(world.gateways))
        if mishap_every_s is not None and dice.random() < 1 / mishap_every_s:
            dice.choice(MISHAPS)(world, dice)
        await asyncio.sleep(1.0)
        world.check()
        overdue = [number for at, number in asked if world.loop.time() - at > ANSWERED_WITHIN_S]
        assert all(world.calls[number].ended for number in overdue), "a call is neither answered nor refused"
        asked = [(at, number) for at, number in asked if not world.calls[number].ended]


def simulate(seed: int, shape: Shape, seconds: int, mishap_every_s: float | None) -> World:
    loop = SimLoop(seed)
    world = World(seed, loop)

    async def run() -> None:
        await one_model(world)
        await offer(world, shape, seconds, world.dice("load"), mishap_every_s)
        await asyncio.sleep(ANSWERED_WITHIN_S)
        world.check()

    with quiet():
        try:
            run_simulated(seed, run(), loop)
        except Exception as error:
            raise AssertionError("\n".join([*list(world.story)[-80:], f"seed {seed}: {error}"])) from error
    return world


def moves(world: World) -> list[Recorded]:
    kinds = (ReplicaTargetRaised, ReplicaTargetLowered, ScaledToZero)
    return [each for each in world.log.history() if isinstance(each.event, kinds)]


def steps_down_are_a_delay_apart(world: World) -> None:
    for one, next_ in pairwise(moves(world)):
        if getattr(next_.event, "rule", "") in ("staircase", "quiet"):
            apart_s = (next_.meta.at - one.meta.at).total_seconds()
            assert apart_s >= SETTINGS.scale_down_delay_s - 0.1, (one, next_)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("shape", [ramp, spike, sawtooth, rest_and_return, wave], ids=lambda shape: shape.__name__)
def test_load_of_any_shape_is_answered_whatever_dies(shape: Shape) -> None:
    for seed in (3, 4):
        world = simulate(seed, shape, 1000, mishap_every_s=45.0)
        ended = {call.ended for call in world.calls}
        assert ended <= {"answered"}, ended
        steps_down_are_a_delay_apart(world)
        assert moves(world)[-1].event.__class__ is ScaledToZero, "what is quiet goes to zero in the end"


@pytest.mark.parametrize("level", [1.0, 5.0, 11.0])
def test_constant_load_changes_direction_at_most_once_a_delay(level: float) -> None:
    world = simulate(3, lambda t: level, 600, mishap_every_s=None)
    ups = [(each.meta.at, isinstance(each.event, ReplicaTargetRaised)) for each in moves(world)]
    turns = [now for (_, before), (now, after) in pairwise(ups) if before != after]
    apart = [(later - earlier).total_seconds() for earlier, later in pairwise(turns)]
    assert all(each >= SETTINGS.scale_down_delay_s for each in apart), ups
    assert all(call.ended == "answered" for call in world.calls)
