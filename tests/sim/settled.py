"""After the faults: what is still not as it should be, in words. Nothing left means that the plane has settled.

Desired and actual are compared from the log (folded from zero), the machines and the gateways; a lack of room is a
reason only where it is true.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from agents.builds import BUILDS
from events.base import ORIGIN, ModelId, Position, StreamName
from events.codec import Recorded
from events.environment import EnvironmentConfigured, EnvironmentCreated, PromotionCompleted
from events.scaling import ScalingConfigured
from handlers.base import Context, Refused, called_for
from handlers.deciders import DECIDER_OF
from handlers.decisions import DECISIONS, Aggregate
from handlers.reactors import REACTORS
from projections.base import fold
from projections.deployments import DEPLOYMENTS, Catalogue, Deployment, status
from projections.environments import ENVIRONMENTS, Environments
from projections.fleet import FLEET, Fleet
from tests.sim.checkers.base import Violation
from tests.sim.gateway import in_flight
from tests.sim.loop import SimClock
from tests.sim.world import World

AT_REST = frozenset({"ACTIVE", "SCALED_TO_ZERO", "BUILD_FAILED", "BUILD_STOPPED", "DEPLOY_FAILED", "INACTIVE"})


def unsettled(world: World) -> list[str]:
    history = world.log.history()
    fleet = fold(FLEET, history)
    catalogue = fold(DEPLOYMENTS, history)
    environments = fold(ENVIRONMENTS, history)
    return [
        *(f"call {call.number} for {call.target} has not ended" for call in world.calls if not call.ended),
        *(f"build {build} is open" for build in fold(BUILDS, history).open),
        *_promotions(environments, catalogue),
        *_settings(environments, catalogue, history),
        *(text for each in catalogue.deployments.values() for text in _deployment(each, fleet)),
        *_machines(world, fleet),
        *_parked(world),
        *_asked_for(world, history),
    ]


def _promotions(environments: Environments, catalogue: Catalogue) -> Iterator[str]:
    for model_id, places in environments.models.items():
        for name, place in places.items():
            if place.active is not None:
                yield f"promotion {place.active.promotion_id} to {name} of {model_id} is active"
            current = catalogue.deployments.get(place.current) if place.current is not None else None
            if place.current is not None and current is None:
                yield f"{name} of {model_id} names {place.current}, which does not exist"
        yield from _production(model_id, places, catalogue)


def _settings(environments: Environments, catalogue: Catalogue, history: Sequence[Recorded]) -> Iterator[str]:
    """What serves an environment has its settings, unless a person has set its own since."""
    chosen: dict[object, Position] = {}
    """Where the settings were last said: by environment (or what began to serve it), and by deployment."""
    for recorded in history:
        match recorded.event:
            case EnvironmentCreated() | EnvironmentConfigured() | PromotionCompleted() as event:
                chosen[event.model_id, event.environment] = recorded.position
            case ScalingConfigured() as event:
                chosen[event.deployment_id] = recorded.position
    for place in (each for places in environments.models.values() for each in places.values()):
        current = catalogue.deployments.get(place.current) if place.current is not None else None
        if current is None or place.autoscaling in (None, current.settings):
            continue
        if chosen.get(current.deployment_id, ORIGIN) < chosen[place.model_id, place.name]:
            yield f"{current.deployment_id} does not have the settings of {place.name}"


def _production(model_id: ModelId, places: dict[str, Any], catalogue: Catalogue) -> Iterator[str]:
    """The first published deployment that gets ready becomes production, unless somebody wanted otherwise."""
    production = places["production"]
    if production.current is None and not production.last_result:
        own = (catalogue.deployments[each] for each in catalogue.models[model_id].deployments)
        for each in own:
            if status(each) == "ACTIVE" and not each.is_development:
                yield f"{each.deployment_id} of {model_id} is ACTIVE, and nothing serves production"


def _deployment(deployment: Deployment, fleet: Fleet) -> Iterator[str]:
    known = f"{deployment.deployment_id} ({status(deployment)}: {deployment.reason})"
    live = [each for each in fleet.of(deployment.deployment_id) if not each.draining]
    lacks = deployment.target - len(live)
    room = [
        node.node_id
        for node in fleet.nodes.values()
        if node.status == "up"
        and node.cpu_free >= deployment.cpu_millicores
        and node.memory_free >= deployment.memory_bytes
    ]
    if lacks < 0 or (lacks > 0 and room):
        yield f"{known} has {len(live)} replicas, not {deployment.target}; room on {room}"
    if status(deployment) not in AT_REST and not (lacks > 0 and not room):
        yield f"{known} is not at rest"
    patches, done = deployment.patches, deployment.synced.attempt
    if status(deployment) == "ACTIVE" and done < patches.attempt:
        yield f"{known} has been through sync {done}, not {patches.attempt}"
    for each in fleet.of(deployment.deployment_id):
        if each.phase != "ready" or each.draining:
            yield f"replica {each.replica_id} is {each.phase}" + " and draining" * each.draining


def _machines(world: World, fleet: Fleet) -> Iterator[str]:
    for node in world.nodes:
        known = fleet.nodes.get(node.node_id)
        if node.destroyed:
            if known is not None and known.status in ("up", "draining"):
                yield f"{node.name} is destroyed, and counts as up"
        elif known is None or known.status != "up":
            yield f"{node.name} is {known.status if known else 'unknown'}, and its agent runs"
        for manifest_id in known.prefetches if known is not None and not node.destroyed else ():
            yield f"{node.name} still wishes for {manifest_id[:4]}"
        if known is not None and (known.cpu_used > known.cpu_millicores or known.memory_used > known.memory_bytes):
            yield f"{node.name} holds more than it offers"
        running = {each for each, process in node.effects.processes.items() if not process.exited.done()}
        counted = {each.replica_id for each in fleet.replicas.values() if each.node_id == node.node_id}
        for replica_id in sorted(running - counted):
            yield f"{replica_id} runs on {node.name}, and the log does not know"
        for replica_id in sorted(counted - running):
            yield f"{replica_id} does not run on {node.name}, and the log counts on it"
        for replica_id in sorted(set(node.effects.processes) - counted - running) if not node.destroyed else ():
            yield f"{replica_id} left something on {node.name}"


def _parked(world: World) -> Iterator[str]:
    for gateway in world.gateways:
        if gateway.plane is None:
            yield f"{gateway.name} is not up"
        elif gateway.plane.parking.count or in_flight(gateway.plane) or gateway.callers:
            running = f"{gateway.plane.parking.count} parked, {in_flight(gateway.plane)} at replicas"
            yield f"{gateway.name} has {running}, {len(gateway.callers)} callers"


def _asked_for(world: World, history: Sequence[Recorded]) -> Iterator[str]:
    """A fresh control process would change something at once: its predecessors left work undone."""
    now = SimClock(world.loop).now()
    decisions, done = fold(DECISIONS, history), {each.meta.command_id for each in history}
    for reactor in REACTORS:
        state = reactor.initial(now)
        for recorded in history:
            state = reactor.evolve(state, recorded)
        for due in called_for(reactor, state, now):
            command, decider = due.command, DECIDER_OF[type(due.command)]
            stream = StreamName(decider.category, decider.aggregate_id(command))
            aggregate = decisions.get(stream) or Aggregate(decider.initial)
            try:
                asked = () if command.id in done else decider.decide(command, aggregate.state, Context(now))
            except Refused:
                continue
            if asked:
                yield f"{reactor.name} asks for {command}"


def check_views(world: World) -> None:
    """Each process's views equal the fold from zero at their position. What a reactor heard is not in the log."""
    deaf = {f"reactor {each.name}" for each in REACTORS if each.hear is not type(each).__struct_defaults__[-2]}
    for process in world.processes:
        for view in process.views:
            if view.projection.name in deaf:
                continue
            expected = fold(view.projection, world.log.history(view.position))
            if view.state != expected:
                raise Violation(f"{process.name}'s {view.projection.name} is not the fold up to {view.position}")


def check_acknowledged(world: World) -> None:
    """Whatever somebody was told is recorded is there, at the position that they were told."""
    history = world.log.history()
    for command, outcome in world.acknowledged:
        if outcome.position > len(history):
            raise Violation(f"{command} was acknowledged at {outcome.position}; the log ends at {len(history)}")
        if outcome.events and history[outcome.position - 1].meta.command_id != command.id:
            raise Violation(
                f"{command} was acknowledged at {outcome.position}, where {history[outcome.position - 1]} is"
            )
