"""A promotion as a person asks for it: how many replicas the candidate must have, and by when."""

from events.environment import Cleanup
from gateway.control import pushes
from gateway.control.plane import Plane, Visit
from handlers.deciders.environment import StartPromotion
from handlers.deciders.model import ActivateDeployment
from projections.deployments import Deployment
from projections.environments import Environment


async def promote(plane: Plane, visit: Visit, place: Environment, found: Deployment, scale_down_previous: bool) -> None:
    """A deactivated one is activated first. A development one is refused by the decider, which says what to do."""
    if found.phase == "inactive" and not found.is_development:
        await visit.do(ActivateDeployment, model_id=found.model_id, deployment_id=found.deployment_id)
    current = plane.catalogue.deployments.get(place.current) if place.current is not None else None
    cleanup: Cleanup = "SCALE_TO_ZERO" if scale_down_previous else "KEEP"
    await visit.do(
        StartPromotion,
        model_id=found.model_id,
        environment=place.name,
        deployment_id=found.deployment_id,
        is_development=found.is_development,
        wanted_replicas=max(1, current.count("ready") if current is not None else 0),
        cleanup=cleanup,
        deadline_s=found.deploy_timeout_s or pushes.DEPLOY_TIMEOUT_S,
    )
