"""The ranges of settings: of autoscaling, for deployments and environments alike, and of promotions."""

from events.environment import PromotionSettings
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


_PROMOTION_RANGES: tuple[tuple[str, float, float], ...] = (
    ("max_surge_percent", 0, 50),
    ("max_unavailable_percent", 0, 50),
    ("stabilization_s", 0, 3600),
    ("replica_overhead_percent", 0, 500),
    ("ramp_up_duration_s", 10, 86400),
    ("ready_deadline_s", 1, 86400),
    ("rollback_error_rate_percent", 0, 100),
    ("rollback_p95_ratio", 1, 1000),
    ("canary_percent", 1, 99),
)


def check_promotion_settings(settings: PromotionSettings) -> None:
    """Raises Refused naming the field, its range and the value."""
    for field, low, high in _PROMOTION_RANGES:
        value = getattr(settings, field)
        if value is not None and not low <= value <= high:
            raise Refused("invalid", f"{field} must be from {low} to {high}, not {value}", field)
    surge, unavailable = settings.max_surge_percent, settings.max_unavailable_percent
    if (surge == 0) == (unavailable == 0):
        both = f"max_surge_percent ({surge}) and max_unavailable_percent ({unavailable})"
        raise Refused("invalid", f"exactly one of {both} must not be 0", "max_surge_percent")
