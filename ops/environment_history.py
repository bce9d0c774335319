"""An environment at any moment, and how it came there: settings, promotions with their durations, by whom and why.

Nothing is kept for this: both come from the log, so a deleted environment tells its history as well.
"""

from datetime import datetime
from typing import Any

import msgspec

from events.base import DeploymentId, ModelId, Position, PromotionId, StreamName
from events.codec import Recorded, event_type
from events.environment import (
    EnvironmentConfigured,
    EnvironmentCreated,
    EnvironmentDeleted,
    EnvironmentReverted,
    PromotionCancelled,
    PromotionCompleted,
    PromotionFailed,
    PromotionSettings,
    PromotionSettingsSet,
    PromotionStarted,
    RequestLimits,
    RequestLimitsSet,
)
from events.log import Log
from events.scaling import AutoscalingSettings
from events.union import AnyEvent, UnknownEvent
from handlers.deciders.environment import ENVIRONMENT, Coming
from ops.moments import Moment
from ops.names import NAMES, Names
from ops.replay import position_of, state_at
from ops.whence import whence_of
from projections.describe import describe
from projections.diff import Change, Tree, diff
from projections.environments import ENVIRONMENTS, Environment

ENDS = (PromotionCompleted, PromotionFailed, PromotionCancelled)
DEFAULTS = (AutoscalingSettings(), PromotionSettings(), RequestLimits())
NOTHING = Coming()
SETTINGS = ("autoscaling_settings", "promotion_settings", "request_settings")


class Entry(msgspec.Struct, frozen=True):
    """One event of the environment."""

    position: Position
    at: datetime
    type: str
    what: str
    deployment: str | None
    """Name of the deployment that it is about."""
    changes: tuple[Change, ...]
    """Of the settings."""
    seconds: float | None
    """Of the promotion that ended with it, from its beginning."""
    actor: str
    actor_how: str
    cause: Position | None
    """Where the event stands that it followed from; None: somebody asked for it."""


class Shown(msgspec.Struct, frozen=True):
    position: Position
    state: Tree
    """None: there was no such environment then."""


async def shown_at(log: Log, model_id: ModelId, environment: str, moment: Moment = None) -> Shown:
    """Raises NoSuchPosition."""
    position = await position_of(log, moment)
    place = (await state_at(log, ENVIRONMENTS, position)).of(model_id).get(environment)
    if place is None:
        return Shown(position, None)
    coming = await _coming(log, place, position) if place.active is not None else NOTHING
    return Shown(position, tree(place, await state_at(log, NAMES, position), coming))


async def _coming(log: Log, place: Environment, position: Position) -> Coming:
    """What its decider knows of it: the settings of a revert whose promotion is under way."""
    state = ENVIRONMENT.initial
    for recorded in await log.read(until=position, stream=_stream(place.model_id, place.name)):
        if not isinstance(recorded.event, UnknownEvent):
            state = ENVIRONMENT.evolve(state, recorded.event)
    return state.coming


async def difference(
    log: Log, model_id: ModelId, environment: str, first: Moment, second: Moment
) -> tuple[Position, Position, tuple[Change, ...]]:
    """Raises NoSuchPosition."""
    a = await shown_at(log, model_id, environment, first)
    b = await shown_at(log, model_id, environment, second)
    return a.position, b.position, diff(a.state or {}, b.state or {})


def tree(place: Environment, names: Names, coming: Coming = NOTHING) -> Tree:
    """As people ask for it: settings by the names of the events, deployments by name and by id. `coming`: the settings
    that are set when the promotion completes."""
    settings = (place.autoscaling, place.promotion, place.limits)
    progress = place.progress
    promotion = None
    if progress is not None:
        promotion = {
            "deployment": _name(names, progress.started.deployment_id),
            "deployment_id": progress.started.deployment_id,
            "status": progress.status,
            "percent_traffic_to_new_version": progress.percent,
            "ready": progress.ready,
            "candidate_replicas": progress.candidate_replicas,
            "current_replicas": progress.current_replicas,
            "reason": progress.reason,
            "figures": msgspec.to_builtins(progress.figures),
            **({"sets_when_it_completes": _named(coming)} if coming != NOTHING else {}),
        }
    return {
        "environment": f"{names.of.get(place.model_id, place.model_id)}/{place.name}",
        "created_at": place.created_at,
        "current": _name(names, place.current),
        "current_id": place.current,
        "promotion": promotion,
        "last_promotion": place.last_result,
        **{name: _plain(each) for name, each in zip(SETTINGS, settings, strict=True)},
    }


def _named(coming: Coming) -> dict[str, Tree]:
    settings = (coming.autoscaling, coming.promotion, coming.limits)
    return {name: _plain(each) for name, each in zip(SETTINGS, settings, strict=True) if each is not None}


def _plain(settings: msgspec.Struct | None) -> Tree:
    return None if settings is None else msgspec.to_builtins(settings)


def _name(names: Names, deployment_id: DeploymentId | None) -> str | None:
    return None if deployment_id is None else names.of.get(deployment_id, deployment_id).rpartition("/")[2]


class _Telling(msgspec.Struct):
    """What an entry needs of the entries before it."""

    environment: str
    names: Names
    settings: dict[str, Tree]
    """The last of each kind."""
    began: dict[PromotionId, datetime] = {}

    def entry(self, recorded: Recorded, cause: Position | None) -> Entry:
        event, meta = recorded.event, recorded.meta
        if isinstance(event, PromotionStarted):
            self.began[event.promotion_id] = meta.at
        began = self.began.get(event.promotion_id) if isinstance(event, ENDS) else None
        changes = self._changes(event)
        return Entry(
            recorded.position,
            meta.at,
            event_type(event),
            self._what(event, changes),
            _name(self.names, getattr(event, "deployment_id", None)),
            changes,
            None if began is None else (meta.at - began).total_seconds(),
            meta.actor.name,
            meta.actor.how,
            cause,
        )

    def _changes(self, event: AnyEvent | UnknownEvent) -> tuple[Change, ...]:
        stated = _stated(event)
        if stated is None:
            return ()
        name, settings = stated
        before, self.settings[name] = self.settings[name], settings
        return tuple(msgspec.structs.replace(change, path=(name, *change.path)) for change in diff(before, settings))

    def _what(self, event: AnyEvent | UnknownEvent, changes: tuple[Change, ...]) -> str:
        match event:
            case PromotionStarted():
                instead = _name(self.names, event.previous)
                then = f"; {instead} is current" if instead else ""
                return f"needs {event.wanted_replicas} ready replicas within {event.deadline_s} s{then}"
            case PromotionCompleted():
                instead = _name(self.names, event.previous)
                return f"is current{f' instead of {instead} ({event.cleanup})' if instead else ''}"
            case EnvironmentReverted():
                return f"to what it was at position {event.to_position}"
            case EnvironmentDeleted() | EnvironmentCreated() if not changes:
                return ""
        return "; ".join(map(str, changes)) or describe(event).removeprefix(f"environment {self.environment}, ")


def _stated(event: AnyEvent | UnknownEvent) -> tuple[str, dict[str, Any]] | None:
    """The settings that it states, and of which kind."""
    match event:
        case EnvironmentCreated() | EnvironmentConfigured():
            return "autoscaling_settings", _plain(event.autoscaling)
        case PromotionSettingsSet():
            return "promotion_settings", _plain(event.settings)
        case RequestLimitsSet():
            return "request_settings", _plain(event.limits)
        case _:
            return None


async def told(log: Log, model_id: ModelId, environment: str) -> tuple[Entry, ...]:
    """Oldest first."""
    whence = await whence_of(log)
    telling = _Telling(environment, whence.names, dict(zip(SETTINGS, map(_plain, DEFAULTS), strict=True)))
    entries: list[Entry] = []
    for recorded in await log.read(stream=_stream(model_id, environment)):
        cause_id = recorded.meta.causation_id
        cause = None if cause_id is None else await whence.event(cause_id)
        entries.append(telling.entry(recorded, None if cause is None else cause.position))
    return tuple(entries)


def _stream(model_id: ModelId, environment: str) -> StreamName:
    return StreamName("environment", f"{model_id}-{environment}")
