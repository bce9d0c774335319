"""Scheduled minimums: what a deployment's schedule asks for at a moment, and until when that stays so.

Cron expressions are read by cronsim, by the wall clock of their time zone, daylight saving included.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from events.scaling import AutoscalingSettings, ScheduledMinimum
from handlers.base import Refused

LONGEST_S = 7 * 24 * 3600
_FAR = timedelta(days=28)
"""A schedule is looked at anew after so long at the latest."""


def scheduled(schedule: tuple[ScheduledMinimum, ...], now: datetime) -> tuple[int, datetime]:
    """The minimum that is in force, and the moment at which it may change."""
    least, until = 0, now + _FAR
    for entry in schedule:
        began = _last(entry, now)
        ends = began + timedelta(seconds=entry.for_s) if began is not None else now
        if ends > now:
            least, until = max(least, entry.min_replica), min(until, ends)
        until = min(until, _next(entry, now, until))
    return least, until


def _last(entry: ScheduledMinimum, now: datetime) -> datetime | None:
    local = now.astimezone(ZoneInfo(entry.timezone))
    try:  # From the next minute on, for it gives what lies strictly before.
        last: datetime = next(CronSim(entry.cron, local + timedelta(minutes=1), reverse=True))
    except StopIteration:
        return None
    began = last.astimezone(UTC)
    if began > now:
        began = next(CronSim(entry.cron, local, reverse=True)).astimezone(UTC)
    return began


def _next(entry: ScheduledMinimum, now: datetime, otherwise: datetime) -> datetime:
    local = now.astimezone(ZoneInfo(entry.timezone))
    return next((moment.astimezone(UTC) for moment in CronSim(entry.cron, local)), otherwise)


def check_schedule(settings: AutoscalingSettings) -> None:
    """Raises Refused naming the entry, the field and the value."""
    for index, entry in enumerate(settings.schedule):
        where = f"schedule[{index}]"
        _check_cron(where, entry)
        if not 60 <= entry.for_s <= LONGEST_S:
            raise Refused("invalid", f"{where}.duration must be from 60 to {LONGEST_S}, not {entry.for_s}", "schedule")
        if not 1 <= entry.min_replica <= settings.max_replica:
            limits = f"from 1 to max_replica ({settings.max_replica})"
            raise Refused("invalid", f"{where}.min_replica must be {limits}, not {entry.min_replica}", "schedule")


def _check_cron(where: str, entry: ScheduledMinimum) -> None:
    try:
        zone = ZoneInfo(entry.timezone)
    except (ValueError, OSError, KeyError) as error:
        message = f"{where}.timezone {entry.timezone!r} is not a time zone: give a name such as Europe/Berlin"
        raise Refused("invalid", message, "schedule") from error
    fields = len(entry.cron.split())
    if fields != 5:
        message = f"{where}.cron must have five fields (minute hour day month weekday), not {fields}: {entry.cron!r}"
        raise Refused("invalid", message, "schedule")
    try:
        moments = CronSim(entry.cron, datetime(2026, 1, 1, tzinfo=zone))
        next(moments)
    except (CronSimError, StopIteration) as error:
        reason = str(error) or "names no moment at all"
        raise Refused("invalid", f"{where}.cron {entry.cron!r}: {reason}", "schedule") from error
