"""An event as the world outside reads it: CloudEvents 1.0, JSON format. The same in webhooks and in `/v1/events`."""

from typing import Any

import msgspec

from events.codec import Recorded, event_type
from events.union import UnknownEvent

CONTENT_TYPE = "application/cloudevents+json"
_encoder = msgspec.json.Encoder()


def cloudevent(recorded: Recorded) -> dict[str, Any]:
    """Beside the specified attributes: `position`, `actor`, `correlationid`, `causationid`."""
    event, meta = recorded.event, recorded.meta
    shown = {
        "specversion": "1.0",
        "id": meta.id,
        "source": "causeway",
        "type": event_type(event),
        "subject": str(recorded.stream),
        "time": meta.at.isoformat(),
        "datacontenttype": "application/json",
        "position": recorded.position,
        "actor": meta.actor.name,
        "correlationid": meta.correlation_id,
        "data": msgspec.Raw(event.body.encode() if isinstance(event, UnknownEvent) else _encoder.encode(event)),
    }
    return shown if meta.causation_id is None else {**shown, "causationid": meta.causation_id}


def encoded(recorded: Recorded) -> bytes:
    return _encoder.encode(cloudevent(recorded))
