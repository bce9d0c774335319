"""Autoscaling settings as the public API names them, and as events do."""

from collections.abc import Mapping
from typing import Any

import msgspec

from events.scaling import AutoscalingSettings
from gateway.control.errors import invalid

_OURS = {
    "min_replica": "min_replica",
    "max_replica": "max_replica",
    "autoscaling_window": "autoscaling_window_s",
    "scale_down_delay": "scale_down_delay_s",
    "concurrency_target": "concurrency_target",
    "target_utilization_percentage": "target_utilization_percent",
    "max_scale_down_rate": "max_scale_down_rate_percent",
}
_NOT_YET = "target_in_flight_tokens"


def changed(settings: AutoscalingSettings, given: Mapping[str, Any]) -> AutoscalingSettings:
    """With what was given (null: leave it). Unknown names are refused: a misspelt one would change nothing, silently.

    Ranges are the decider's business.
    """
    unknown = sorted(set(given) - set(_OURS) - {_NOT_YET})
    if unknown:
        message = f"{', '.join(unknown)}: no such autoscaling setting; there are {', '.join(_OURS)}"
        raise invalid(message, unknown[0])
    if given.get(_NOT_YET) is not None:
        raise invalid(f"{_NOT_YET} is not there yet: leave it out and set concurrency_target", _NOT_YET)
    changes = {_OURS[name]: value for name, value in given.items() if value is not None and name != _NOT_YET}
    for name, value in given.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise invalid(f"{name} must be a whole number, not {value!r}", name)
    return msgspec.structs.replace(settings, **changes)


def shown(settings: AutoscalingSettings) -> dict[str, int | None]:
    return {name: getattr(settings, ours) for name, ours in _OURS.items()} | {_NOT_YET: None}
