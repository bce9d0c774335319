"""What a promotion would do, without doing it: routing, replicas, settings, and whether the nodes have room.

The promotion itself is foretold by the decider that would begin it, so a preview is refused what the act would be.
"""

from typing import Any

from gateway.control import promotion_settings
from gateway.control.plane import Plane, Visit
from gateway.control.promotions import Copy, Wish, copy_needed, foretell
from gateway.control.resources import MIB, Resources
from gateway.control.settings import shown
from gateway.control.shapes import settings_of
from projections.deployments import Deployment
from projections.environments import Environment
from projections.fleet import Fleet

AFTERWARDS = {"KEEP": "as it is", "SCALE_TO_ZERO": "0", "DEACTIVATE": "deactivated"}


def preview(plane: Plane, visit: Visit, place: Environment, found: Deployment, wish: Wish) -> dict[str, Any]:
    """`before` and `after` differ in what would change."""
    started = foretell(plane, visit, place, found, wish)
    copy = copy_needed(plane, place, found, wish)
    previous = plane.catalogue.deployments.get(place.current) if place.current is not None else None
    candidate = found.name if copy is None else f"a copy of {found.name}"
    before = _state(plane, place, previous, found, candidate, copy)
    after = before
    wanted = 0
    if started is not None:
        wanted = started.wanted_replicas
        replicas = {**before["replicas"], candidate: f"{wanted} ready"}
        if previous is not None:
            replicas[previous.name] = AFTERWARDS[started.cleanup]
        own = before["autoscaling_settings"] if place.autoscaling is None else shown(place.autoscaling)
        after = {"routing": {place.name: candidate}, "replicas": replicas, "autoscaling_settings": own}
    has = found.target if copy is None else 0
    return {
        "dry_run": True,
        "deployment_id": found.deployment_id,
        "copy": None if copy is None else copy.reason,
        "before": before,
        "after": after,
        "promotion_settings": None if started is None else promotion_settings.shown(started.settings),
        "deadline_s": None if started is None else started.deadline_s,
        "capacity": _capacity(plane, _size(found, copy), max(0, wanted - has)),
    }


def _state(
    plane: Plane, place: Environment, previous: Deployment | None, found: Deployment, candidate: str, copy: Copy | None
) -> dict[str, Any]:
    replicas = {candidate: f"{found.count('ready') if copy is None else 0} ready"}
    if previous is not None:
        replicas[previous.name] = f"{previous.count('ready')} ready"
    return {
        "routing": {place.name: previous.name if previous is not None else None},
        "replicas": replicas,
        "autoscaling_settings": shown(settings_of(plane, found)),
    }


def _size(found: Deployment, copy: Copy | None) -> Resources:
    return Resources(found.cpu_millicores, found.memory_bytes) if copy is None else copy.resources


def _capacity(plane: Plane, size: Resources, more: int) -> dict[str, Any]:
    return {
        "replicas": more,
        "cpu_millicores": size.cpu_millicores,
        "memory_mib": size.memory_bytes // MIB,
        "room_for": room_for(plane.views.fleet.state, size),
    }


def room_for(fleet: Fleet, size: Resources) -> int:
    """How many more replicas of this size the nodes can take now."""
    up = (node for node in fleet.nodes.values() if node.status == "up")
    return sum(
        max(
            0,
            min(
                node.cpu_free // size.cpu_millicores,
                node.memory_free // size.memory_bytes,
            ),
        )
        for node in up
    )
