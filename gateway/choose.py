"""Where a request goes: to a replica, into the parking lot, or back with a reason. Pure.

Only replicas with room: none gets more than its deployment's `predict_concurrency`. Among them the least busy, and
equals take turns; with an affinity the one that all gateways would pick for it. A replica that has just failed comes
after the others, one that keeps failing is left alone while any other stands. Who finds no room waits his turn, and
so does who comes while others wait.
"""

import hashlib
from collections.abc import Container, Mapping
from typing import Protocol

import msgspec

from events.base import DeploymentId, ReplicaId
from gateway.addresses import Target
from gateway.errors import Problem
from gateway.resolve import resolve
from projections.routing import PRODUCTION, DeploymentRoutes, ReplicaRoute, RoutingTable

_SPREAD = 61
"""Has no divisor in common with 100: turns one after the other draw numbers far apart."""


class Load(Protocol):
    """What `choose` may know of the moment."""

    @property
    def in_flight(self) -> Mapping[ReplicaId, int]:
        """From all gateways, as far as known."""
        ...

    @property
    def avoided(self) -> Container[ReplicaId]:
        """Replicas that failed a moment ago."""
        ...

    @property
    def resting(self) -> Container[ReplicaId]:
        """Replicas that failed several times in a row."""
        ...

    @property
    def waiting(self) -> Container[DeploymentId]:
        """Deployments for which requests wait already, here."""
        ...

    @property
    def waiting_elsewhere(self) -> Container[DeploymentId]:
        """The same in other workers, as far as known."""
        ...

    @property
    def turn(self) -> int:
        """Any number that differs from request to request: breaks ties."""
        ...


class Route(msgspec.Struct, frozen=True):
    deployment_id: DeploymentId
    replica: ReplicaRoute
    lot: DeploymentId | None = None
    """For whom those wait who ask for the same, where that is another: an environment has one line, not two."""


class Park(msgspec.Struct, frozen=True):
    deployment_id: DeploymentId
    full: bool = False
    """It has replicas, and all of them have as much as they may."""

    @property
    def lot(self) -> DeploymentId:
        return self.deployment_id


class Unroutable(msgspec.Struct, frozen=True):
    problem: Problem


class Side(msgspec.Struct, frozen=True):
    """A deployment with replicas."""

    deployment_id: DeploymentId
    limit: int
    """Of requests at a replica."""
    routes: tuple[Route, ...]
    """One for each replica."""


class Aim(msgspec.Struct, frozen=True):
    """Who can answer what is asked for, whatever the load is."""

    current: Side
    candidate: Side | None = None
    """Gets some of the requests already."""
    percent: int = 0


def choose(
    table: RoutingTable, target: Target, load: Load, *, affinity: bytes | None = None, turn_has_come: bool = False
) -> Route | Park | Unroutable:
    """`affinity` (of `affinity_of`): requests with the same go to the same replica where they can.

    `turn_has_come`: it is the first of those who wait.
    """
    return choose_of(aim_of(table, target), load, affinity, turn_has_come)


def aim_of(table: RoutingTable, target: Target) -> Aim | Park | Unroutable:
    """The half of `choose` that holds until the table changes."""
    deployment = resolve(table, target)
    share = _share(table, target)
    if share is not None:
        candidate, percent = share
        if not isinstance(deployment, Problem) and deployment.replicas:
            lot = (candidate if percent >= 50 else deployment).deployment_id
            return Aim(_side(deployment, lot), _side(candidate, lot), percent)
        deployment = candidate
    if isinstance(deployment, Problem):
        soon = _about_to_serve(table, target)
        return Unroutable(deployment) if soon is None else Park(soon)
    return Aim(_side(deployment)) if deployment.replicas else Park(deployment.deployment_id)


def _side(deployment: DeploymentRoutes, lot: DeploymentId | None = None) -> Side:
    deployment_id, replicas = deployment.deployment_id, deployment.replicas.values()
    routes = tuple([Route(deployment_id, each, lot) for each in replicas])
    return Side(deployment_id, deployment.predict_concurrency, routes)


def choose_of(
    aim: Aim | Park | Unroutable, load: Load, affinity: bytes | None, turn_has_come: bool
) -> Route | Park | Unroutable:
    """The half that the moment decides."""
    if not isinstance(aim, Aim):
        return aim
    if aim.candidate is not None:
        return _choose_between(aim.current, aim.candidate, aim.percent, load, affinity, turn_has_come)
    side = aim.current
    deployment_id = side.deployment_id
    if not turn_has_come and (deployment_id in load.waiting or deployment_id in load.waiting_elsewhere):
        return Park(deployment_id, full=True)
    return _pick(side, load, affinity) or Park(deployment_id, full=True)


def _share(table: RoutingTable, target: Target) -> tuple[DeploymentRoutes, int] | None:
    """The candidate that gets some of these requests already, if it has replicas, and how many in a hundred."""
    model = table.models.get(target.model_id)
    if model is None or target.by != "environment" or not model.candidates:
        return None
    candidate = model.candidates.get(target.name)
    if candidate is None or not candidate.percent:
        return None
    routes = table.deployments.get(candidate.deployment_id)
    return (routes, candidate.percent) if routes is not None and routes.replicas and not routes.gone else None


def _choose_between(
    current: Side,
    candidate: Side,
    percent: int,
    load: Load,
    affinity: bytes | None,
    turn_has_come: bool,
) -> Route | Park:
    """By the share, and the same session always to the same; where that one is full or has just failed, to the other.

    Who waits, waits for the one with the larger share.
    """
    lot = (candidate if percent >= 50 else current).deployment_id
    if not turn_has_come and any(
        each.deployment_id in waiting
        for each in (current, candidate)
        for waiting in (load.waiting, load.waiting_elsewhere)
    ):
        return Park(lot, full=True)
    draw = load.turn * _SPREAD if affinity is None else int.from_bytes(affinity[:8])
    first, second = (candidate, current) if draw % 100 < percent else (current, candidate)
    found: Route | None = None
    for side in (first, second):
        route = _pick(side, load, affinity)
        if route is not None and (found is None or found.replica.replica_id in load.avoided):
            found = route
    return found or Park(lot, full=True)


def _about_to_serve(table: RoutingTable, target: Target) -> DeploymentId | None:
    """An environment that nothing serves yet, and who is to serve it soon; its user may come in between.

    A model's first ready deployment becomes production a moment later.
    """
    model = table.models.get(target.model_id)
    if model is None or target.by != "environment" or model.environments.get(target.name, "") is not None:
        return None
    candidate = model.candidates.get(target.name)
    routes = None if candidate is None else table.deployments.get(candidate.deployment_id)
    if routes is not None and not (routes.is_development or routes.refusal):
        return routes.deployment_id
    if target.name != PRODUCTION:
        return None
    published = (table.deployments[each] for each in sorted(model.deployments))
    fit = (each for each in published if each.replicas and not (each.is_development or each.refusal))
    return next((each.deployment_id for each in fit), None)


def _pick(side: Side, load: Load, affinity: bytes | None) -> Route | None:
    """None: no room at any replica that stands."""
    routes, in_flight, avoided = side.routes, load.in_flight, load.avoided
    if load.resting:
        routes = tuple([each for each in routes if each.replica.replica_id not in load.resting]) or routes
    if affinity is not None:
        free = [each for each in routes if in_flight.get(each.replica.replica_id, 0) < side.limit]
        return max(free, key=lambda each: _rank(each.replica.replica_id, avoided, affinity), default=None)
    if avoided:
        trusted = tuple([each for each in routes if each.replica.replica_id not in avoided])
        found = _least_busy(trusted, in_flight, side.limit, load.turn)
        if found is not None:
            return found
    return _least_busy(routes, in_flight, side.limit, load.turn)


def _least_busy(routes: tuple[Route, ...], in_flight: Mapping[ReplicaId, int], limit: int, turn: int) -> Route | None:
    """Equals take turns. None: all are full."""
    found, least, size = None, limit, len(routes)
    for place in range(turn, turn + size):
        each = routes[place % size]
        count = in_flight.get(each.replica.replica_id, 0)
        if count < least:
            found, least = each, count
            if not count:
                break
    return found


def affinity_of(said: bytes | None) -> bytes | None:
    """Of a session's name or the beginning of a prompt; None: of none."""
    return hashlib.blake2b(said, digest_size=16).digest() if said else None


def _rank(replica_id: ReplicaId, avoided: Container[ReplicaId], affinity: bytes) -> tuple[bool, bytes]:
    """Rendezvous hashing: when a replica comes or goes, only the requests that it wins or held move."""
    weight = hashlib.blake2b(replica_id.encode(), key=affinity, digest_size=8).digest()
    return replica_id not in avoided, weight
