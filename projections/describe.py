"""One line that says what an event says, without the ids that stand beside it. Pure."""

from typing import Any

import msgspec

from events.codec import event_type
from events.scaling import Grounds, ReplicaTargetLowered, ReplicaTargetRaised, ScaledToZero
from events.union import AnyEvent, UnknownEvent
from projections.entities import ID_FIELDS

_HIDDEN = frozenset((*ID_FIELDS, "hash", "client", "labels", "team"))
_DIGEST = "sha256:"
VALUE_MAX = 200


def describe(event: AnyEvent | UnknownEvent) -> str:
    match event:
        case UnknownEvent():
            return f"(an event of a newer version) {event.body}"
        case ReplicaTargetRaised() | ReplicaTargetLowered():
            return f"{event.previous} -> {event.target} replicas: {event.rule}{_because(event.grounds)}"
        case ScaledToZero():
            return f"{event.previous} -> 0 replicas: {event.rule}{_because(event.grounds)}"
    fields = (
        (name, getattr(event, name))
        for name in event.__struct_fields__
        if name not in _HIDDEN or not isinstance(getattr(event, name), str)
    )
    return ", ".join(text for name, value in fields if (text := _field(name, value)))


def grounds_of(event: AnyEvent | UnknownEvent) -> dict[str, Any]:
    """What a decision was based on: all inputs of a scale decision, the stated reason of others."""
    if isinstance(event, ReplicaTargetRaised | ReplicaTargetLowered | ScaledToZero):
        grounds: dict[str, Any] = msgspec.to_builtins(event.grounds)
        return {"rule": event.rule, **grounds}
    reason = getattr(event, "reason", None)
    return {} if reason is None else {"reason": reason}


def title(event: AnyEvent | UnknownEvent) -> str:
    """`ReplicaReady` as words: `replica ready`."""
    name = event_type(event)
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def _because(grounds: Grounds) -> str:
    said = [f"{grounds.parked} parked"] if grounds.parked else []
    said += [f"{grounds.in_flight} in flight"] if grounds.in_flight else []
    said += [f"quiet for {grounds.quiet_for_s:.3g} s"] if grounds.quiet_for_s is not None else []
    said += [f"promotion {grounds.promotion_id}"] if grounds.promotion_id is not None else []
    said += [grounds.note] if grounds.note else []
    return f" ({', '.join(said)})" if said else ""


def _field(name: str, value: Any) -> str:
    match value:
        case None | "" | () | False:
            return ""
        case True:
            return name
        case msgspec.Struct():
            return f"{name} ({_changed_fields(value)})" if _changed_fields(value) else ""
        case str() if value.startswith(_DIGEST):
            return ""
        case float():
            return f"{name} {value:.3g}"
        case tuple():
            return f"{name} {_cut(' '.join(str(each) for each in value))}"
        case _:
            return f"{name} {_cut(str(value))}"


def _cut(text: str) -> str:
    return text if len(text) <= VALUE_MAX else text[: VALUE_MAX - 1] + "…"


def _changed_fields(value: msgspec.Struct) -> str:
    pairs = zip(value.__struct_fields__, value.__struct_defaults__, strict=False)
    return ", ".join(f"{name} {getattr(value, name)}" for name, default in pairs if getattr(value, name) != default)


def describe_body(body: dict[str, Any]) -> str:
    """The same line from the event as plain values: what an audit row keeps."""
    try:
        event: AnyEvent | UnknownEvent = msgspec.convert(body, AnyEvent)
    except msgspec.ValidationError:
        event = UnknownEvent(str(body.get("type", "?")), msgspec.json.encode(body).decode())
    return describe(event)
