"""What the control API stands on, and one visit of a caller to it.

All writes of a request go through its `Visit`: the visit names the commands, waits until our own views have seen
what was written (so that the next read of the same client finds it) and remembers the position for the answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from secrets import token_hex
from typing import Any, TypeVar

import msgspec

from events.base import Actor, CommandId, CorrelationId, Event, Position, StreamName, derive
from events.codec import Recorded
from events.log import LogUnavailable
from events.signals.log_lines import LogFiles
from gateway.control.config_check import ConfigCheck
from gateway.control.errors import ApiError
from gateway.control.uploads import UploadArea
from gateway.secrets import SecretFiles
from handlers.base import Command
from handlers.dispatch import Dispatch, Outcome
from projections.access import Access, Key
from projections.deployments import Catalogue
from projections.environments import Environments
from projections.fleet import Fleet
from projections.stores.audit import AuditStore
from projections.stores.blobs import FolderBlobs
from projections.view import View
from projections.weights import Weights

C = TypeVar("C", bound=Command)
VIEW_DEADLINE_S = 10.0
HEAD_DEADLINE_S = 2.0
TEAM_ID = "default"
TEAM_NAME = "Default"


class ControlViews(msgspec.Struct, frozen=True):
    catalogue: View[Catalogue]
    environments: View[Environments]
    access: View[Access]
    fleet: View[Fleet]
    weights: View[Weights]

    @property
    def position(self) -> Position:
        return min(view.position for view in self._all())

    def _all(self) -> tuple[View[Any], ...]:
        return (self.catalogue, self.environments, self.access, self.fleet, self.weights)

    async def reached(self, position: Position, deadline_s: float) -> bool:
        """False: not within the deadline."""
        try:
            async with asyncio.timeout(deadline_s):
                for view in self._all():
                    await view.reached(position)
        except TimeoutError:
            return False
        return True


class Plane(msgspec.Struct, frozen=True):
    dispatch: Dispatch
    views: ControlViews
    blobs: FolderBlobs
    logs: LogFiles
    secrets: SecretFiles
    uploads: UploadArea
    config_check: ConfigCheck
    public_url: str
    """Without a slash at its end."""
    stale_for_s: Callable[[], float | None]
    """For how long the log has been out of reach; None while it is in reach."""
    now: Callable[[], datetime]
    history: Callable[[StreamName, Position], Awaitable[Sequence[Recorded]]]
    """All events of one aggregate up to a position."""
    head: Callable[[], Awaitable[Position]] | None = None
    """Where the log ends. None: nobody else writes what is read here."""
    audit: AuditStore | None = None
    """None: this plane keeps no audit trail."""

    async def catch_up(self) -> None:
        """Sees what was written until now, also by other gateways: a client may be answered by one and ask another.

        With the log out of reach, what is known has to do.
        """
        if self.head is None or self.stale_for_s() is not None:
            return
        try:
            async with asyncio.timeout(HEAD_DEADLINE_S):
                head = await self.head()
        except (LogUnavailable, TimeoutError):
            return
        await self.views.reached(head, HEAD_DEADLINE_S)

    @property
    def catalogue(self) -> Catalogue:
        return self.views.catalogue.state

    @property
    def environments(self) -> Environments:
        return self.views.environments.state

    def hostname(self, model_id: str) -> str:
        return f"{self.public_url}/model-{model_id}"


class Visit:
    """One request of a known caller."""

    def __init__(self, plane: Plane, key: Key, repeat_key: str | None = None) -> None:
        self._plane = plane
        self._key = key
        # A client that repeats a request says so with the same Idempotency-Key: the same commands then.
        self.id = derive("visit", key.key_id, repeat_key, length=24) if repeat_key else token_hex(12)
        self._count = 0
        self.written: Position | None = None

    @property
    def caller(self) -> Key:
        return self._key

    async def do(self, kind: type[C], *, once: str | None = None, **fields: Any) -> Outcome:
        """Dispatches a command of this visit. `once`: the same text is the same command in every visit."""
        outcome = await self._plane.dispatch(self._command(kind, once, fields))
        self.written = max(self.written or outcome.position, outcome.position)
        if not await self._plane.views.reached(outcome.position, VIEW_DEADLINE_S):
            raise ApiError(
                503,
                f"done at position {outcome.position}, but this gateway has not seen it within {VIEW_DEADLINE_S:g} s:"
                f" read again with min_position={outcome.position}",
                code="behind",
                retry_after_s=2,
            )
        return outcome

    def foretell(self, kind: type[C], **fields: Any) -> tuple[Event, ...]:
        """What `do` would append now. Nothing is. Raises Refused."""
        return self._plane.dispatch.foretell(self._command(kind, None, fields))

    def _command(self, kind: type[C], once: str | None, fields: dict[str, Any]) -> C:
        self._count += 1
        return kind(
            id=CommandId(once or derive(self.id, self._count, length=24)),
            actor=actor_of(self._key),
            correlation_id=CorrelationId(self.id),
            **fields,
        )


def actor_of(key: Key) -> Actor:
    return Actor(f"key:{key.key_id}", "api-key")
