"""The ranges of autoscaling settings, in one place for deployments and environments."""

from events.scaling import AutoscalingSettings
from handlers.base import Refused
from handlers.schedule import check_schedule

_RANGES: tuple[tuple[str, int, int | None], ...] = (
    ("min_replica", 0, None),
    ("max_replica", 1, None),
    ("autoscaling_window_s", 10, 3600),
    ("scale_down_delay_s", 0, 3600),
    ("concurrency_target", 1, None),
    ("target_utilization_percent", 1, 100),
    ("max_scale_down_rate_percent", 1, 50),
)


def check_settings(settings: AutoscalingSettings) -> None:
    """Raises Refused naming the field, its range and the value."""
    for field, low, high in _RANGES:
        value = getattr(settings, field)
        if value < low or (high is not None and value > high):
            allowed = f"at least {low}" if high is None else f"from {low} to {high}"
            raise Refused("invalid", f"{field} must be {allowed}, not {value}", field)
    if settings.min_replica > settings.max_replica:
        reason = f"min_replica ({settings.min_replica}) must not be above max_replica ({settings.max_replica})"
        raise Refused("invalid", reason, "min_replica")
    check_schedule(settings)
