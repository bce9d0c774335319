"""Promotions of every way under load, while the control process dies: nobody is refused, a bad candidate goes back."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import msgspec
import pytest

from events.base import DeploymentId
from events.codec import Recorded
from events.environment import (
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionRolledBack,
    PromotionSettings,
    PromotionStepped,
)
from events.model import DeploymentPushed
from events.replica import ReplicaDraining
from events.scaling import ReplicaTargetLowered, ReplicaTargetRaised
from handlers.deciders.environment import SetPromotionSettings
from handlers.deciders.promotion_commands import CancelPromotion, PausePromotion, ResumePromotion, StartPromotion
from tests.sim.loop import SimLoop, run_simulated
from tests.sim.run import quiet
from tests.sim.test_autoscaling import ANSWERED_WITHIN_S, MODEL, PRODUCTION, Autoscalers, moves, one_model, push
from tests.sim.wire import Manner
from tests.sim.world import World

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]
HERE = {"model_id": MODEL, "environment": "production"}
ENDS = (PromotionCompleted, PromotionFailed, PromotionCancelled)
CALLS_PER_S = 5
CALL_S = 1.0
ROLLING = PromotionSettings(rolling_deploy=True, max_surge_percent=34, stabilization_s=2)


async def load(world: World, dice: Random, crashes: bool) -> None:
    """For ever: calls for production, and a control process that dies now and then."""
    crash = Autoscalers()
    while True:
        for _ in range(CALLS_PER_S):
            world.call(PRODUCTION, CALL_S, dice.choice(world.gateways))
        await asyncio.sleep(1.0)
        world.check()
        if crashes and dice.random() < 1 / 15:
            crash(world, dice)


def pushes(world: World) -> list[DeploymentId]:
    return [each.event.deployment_id for each in world.log.history() if isinstance(each.event, DeploymentPushed)]


async def second(world: World) -> DeploymentId:
    """Another version, pushed and not asked for by any environment."""
    world.ask(push(world))
    await happened(world, lambda: len(pushes(world)) > 1)
    return pushes(world)[1]


def promote(world: World, deployment_id: DeploymentId, wanted: int = 3) -> None:
    world.ask(
        StartPromotion(
            **world.identity(),
            **HERE,  # type: ignore[arg-type]
            deployment_id=deployment_id,
            is_development=False,
            wanted_replicas=wanted,
            cleanup=None,
            deadline_s=200,
        )
    )


def events(world: World, *kinds: type) -> list[Recorded]:
    return [each for each in world.log.history() if isinstance(each.event, kinds)]


async def ended(world: World, count: int) -> None:
    """So many promotions, the first one included."""
    await happened(world, lambda: len(events(world, *ENDS)) >= count)


async def happened(world: World, has: Callable[[], bool]) -> None:
    until = world.loop.time() + 900
    while not has():
        await asyncio.sleep(0.5)
        assert world.loop.time() < until, "it does not happen"


Story = Callable[[World], Awaitable[None]]


def told(seed: int, settings: PromotionSettings, story: Story, *, crashes: bool = True) -> World:
    loop = SimLoop(seed)
    world = World(seed, loop)

    async def run() -> None:
        await one_model(world)
        world.ask(SetPromotionSettings(**world.identity(), **HERE, settings=settings))  # type: ignore[arg-type]
        await asyncio.sleep(2.0)
        loading = asyncio.create_task(load(world, world.dice("load"), crashes))
        await asyncio.sleep(70.0)
        await story(world)
        await asyncio.sleep(30.0)
        loading.cancel()
        await asyncio.sleep(ANSWERED_WITHIN_S)
        world.check()

    with quiet():
        try:
            run_simulated(seed, run(), loop)
        except Exception as error:
            raise AssertionError("\n".join([*list(world.story)[-80:], f"seed {seed}: {error}"])) from error
    return world


async def there_and_back(world: World) -> None:
    first, candidate = pushes(world)[0], await second(world)
    promote(world, candidate)
    await ended(world, 2)
    promote(world, first)
    await ended(world, 3)


WAYS = {
    "at once": PromotionSettings(),
    "rolling": ROLLING,
    "unavailable": PromotionSettings(rolling_deploy=True, max_surge_percent=0, max_unavailable_percent=34),
    "ramp": PromotionSettings(ramp_up_while_promoting=True, ramp_up_duration_s=40),
}


@pytest.mark.parametrize("way", WAYS)
def test_there_and_back_again_without_a_refusal_whatever_dies(way: str) -> None:
    for seed in (1, 2):
        world = told(seed, WAYS[way], there_and_back)
        assert {call.ended for call in world.calls} == {"answered"}
        assert [type(each.event) for each in events(world, *ENDS)] == [PromotionCompleted] * 3
        assert way == "at once" or len(events(world, PromotionStepped)) >= 4


def raised_against_a_step(world: World) -> list[Recorded]:
    """By load, while a rolling promotion took replicas away for which nothing but the promotion was the reason."""
    return [
        each
        for each in events(world, ReplicaTargetRaised)
        if isinstance(each.event, ReplicaTargetRaised) and each.event.rule in ("load", "burst")
    ]


async def with_steady_load_for_three(world: World) -> None:
    """The load that the replicas have is what they are there for, and lasts longer than a step."""
    calling = asyncio.create_task(steadily(world, 8, world.dice("steady")))
    await happened(world, lambda: bool(raised_against_a_step(world)))
    await asyncio.sleep(90.0)
    candidate, (*_, last) = await second(world), moves(world)
    assert isinstance(last.event, ReplicaTargetRaised | ReplicaTargetLowered)
    promote(world, candidate, last.event.target)
    before = len(raised_against_a_step(world))
    await happened(world, lambda: any(getattr(each.event, "percent", 0) for each in events(world, PromotionStepped)))
    world.ask(PausePromotion(**world.identity(), **HERE))  # type: ignore[arg-type]
    await asyncio.sleep(60.0)
    assert raised_against_a_step(world)[before:] == [], "paused, each side has what its part of the load needs"
    world.ask(ResumePromotion(**world.identity(), **HERE))  # type: ignore[arg-type]
    await ended(world, 2)
    assert raised_against_a_step(world)[before:] == []
    calling.cancel()


async def steadily(world: World, at_once: int, dice: Random) -> None:
    """Calls that take twelve seconds each, begun evenly."""
    while True:
        world.call(PRODUCTION, 12.0, dice.choice(world.gateways))
        await asyncio.sleep(12.0 / at_once)


@pytest.mark.parametrize("way", ["rolling", "unavailable"])
def test_a_rolling_step_is_not_undone_by_the_load_that_goes_with_it(way: str) -> None:
    settings = msgspec.structs.replace(WAYS[way], stabilization_s=5)
    world = told(1, settings, with_steady_load_for_three, crashes=False)
    assert {call.ended for call in world.calls} == {"answered"}
    assert isinstance(events(world, *ENDS)[-1].event, PromotionCompleted)


async def paused_and_cancelled(world: World) -> None:
    promote(world, await second(world), wanted=4)
    await happened(world, lambda: any(getattr(each.event, "percent", 0) for each in events(world, PromotionStepped)))
    world.ask(PausePromotion(**world.identity(), **HERE))  # type: ignore[arg-type]
    await asyncio.sleep(5.0)
    stood = len(events(world, PromotionStepped))
    await asyncio.sleep(60.0)
    assert len(events(world, PromotionStepped)) == stood
    world.ask(ResumePromotion(**world.identity(), **HERE))  # type: ignore[arg-type]
    await asyncio.sleep(4.0)
    world.ask(CancelPromotion(**world.identity(), **HERE, reason="enough"))  # type: ignore[arg-type]
    await ended(world, 2)


def test_a_rolling_promotion_that_is_paused_resumed_and_cancelled_refuses_nobody() -> None:
    for seed in (1, 2):
        slowly = msgspec.structs.replace(ROLLING, stabilization_s=60)
        world = told(seed, slowly, paused_and_cancelled)
        assert {call.ended for call in world.calls} == {"answered"}
        assert isinstance(events(world, *ENDS)[-1].event, PromotionCancelled)


@pytest.mark.parametrize(
    ("settings", "manner"),
    [
        (PromotionSettings(canary_percent=20, rollback_error_rate_percent=5.0), Manner(status=500)),
        (PromotionSettings(canary_percent=20, rollback_p95_ratio=1.5), Manner(times_as_long=3.0)),
        (msgspec.structs.replace(ROLLING, stabilization_s=60, rollback_error_rate_percent=5.0), Manner(status=503)),
    ],
    ids=["errors", "slow", "errors on the way"],
)
def test_a_candidate_that_answers_worse_goes_back_with_its_figures(settings: PromotionSettings, manner: Manner) -> None:
    async def story(world: World) -> None:
        candidate = await second(world)
        world.manners[candidate] = manner
        promote(world, candidate)
        await ended(world, 2)

    world = told(1, settings, story, crashes=False)
    (back,) = events(world, PromotionRolledBack)
    assert isinstance(back.event, PromotionRolledBack) and back.event.figures is not None
    candidate, current = back.event.figures.candidate, back.event.figures.current
    assert candidate.requests >= 20
    if manner.status >= 500:
        assert candidate.errors * 2 >= candidate.requests and current.errors == 0
    else:
        assert candidate.p95_s is not None and current.p95_s is not None and candidate.p95_s > 1.5 * current.p95_s
    assert isinstance(events(world, *ENDS)[-1].event, PromotionFailed)
    later = [call for call in world.calls if call.routed_at > back.position]
    assert later and {call.ended for call in later} == {"answered"}
    first = pushes(world)[0]
    if not settings.rolling_deploy:
        drained = [each.event for each in events(world, ReplicaDraining)]
        touched = [each for each in drained if isinstance(each, ReplicaDraining) and each.deployment_id == first]
        assert not any(each.reason in ("promotion", "replaced") for each in touched), "the healthy one is not touched"


def test_a_candidate_that_answers_as_well_is_left_alone() -> None:
    settings = PromotionSettings(
        ramp_up_while_promoting=True,
        ramp_up_duration_s=100,
        rollback_error_rate_percent=1.0,
        rollback_p95_ratio=1.5,
    )

    async def story(world: World) -> None:
        promote(world, await second(world))
        await ended(world, 2)

    world = told(1, settings, story, crashes=False)
    assert events(world, PromotionRolledBack) == []
    assert isinstance(events(world, *ENDS)[-1].event, PromotionCompleted)
