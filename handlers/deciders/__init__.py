"""The table of deciders: which one answers a command, and which one folds a category."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from handlers.base import Command, Decider
from handlers.deciders.access import KEY, SECRET, KeyState, SecretState
from handlers.deciders.build import BUILD, BuildState
from handlers.deciders.deliveries import DELIVERIES, DeliveriesState
from handlers.deciders.environment import ENVIRONMENT, EnvironmentState
from handlers.deciders.model import MODEL, ModelState
from handlers.deciders.node import NODE, NodeState
from handlers.deciders.replica import REPLICA, ReplicaState
from handlers.deciders.scaling import SCALING, ScalingState
from handlers.deciders.seal import LOG, LogState
from handlers.deciders.webhook import WEBHOOK, WebhookState
from handlers.deciders.weights import WEIGHTS, WeightsState

DECIDERS: tuple[Decider[Any, Any], ...] = (
    MODEL, BUILD, ENVIRONMENT, SCALING, REPLICA, NODE, KEY, SECRET, WEBHOOK, DELIVERIES, WEIGHTS, LOG,
)  # fmt: skip

DECIDER_OF: Mapping[type[Command], Decider[Any, Any]] = MappingProxyType(
    {command: decider for decider in DECIDERS for command in decider.commands}
)
DECIDER_FOR: Mapping[str, Decider[Any, Any]] = MappingProxyType({d.category: d for d in DECIDERS})

AggregateState = (
    ModelState
    | BuildState
    | EnvironmentState
    | ScalingState
    | ReplicaState
    | NodeState
    | KeyState
    | SecretState
    | WebhookState
    | DeliveriesState
    | WeightsState
    | LogState
)
"""Tagged, so that a snapshot of all aggregates can be read back."""
