"""What clients read, in the shapes of the public specification. Pure: from the views' state to plain values.

Ours beside the specified fields: every deployment carries `reason` and `reason_position`, the event that its status
follows from.
"""

from typing import Any

import msgspec

from events.scaling import AutoscalingSettings
from gateway.control import promotion_settings
from gateway.control.plane import TEAM_NAME, Plane
from gateway.control.resources import DEFAULT_TYPE, InstanceType, type_of
from gateway.control.settings import shown
from projections.deployments import Deployment, Model, status
from projections.environments import PRODUCTION, Environment


def instance_type(deployment: Deployment) -> InstanceType:
    return type_of(deployment.cpu_millicores, deployment.memory_bytes)


def settings_of(plane: Plane, found: Deployment) -> AutoscalingSettings:
    """Those of the environment that it serves, where they were set."""
    places = plane.environments.of(found.model_id)
    name = plane.environments.current_in(found.model_id, found.deployment_id)
    own = places[name].autoscaling if name is not None else None
    return found.settings if own is None else own


def deployment(plane: Plane, found: Deployment) -> dict[str, Any]:
    name = plane.environments.current_in(found.model_id, found.deployment_id)
    production = plane.environments.of(found.model_id).get(PRODUCTION)
    return {
        "id": found.deployment_id,
        "created_at": found.created_at,
        "name": found.name,
        "model_id": found.model_id,
        "is_production": production is not None and production.current == found.deployment_id,
        "is_development": found.is_development,
        "status": status(found),
        "active_replica_count": found.count("ready"),
        "autoscaling_settings": shown(settings_of(plane, found)),
        "instance_type_name": instance_type(found).name,
        "environment": name,
        "labels": msgspec.json.decode(found.labels),
        "reason": found.reason,
        "reason_position": found.reason_position,
    }


def model(plane: Plane, found: Model) -> dict[str, Any]:
    production = plane.environments.of(found.model_id).get(PRODUCTION)
    development = plane.catalogue.development_of(found.model_id)
    newest = plane.catalogue.deployments[found.deployments[-1]] if found.deployments else None
    return {
        "id": found.model_id,
        "created_at": found.created_at,
        "name": found.name,
        "deployments_count": len(found.deployments),
        "production_deployment_id": production.current if production else None,
        "development_deployment_id": development.deployment_id if development else None,
        "instance_type_name": (DEFAULT_TYPE if newest is None else instance_type(newest)).name,
        "team_name": TEAM_NAME,
        "hostname": plane.hostname(found.model_id),
    }


def environment(plane: Plane, found: Environment) -> dict[str, Any]:
    deployments = plane.catalogue.deployments
    current = deployments.get(found.current) if found.current is not None else None
    candidate = deployments.get(found.active.deployment_id) if found.active is not None else None
    settings = found.autoscaling or (current.settings if current else AutoscalingSettings())
    return {
        "name": found.name,
        "created_at": found.created_at,
        "model_id": found.model_id,
        "current_deployment": None if current is None else deployment(plane, current),
        "candidate_deployment": None if candidate is None else deployment(plane, candidate),
        "in_progress_promotion": _promotion(found),
        "autoscaling_settings": shown(settings),
        "request_settings": msgspec.structs.asdict(found.limits),
        "promotion_settings": promotion_settings.shown(found.promotion),
        "instance_type": msgspec.structs.asdict(DEFAULT_TYPE if current is None else instance_type(current)),
        "last_promotion": found.last_result,
    }


def _promotion(found: Environment) -> dict[str, Any] | None:
    """Ours beside the specified fields: how many replicas count, and what they are to become."""
    progress = found.progress
    if progress is None or not progress.active:
        return None
    return {
        "id": progress.started.promotion_id,
        "status": progress.status,
        "percent_traffic_to_new_version": progress.percent,
        "error_message": progress.reason or None,
        "rolling_deploy": progress.started.settings.rolling_deploy,
        "wanted_replicas": progress.started.wanted_replicas,
        "ready_replicas": progress.ready,
        "candidate_replicas": progress.candidate_replicas,
        "current_replicas": progress.current_replicas,
    }
