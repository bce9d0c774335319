"""What other settings would have done with the same load."""

from events.scaling import AutoscalingSettings
from events.signals.load_history import SPAN_S, LoadRecord, Moment
from handlers.rehearsal import DEPLOYMENT
from handlers.whatif import rehearse

AT = 1_800_000_000.0
SETTINGS = AutoscalingSettings(max_replica=10, concurrency_target=10, scale_down_delay_s=120)


def load(*levels: float) -> list[Moment]:
    """Each for ten seconds; nothing is recorded of what is idle."""
    return [
        (AT + SPAN_S * (n + 1), LoadRecord(DEPLOYMENT, level, round(level), 0, round(level)))
        for n, level in enumerate(levels)
        if level
    ]


def test_constant_load_costs_what_it_needs() -> None:
    found = rehearse(SETTINGS, load(*[25.0] * 360), AT, AT + 3600, 4, 20.0)
    assert (found.peak, found.cold_starts, found.changes) == (4, 0, ())
    assert found.replica_hours == 4.0
    assert found.parked_s == found.above_capacity_s == 0.0


def test_a_lower_utilization_costs_more_and_waits_less() -> None:
    waves = load(*([5.0] * 30 + [35.0] * 30) * 5)
    at_70 = rehearse(SETTINGS, waves, AT, AT + 3000, 1, 20.0)
    at_35 = rehearse(
        AutoscalingSettings(
            max_replica=10, concurrency_target=10, scale_down_delay_s=120, target_utilization_percent=35
        ),
        waves, AT, AT + 3000, 1, 20.0,
    )  # fmt: skip
    assert at_35.replica_hours > at_70.replica_hours and at_35.peak > at_70.peak
    assert at_35.above_capacity_s <= at_70.above_capacity_s and at_70.above_capacity_s > 0


def test_rest_and_return_is_a_cold_start_whose_callers_wait_for_as_long_as_it_takes() -> None:
    found = rehearse(SETTINGS, load(*[3.0] * 12, *[0.0] * 60, *[3.0] * 12), AT, AT + 900, 1, 20.0)
    assert found.cold_starts == 1
    assert 55.0 <= found.parked_s <= 65.0, "three callers, twenty seconds"
    assert [each.rule for each in found.changes][:2] == ["quiet", "parked request"]


def test_nothing_at_all_needs_nothing() -> None:
    found = rehearse(SETTINGS, [], AT, AT + 900, 0, 20.0)
    assert (found.replica_hours, found.changes) == (0.0, ())
