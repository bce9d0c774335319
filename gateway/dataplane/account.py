"""What is told of a call: to its caller in the answer's headers, and to metrics, access log and spans at its end."""

from typing import TYPE_CHECKING

from events.base import ReplicaId
from gateway.dataplane.rewrite import Provenance
from gateway.insight.trip import Trip

if TYPE_CHECKING:
    from gateway.dataplane.call import Call


def provenance_of(call: "Call") -> Provenance:
    stay, attempt = call.stay, call.attempt
    return Provenance(
        call.request_id,
        call.deployment_id,
        None if attempt is None else attempt.route.replica.replica_id,
        call.position,
        call.attempts,
        0 if stay is None else round(stay.spent_s * 1000),
        None if stay is None else stay.queue_position,
        call.plane.stale_s(),
        call.ration,
    )


def trip_of(call: "Call", replica_id: ReplicaId | None) -> Trip:
    return Trip(
        call.address.target,
        call.address.verb,
        call.head.method,
        call.request_id,
        call.deployment_id,
        replica_id,
        call.status,
        call.complete,
        call.began,
        call.first_byte,
        call.plane.now(),
        0.0 if call.stay is None else call.stay.spent_s,
        call.attempts,
        call.body.received,
        call.sent_bytes,
        call.trace,
        call.position,
    )
