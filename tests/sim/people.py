"""What people and callers do to the plane. Each act takes the world and a source of chance, and does not wait."""

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

from events.base import BlobDigest, DeploymentId, KeyId, ModelId, Position, derive
from events.environment import PromotionSettings, RequestLimits
from events.scaling import AutoscalingSettings
from events.weights import ManifestId
from gateway.addresses import By, Target
from handlers.base import Command
from handlers.deciders.access import IssueKey, RemoveSecret, RevokeKey, StoreSecret
from handlers.deciders.environment import (
    ConfigureEnvironment,
    CreateEnvironment,
    DeleteEnvironment,
    RevertEnvironment,
    SetPromotionSettings,
)
from handlers.deciders.model import (
    ActivateDeployment,
    DeactivateDeployment,
    DeleteDeployment,
    DeleteModel,
    PatchDevelopment,
    PushDeployment,
    RetryDeployment,
    SyncDevelopment,
    model_id_of,
)
from handlers.deciders.node import PrefetchWeights, WithdrawPrefetch
from handlers.deciders.promotion_commands import (
    CancelPromotion,
    PausePromotion,
    ResumePromotion,
    RollForward,
    SetCanaryWeight,
    StartPromotion,
)
from handlers.deciders.scaling import ConfigureScaling
from tests.sim.processes import ApiProcess
from tests.sim.world import NAMES, TEAM, World

Act = Callable[[World, Random], None]
ENVIRONMENTS = ("production", "staging")


def push(world: World, dice: Random, name: str | None = None, is_development: bool | None = None) -> None:
    name = name or dice.choice(NAMES)
    identity = world.identity()
    is_development = dice.random() < 0.1 if is_development is None else is_development
    blob = BlobDigest(f"sha256:{derive(identity['id'])}")
    model_id = model_id_of(TEAM, name)
    originals = world.deployments(model_id) if not is_development and dice.random() < 0.2 else ()
    world.ask(
        PushDeployment(
            **identity,
            model_id=model_id,
            model_name=name,
            team=TEAM,
            name=None,
            is_development=is_development,
            source=blob,
            config=blob,
            raw_config=None,
            environment=None if is_development else dice.choice((None, None, "production", "staging")),
            scale_down_previous=dice.random() < 0.7,
            cpu_millicores=dice.choice((500, 1000, 2000)),
            memory_bytes=dice.choice((1 << 30, 2 << 30)),
            predict_concurrency=dice.choice((1, 4)),
            deploy_timeout_s=dice.choice((60, 120)),
            labels="{}",
            client="{}",
            copy_of=dice.choice(originals) if originals else None,
        )
    )


def watch(world: World, dice: Random) -> None:
    """Somebody pushes a development deployment and saves for a while."""
    name = dice.choice(NAMES)
    push(world, dice, name, is_development=True)
    for _ in range(dice.randint(2, 6)):
        world.loop.call_later(dice.uniform(4.0, 40.0), save, world, dice, model_id_of(TEAM, name))


def save(world: World, dice: Random, model_id: ModelId | None = None) -> None:
    """Now and then against a source that the deployment no longer has."""
    seen, model_id = api(world), model_id or dice.choice(world.models)
    if seen is None or model_id not in seen.catalogue.models:
        return
    slot = seen.catalogue.development_of(model_id)
    if slot is None or slot.truss_signature is None:
        return
    identity = world.identity()
    hashes = [slot.truss_hash, *(each.to_hash for each in slot.patches.chain)]
    blob = BlobDigest(f"sha256:{derive(identity['id'])}")
    patch = PatchDevelopment(
        **identity,
        model_id=model_id,
        deployment_id=slot.deployment_id,
        base_hash=slot.truss_hash,
        from_hash=hashes[-1] if dice.random() < 0.9 else dice.choice(hashes),
        to_hash=derive("source", identity["id"]) if dice.random() < 0.9 else dice.choice(hashes),
        patch=blob,
        signature=blob,
        kinds=("model_code",),
    )
    world.ask(patch)
    if dice.random() < 0.9:
        sync = SyncDevelopment(**world.identity(), model_id=model_id, deployment_id=slot.deployment_id)
        world.loop.call_later(dice.choice((0.0, 0.2, 2.0)), world.ask, sync)


def some(world: World, dice: Random) -> tuple[ModelId, DeploymentId] | None:
    model_id = dice.choice(world.models)
    own = world.deployments(model_id)
    return (model_id, dice.choice(own)) if own else None


def api(world: World) -> ApiProcess | None:
    return next((each for each in world.apis if each.open), None)


def settings(dice: Random) -> AutoscalingSettings:
    least, delay_s = dice.choice((0, 0, 1)), dice.choice((5, 20, 60))
    return AutoscalingSettings(min_replica=least, max_replica=dice.choice((1, 2, 3)), scale_down_delay_s=delay_s)


def promote(world: World, dice: Random) -> None:
    seen, chosen = api(world), some(world, dice)
    if seen is None or chosen is None:
        return
    _promote(world, dice, chosen[0], dice.choice(ENVIRONMENTS), chosen[1])


def _promote(world: World, dice: Random, model_id: ModelId, environment: str, deployment_id: DeploymentId) -> None:
    seen = api(world)
    if seen is None:
        return
    known = seen.catalogue.deployments
    here = seen.environments.of(model_id).get(environment)
    current = known.get(here.current) if here is not None and here.current is not None else None
    world.ask(
        StartPromotion(
            **world.identity(),
            model_id=model_id,
            environment=environment,
            deployment_id=deployment_id,
            is_development=deployment_id in known and known[deployment_id].is_development,
            wanted_replicas=max(1, current.target if current is not None else 1),
            cleanup=dice.choice((None, "SCALE_TO_ZERO", "KEEP", "DEACTIVATE")),
            deadline_s=dice.choice((20, 60, 120)),
        )
    )


def cancel(world: World, dice: Random) -> None:
    ids = {**world.identity(), "model_id": dice.choice(world.models), "environment": dice.choice(ENVIRONMENTS)}
    world.ask(CancelPromotion(**ids, reason="changed my mind", force=dice.random() < 0.4))


def steer(world: World, dice: Random) -> None:
    """Pause, resume, weigh or end a promotion that is active, or one that has just ended."""
    seen = api(world)
    if seen is None:
        return
    places = [each for places in seen.environments.models.values() for each in places.values()]
    active = [each for each in places if each.active is not None] or places
    if not active:
        return
    place = dice.choice(active)
    candidate = seen.catalogue.deployments.get(place.active.deployment_id) if place.active is not None else None
    ids: dict[str, Any] = {**world.identity(), "model_id": place.model_id, "environment": place.name}
    choices: tuple[Callable[[], Command], ...] = (
        lambda: PausePromotion(**ids),
        lambda: PausePromotion(**ids),
        lambda: ResumePromotion(**ids),
        lambda: ResumePromotion(**ids),
        lambda: SetCanaryWeight(**ids, percent=dice.choice((0, 5, 30, 80))),
        lambda: CancelPromotion(**ids, reason="changed my mind", force=dice.random() < 0.4),
        lambda: RollForward(**ids, candidate_ready=candidate.count("ready") if candidate is not None else 0),
    )
    world.ask(dice.choice(choices)())


def promotion_settings(world: World, dice: Random) -> None:
    seen, model_id = api(world), dice.choice(world.models)
    if seen is None or model_id not in seen.catalogue.models:
        return
    surge = dice.choice((10, 50, 0))
    settings = PromotionSettings(
        rolling_deploy=dice.random() < 0.7,
        max_surge_percent=surge,
        max_unavailable_percent=0 if surge else 34,
        stabilization_s=dice.choice((0, 0, 5)),
        replica_overhead_percent=dice.choice((0, 0, 50)),
        ramp_up_while_promoting=dice.random() < 0.4,
        ramp_up_duration_s=dice.choice((10, 60)),
        ready_deadline_s=dice.choice((None, 30)),
        rollback_error_rate_percent=dice.choice((None, 5.0)),
        rollback_p95_ratio=dice.choice((None, 3.0)),
        canary_percent=dice.choice((None, None, 20)),
    )
    ids = {**world.identity(), "model_id": model_id, "environment": dice.choice(ENVIRONMENTS)}
    world.ask(SetPromotionSettings(**ids, settings=settings))


def roll_back(world: World, dice: Random) -> None:
    """The one that was current before becomes it again."""
    seen = api(world)
    if seen is None:
        return
    done = [
        each.progress.started
        for places in seen.environments.models.values()
        for each in places.values()
        if each.progress is not None and each.progress.status == "SUCCEEDED" and each.progress.started.previous
    ]
    if done:
        last = dice.choice(done)
        assert last.previous is not None, "only such were chosen"
        _promote(world, dice, last.model_id, last.environment, last.previous)


def revert(world: World, dice: Random) -> None:
    """An environment goes back to a deployment, with the settings that it had then."""
    seen, chosen = api(world), some(world, dice)
    if seen is None or chosen is None:
        return
    model_id, deployment_id = chosen
    known = seen.catalogue.deployments.get(deployment_id)
    if known is None or known.is_development:  # It was never current.
        return
    world.ask(
        RevertEnvironment(
            **world.identity(),
            model_id=model_id,
            environment=dice.choice(ENVIRONMENTS),
            to_position=Position(1),
            deployment_id=deployment_id,
            autoscaling=settings(dice),
            promotion=dice.choice((PromotionSettings(), PromotionSettings(rolling_deploy=True))),
            limits=RequestLimits(park_deadline_s=dice.choice((None, 30))),
            wanted_replicas=dice.choice((1, 2)),
            deadline_s=60,
        )
    )


def let_promotions_go_on(world: World) -> None:
    """What somebody has paused, or a canary, waits for somebody."""
    seen = api(world)
    for places in seen.environments.models.values() if seen is not None else ():
        for place in places.values():
            if place.progress is not None and place.progress.status == "PAUSED":
                world.ask(ResumePromotion(**world.identity(), model_id=place.model_id, environment=place.name))


def change_deployment(world: World, dice: Random) -> None:
    chosen = some(world, dice)
    if chosen is not None:
        world.ask(_change(world, dice, *chosen))


def _change(world: World, dice: Random, model_id: ModelId, deployment_id: DeploymentId) -> Command:
    ids = {**world.identity(), "model_id": model_id, "deployment_id": deployment_id}
    seen = api(world)
    serves = seen.environments.served_by(model_id, deployment_id) if seen is not None else None
    choices: tuple[Callable[[], Command], ...] = (
        lambda: DeactivateDeployment(**ids, reason="not needed"),
        lambda: DeactivateDeployment(**ids, reason="not needed"),
        lambda: ActivateDeployment(**ids),
        lambda: ActivateDeployment(**ids),
        lambda: RetryDeployment(**ids),
        lambda: DeleteDeployment(**ids, serves=serves),
    )
    return dice.choice(choices)()


def configure(world: World, dice: Random) -> None:
    chosen = some(world, dice)
    if chosen is not None:
        world.ask(
            ConfigureScaling(**world.identity(), deployment_id=chosen[1], settings=settings(dice), source="settings")
        )


def change_environment(world: World, dice: Random) -> None:
    seen, model_id = api(world), dice.choice(world.models)
    if seen is None or model_id not in seen.catalogue.models:
        return
    ids = {**world.identity(), "model_id": model_id}
    chance = dice.random()
    if chance < 0.45:
        world.ask(CreateEnvironment(**ids, environment="staging", autoscaling=settings(dice)))
    elif chance < 0.85:
        world.ask(ConfigureEnvironment(**ids, environment=dice.choice(ENVIRONMENTS), autoscaling=settings(dice)))
    else:
        world.ask(DeleteEnvironment(**ids, environment="staging"))


def change_mind(world: World, dice: Random) -> None:
    """A push or a promotion, and soon after something that contradicts it."""
    first, second = dice.choice(
        ((push, change_deployment), (promote, cancel), (push, cancel), (promote, promote), (promote, steer))
    )
    first(world, dice)
    world.loop.call_later(dice.choice((0.1, 1.0, 4.0, 8.0)), second, world, dice)


def keys_and_secrets(world: World, dice: Random) -> None:
    key_id, name = KeyId(dice.choice(("k1", "k2"))), dice.choice(("hf", "aws"))
    choices: tuple[Callable[[], Command], ...] = (
        lambda: IssueKey(**world.identity(), key_id=key_id, name="ada", hash="0" * 64, scopes=("invoke",)),
        lambda: RevokeKey(**world.identity(), key_id=key_id),
        lambda: StoreSecret(**world.identity(), name=name, version=f"v{dice.randint(1, 3)}"),
        lambda: RemoveSecret(**world.identity(), name=name),
    )
    world.ask(dice.choice(choices)())


def delete_model(world: World, dice: Random) -> None:
    world.ask(DeleteModel(**world.identity(), model_id=dice.choice(world.models)))


def call(world: World, dice: Random) -> None:
    model_id, target = dice.choice(world.models), None
    own = world.deployments(model_id)
    if own and dice.random() < 0.2:
        target = Target(model_id, "deployment", dice.choice(own))
    else:
        by: By = "environment"
        target = Target(model_id, by, "production" if dice.random() < 0.8 else "staging")
    for _ in range(dice.choice((1, 1, 2, 5))):
        world.call(target, dice.choice((0.05, 0.5, 3.0, 12.0)), dice.choice(world.gateways))


def wake(world: World, dice: Random) -> None:
    chosen = some(world, dice)
    if chosen is not None:
        dice.choice(world.gateways).wake(Target(chosen[0], "deployment", chosen[1]))


def prefetch(world: World, dice: Random) -> None:
    """Somebody wants weights on a node, and perhaps not any more; the node may find that it cannot have them yet."""
    node, manifest_id = dice.choice(world.nodes), ManifestId(dice.choice("ab") * 64)
    if dice.random() < 0.3:
        world.ask(WithdrawPrefetch(**world.identity(), node_id=node.node_id, manifest_id=manifest_id))
        return
    node.effects.prefetch_s = dice.uniform(0.1, 20.0)
    node.effects.prefetch_lack = [dice.choice(("mirror", "room", "missing")) for _ in range(dice.randrange(3))]
    world.ask(PrefetchWeights(**world.identity(), node_id=node.node_id, manifest_id=manifest_id))


def storm(world: World, dice: Random) -> None:
    """Two processes, many commands, one aggregate."""
    chosen = some(world, dice)
    if chosen is None:
        return
    for number in range(dice.randint(4, 8)):
        world.ask(_change(world, dice, *chosen), world.apis[number % len(world.apis)])


def twice(world: World, dice: Random) -> None:
    """The same command through two processes at once."""
    chosen = some(world, dice)
    if chosen is not None:
        world.ask(_change(world, dice, *chosen), *world.apis)


PEOPLE: tuple[tuple[int, Act], ...] = (
    (14, push),
    (6, watch),
    (3, save),
    (10, promote),
    (3, cancel),
    (7, steer),
    (4, promotion_settings),
    (2, roll_back),
    (2, revert),
    (9, change_deployment),
    (6, configure),
    (5, change_environment),
    (1, delete_model),
    (6, change_mind),
    (2, keys_and_secrets),
    (22, call),
    (3, wake),
    (3, prefetch),
    (2, storm),
    (3, twice),
)
"""With their weights."""
PROMOTERS: tuple[tuple[int, Act], ...] = (
    (8, push),
    (16, promote),
    (5, cancel),
    (16, steer),
    (8, promotion_settings),
    (8, roll_back),
    (5, revert),
    (4, change_environment),
    (3, configure),
    (3, change_deployment),
    (6, change_mind),
    (18, call),
)
"""People who promote, steer and roll back most of the time."""
ACTS: Mapping[str, tuple[tuple[int, Act], ...]] = MappingProxyType({"all": PEOPLE, "promotions": PROMOTERS})
