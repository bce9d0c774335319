"""Once settled: does it still do its work? Production answers, and what went to sleep can be promoted.

Told apart from a lack of room, which is a reason, and from models that are broken for good, which nobody can serve.
"""

import asyncio

from events.base import DeploymentId, ModelId, Position
from events.environment import PromotionCompleted
from events.scaling import CapacityLacking
from gateway.addresses import Target
from handlers.deciders.promotion_commands import StartPromotion
from projections.base import fold
from projections.deployments import DEPLOYMENTS, Catalogue, Deployment, status
from projections.environments import ENVIRONMENTS, Environments
from tests.sim.checkers.base import Violation
from tests.sim.people import let_promotions_go_on
from tests.sim.world import World

WITHIN_S = 150.0
ABLE = ("ACTIVE", "SCALED_TO_ZERO")


async def prove_alive(world: World) -> None:
    """Raises Violation naming what does not work."""
    catalogue, environments = fold(DEPLOYMENTS, world.log.history()), fold(ENVIRONMENTS, world.log.history())
    first_call, began_at = len(world.calls), world.position
    promoted: dict[DeploymentId, ModelId] = {}
    for model_id in world.models:
        current = _current(environments, catalogue, model_id)
        if current is not None and _works(world, current):
            world.call(Target(model_id, "environment", "production"), 0.2, world.gateways[0])
        sleeping = _sleeping(world, catalogue, model_id)
        if sleeping is not None and sleeping is not current:
            promoted[sleeping.deployment_id] = model_id
            _promote(world, sleeping)
    until = world.loop.time() + WITHIN_S
    while left := _left(world, first_call, promoted):
        if world.loop.time() > until:
            break
        await asyncio.sleep(2.0)
        let_promotions_go_on(world)
        world.check()
    if left and not _lacks_room(world, began_at):
        raise Violation(f"not within {WITHIN_S:g} s, though nothing is wrong: {'; '.join(left)}")


def _current(environments: Environments, catalogue: Catalogue, model_id: ModelId) -> Deployment | None:
    production = environments.of(model_id).get("production")
    return catalogue.deployments.get(production.current or DeploymentId("")) if production is not None else None


def _sleeping(world: World, catalogue: Catalogue, model_id: ModelId) -> Deployment | None:
    own = (each for each in catalogue.deployments.values() if each.model_id == model_id and not each.is_development)
    return next((each for each in own if status(each) == "SCALED_TO_ZERO" and _works(world, each)), None)


def _works(world: World, deployment: Deployment) -> bool:
    return status(deployment) in ABLE and not world.scripts.broken("load", deployment.deployment_id, 0.06)


def _promote(world: World, deployment: Deployment) -> None:
    command = StartPromotion(
        **world.identity(),
        model_id=deployment.model_id,
        environment="production",
        deployment_id=deployment.deployment_id,
        is_development=False,
        wanted_replicas=1,
        cleanup="KEEP",
        deadline_s=int(WITHIN_S),
    )
    world.ask(command)


def _left(world: World, first_call: int, promoted: dict[DeploymentId, ModelId]) -> list[str]:
    done = {r.event.deployment_id for r in world.log.history() if isinstance(r.event, PromotionCompleted)}
    calls = (f"call {call.number}: {call.ended} {call.why}" for call in world.calls[first_call:])
    return [
        *(said for call, said in zip(world.calls[first_call:], calls, strict=True) if call.ended != "answered"),
        *(f"{deployment_id} was not promoted" for deployment_id in promoted if deployment_id not in done),
    ]


def _lacks_room(world: World, since: Position) -> bool:
    """Somebody was told so meanwhile, or still is."""
    told = any(isinstance(each.event, CapacityLacking) for each in world.log.history(after=since))
    catalogue = fold(DEPLOYMENTS, world.log.history())
    return told or any(len(each.replicas) < each.target for each in catalogue.deployments.values())
