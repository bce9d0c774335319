"""Promotion settings as the public API names them, and as events do.

Null leaves a specified setting as it is. Those that are our own (the deadline, the bounds of the automatic rollback,
the canary) have an off: null says it. Unknown names are refused: a misspelt one would change nothing, silently.
"""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec

from events.environment import Cleanup, PromotionSettings
from gateway.control.errors import invalid

_SPECIFIED = {
    "redeploy_on_promotion": "redeploy_on_promotion",
    "rolling_deploy": "rolling_deploy",
    "promotion_cleanup_strategy": "cleanup",
    "ramp_up_while_promoting": "ramp_up_while_promoting",
    "ramp_up_duration_seconds": "ramp_up_duration_s",
}
_OURS = {
    "ready_deadline_seconds": "ready_deadline_s",
    "rollback_on_not_ready": "rollback_on_not_ready",
    "rollback_error_rate_percent": "rollback_error_rate_percent",
    "rollback_p95_ratio": "rollback_p95_ratio",
    "canary_percent": "canary_percent",
}
_CONFIG = {
    "max_surge_percent": "max_surge_percent",
    "max_unavailable_percent": "max_unavailable_percent",
    "stabilization_time_seconds": "stabilization_s",
    "replica_overhead_percent": "replica_overhead_percent",
}
_FIELD = _SPECIFIED | _OURS | _CONFIG
_SWITCHES = ("redeploy_on_promotion", "rolling_deploy", "ramp_up_while_promoting", "rollback_on_not_ready")
_FRACTIONS = ("rollback_error_rate_percent", "rollback_p95_ratio")
_STRATEGY = "rolling_deploy_strategy"


def changed(settings: PromotionSettings, given: Mapping[str, Any]) -> PromotionSettings:
    """With what was given. Ranges are the decider's business."""
    _known(given, (*_SPECIFIED, "rolling_deploy_config", *_OURS), "promotion setting")
    config = given.get("rolling_deploy_config")
    config = {} if config is None else config
    if not isinstance(config, Mapping):
        raise invalid(f"rolling_deploy_config must be an object, not {config!r}", "rolling_deploy_config")
    _known(config, (_STRATEGY, *_CONFIG), "setting in rolling_deploy_config")
    if config.get(_STRATEGY) not in (None, "REPLICA"):
        raise invalid(f"{_STRATEGY} must be REPLICA, not {config[_STRATEGY]!r}", _STRATEGY)
    named = {**given, **config}
    asked = {
        name: value
        for name, value in named.items()
        if name in _FIELD and (value is not None or name in _OURS.keys() - {"rollback_on_not_ready"})
    }
    return msgspec.structs.replace(settings, **{_FIELD[name]: _read(name, value) for name, value in asked.items()})


def _known(given: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise invalid(f"{', '.join(unknown)}: no such {what}; there are {', '.join(names)}", unknown[0])


def _read(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "promotion_cleanup_strategy":
        strategies = get_args(Cleanup)
        if value not in strategies:
            raise invalid(f"{name} must be one of {', '.join(strategies)}, not {value!r}", name)
        return value
    if name in _SWITCHES:
        if not isinstance(value, bool):
            raise invalid(f"{name} must be true or false, not {value!r}", name)
        return value
    if name in _FRACTIONS:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise invalid(f"{name} must be a number or null, not {value!r}", name)
        return float(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{name} must be a whole number, not {value!r}", name)
    return value


def shown(settings: PromotionSettings) -> dict[str, Any]:
    config = {name: getattr(settings, field) for name, field in _CONFIG.items()}
    return {
        **{name: getattr(settings, field) for name, field in _SPECIFIED.items()},
        "rolling_deploy_config": {_STRATEGY: "REPLICA"} | config,
        **{name: getattr(settings, field) for name, field in _OURS.items()},
    }
