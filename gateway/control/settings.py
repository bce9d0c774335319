"""Autoscaling settings as the public API names them, and as events do. `burst` and `schedule` are our own."""

from collections.abc import Mapping
from typing import Any

import msgspec

from events.environment import RequestLimits
from events.scaling import AutoscalingSettings, ScheduledMinimum
from gateway.control.errors import invalid

_NUMBERS = {
    "min_replica": "min_replica",
    "max_replica": "max_replica",
    "autoscaling_window": "autoscaling_window_s",
    "scale_down_delay": "scale_down_delay_s",
    "concurrency_target": "concurrency_target",
    "target_utilization_percentage": "target_utilization_percent",
    "max_scale_down_rate": "max_scale_down_rate_percent",
}
_ENTRY = {"cron": "cron", "timezone": "timezone", "duration": "for_s", "min_replica": "min_replica"}
_NOT_YET = "target_in_flight_tokens"
_NAMES = (*_NUMBERS, "burst", "schedule")


def changed(settings: AutoscalingSettings, given: Mapping[str, Any]) -> AutoscalingSettings:
    """With what was given (null: leave it). Unknown names are refused: a misspelt one would change nothing, silently.

    Ranges are the decider's business.
    """
    unknown = sorted(set(given) - {*_NAMES, _NOT_YET})
    if unknown:
        message = f"{', '.join(unknown)}: no such autoscaling setting; there are {', '.join(_NAMES)}"
        raise invalid(message, unknown[0])
    if given.get(_NOT_YET) is not None:
        raise invalid(f"{_NOT_YET} is not there yet: leave it out and set concurrency_target", _NOT_YET)
    read = {name: _read(name, value) for name, value in given.items() if value is not None}
    return msgspec.structs.replace(settings, **{_NUMBERS.get(name, name): value for name, value in read.items()})


def _read(name: str, value: Any) -> Any:
    if name == "burst":
        if not isinstance(value, bool):
            raise invalid(f"burst must be true or false, not {value!r}", name)
        return value
    if name == "schedule":
        if not isinstance(value, list):
            raise invalid(f"schedule must be a list, not {value!r}; [] clears it", name)
        return tuple(_entry(f"schedule[{index}]", each) for index, each in enumerate(value))
    return _whole(name, name, value)


def _whole(where: str, field: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{where} must be a whole number, not {value!r}", field)
    return value


def _entry(where: str, given: Any) -> ScheduledMinimum:
    if not isinstance(given, dict):
        raise invalid(f"{where} must be an object with {', '.join(_ENTRY)}, not {given!r}", "schedule")
    unknown = sorted(set(given) - set(_ENTRY))
    missing = sorted(set(_ENTRY) - set(given) - {"timezone"})
    if unknown or missing:
        wrong = f"{', '.join(unknown)}: no such field" if unknown else f"{', '.join(missing)} is missing"
        raise invalid(f"{where}: {wrong}; there are {', '.join(_ENTRY)}", "schedule")
    for name in ("cron", "timezone"):
        if not isinstance(given.get(name, ""), str):
            raise invalid(f"{where}.{name} must be a string, not {given[name]!r}", "schedule")
    return ScheduledMinimum(
        cron=given["cron"],
        timezone=given.get("timezone", "UTC"),
        for_s=_whole(f"{where}.duration", "schedule", given["duration"]),
        min_replica=_whole(f"{where}.min_replica", "schedule", given["min_replica"]),
    )


def shown(settings: AutoscalingSettings) -> dict[str, Any]:
    schedule = [{name: getattr(each, ours) for name, ours in _ENTRY.items()} for each in settings.schedule]
    numbers = {name: getattr(settings, ours) for name, ours in _NUMBERS.items()}
    return numbers | {_NOT_YET: None, "burst": settings.burst, "schedule": schedule}


def limits_with(limits: RequestLimits, given: Mapping[str, Any]) -> RequestLimits:
    """With what was given; null: as the gateway's settings say. Ranges are the decider's business."""
    known = limits.__struct_fields__
    unknown = sorted(set(given) - set(known))
    if unknown:
        message = f"{', '.join(unknown)}: no such request setting; there are {', '.join(known)}"
        raise invalid(message, unknown[0])
    for name, value in given.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise invalid(f"{name} must be a whole number or null, not {value!r}", name)
    return msgspec.structs.replace(limits, **given)
