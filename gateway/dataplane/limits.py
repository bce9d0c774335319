"""How long a request may take, and whether its prompt picks its replica: the environment's word, else the gateway's."""

import msgspec

from events.environment import RequestLimits
from gateway.addresses import Target
from projections.routing import RoutingTable


class Limits(msgspec.Struct, frozen=True):
    park_deadline_s: float
    call_deadline_s: float
    idle_timeout_s: float
    total_deadline_s: float | None
    prefix_affinity_bytes: int


def limits_of(table: RoutingTable, target: Target, usual: Limits) -> Limits:
    """Of calls by an environment's name; a deployment called by its id has the usual ones."""
    model = table.models.get(target.model_id)
    if model is None or not model.limits or target.by != "environment":
        return usual
    own = model.limits.get(target.name)
    return usual if own is None else _with(usual, own)


def _with(usual: Limits, own: RequestLimits) -> Limits:
    set_here = {name: value for name in own.__struct_fields__ if (value := getattr(own, name)) is not None}
    return msgspec.structs.replace(usual, **set_here)
