"""What every command has: settings, ways to the log, the audit trail and the API, and where it prints.

A test hands over a session with a log in memory; the real one attaches to the running stack.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from typer import getchar

from events.base import ORIGIN
from events.log import Log
from events.signals.load_history import LoadHistory
from handlers.dispatch import Dispatch
from ops import config
from ops.cli.failures import Failure
from ops.config import Settings
from ops.local import attach
from ops.operator_key import dispatching, kept_key
from ops.past import Past, past_of
from ops.render import console
from projections.audit import audit_row
from projections.stores.audit import AuditStore, MemoryAuditStore
from projections.stores.snapshots import Snapshots

T = TypeVar("T")


@asynccontextmanager
async def _log_of(settings: Settings) -> AsyncIterator[Log]:
    attached = running(settings)
    from ops import wiring  # the whole plane: only for commands that need it

    async with wiring.open_log(attached) as log:
        yield log


@asynccontextmanager
async def _audit_of(settings: Settings) -> AsyncIterator[AuditStore]:
    from projections.stores.postgres import PostgresAuditStore

    url = settings.postgres_url or running(settings).postgres_url
    if url is None:
        raise Failure(
            "there is no PostgreSQL to ask", "start the stack with `causeway up`, or set CAUSEWAY_POSTGRES_URL"
        )
    store = PostgresAuditStore(url)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _loads_of(settings: Settings) -> AsyncIterator[LoadHistory]:
    attached = running(settings)
    from ops.wiring.parts import open_load_history

    async with open_load_history(attached) as loads:
        yield loads


def running(settings: Settings) -> Settings:
    """The settings that the stack works with; raises NotUp when there is none and no address was given."""
    return settings if settings.nats_url is not None else attach.attached(settings)


def _keys_of_terminal() -> Callable[[], str] | None:
    return getchar if sys.stdin.isatty() and sys.stdout.isatty() else None


@dataclass
class Session:
    given: Settings | None = None
    """None: read from the environment when first needed, so that --help works with any of it."""
    open_log: Callable[[Settings], AbstractAsyncContextManager[Log]] = _log_of
    open_audit: Callable[[Settings], AbstractAsyncContextManager[AuditStore]] = _audit_of
    open_loads: Callable[[Settings], AbstractAsyncContextManager[LoadHistory]] = _loads_of
    out: Console = field(default_factory=lambda: console(sys.stdout))
    err: Console = field(default_factory=lambda: console(sys.stderr))
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    capsule: Path | None = None
    """The history to ask instead of the plane's; None: as CAUSEWAY_CAPSULE says, else the plane's."""
    archive: str | None = None
    """The archive of a log to ask instead of the plane, a folder or `s3://bucket/prefix`; None: none."""
    keys: Callable[[], str] | None = field(default_factory=_keys_of_terminal)
    """Gives the next key that is pressed; None where nobody sits at a terminal."""

    @property
    def settings(self) -> Settings:
        if self.given is None:
            self.given = config.load()
        return self.given

    def with_log(self, ask: Callable[[Log], Awaitable[T]]) -> T:
        """Runs one question to the log."""

        async def asking() -> T:
            opened = await self._opened_file()
            if opened is not None:
                return await ask(opened)
            async with self.open_log(self.settings) as log:
                return await ask(past_of(log, self.settings.folder("snapshots")))

        return run(asking())

    def with_dispatch(self, ask: Callable[[Log, Dispatch], Awaitable[T]]) -> T:
        """For what is done by hand on the plane's own machine, and is said in its log."""
        self.not_in_a_capsule("plane that could be told to do something")

        async def acting() -> T:
            kept = self.settings.folder("snapshots")
            async with self.open_log(self.settings) as log:
                async with dispatching(log, Snapshots(kept / "gateway")) as dispatch:
                    return await ask(past_of(log, kept), dispatch)

        return run(acting())

    @property
    def of_a_capsule(self) -> bool:
        """Questions are about the history in a file: there is no plane and no present."""
        return (self.archive or self.capsule or self.settings.capsule) is not None

    async def _opened_file(self) -> Past | None:
        """Raises CapsuleBroken, ArchiveBroken, StoreUnavailable."""
        if self.archive is not None:
            from ops.archived import past_in_archive
            from ops.wiring.archive import open_archive

            async with open_archive(self.settings, self.archive) as archive:
                return await past_in_archive(archive, self.settings.folder("snapshots"))
        file = self.capsule or self.settings.capsule
        if file is None:
            return None
        from ops.capsule.file import past_in, read

        return past_in(read(file))

    def not_in_a_capsule(self, what: str) -> None:
        if self.archive is not None:
            raise Failure(f"an archive holds no {what}", "ask the plane itself: without --archive")
        if self.of_a_capsule:
            raise Failure(f"a capsule holds no {what}", "ask the plane itself: without --capsule and CAUSEWAY_CAPSULE")

    def with_loads(self, ask: Callable[[LoadHistory], Awaitable[T]]) -> T:
        self.not_in_a_capsule("record of load")

        async def asking() -> T:
            async with self.open_loads(self.settings) as loads:
                return await ask(loads)

        return run(asking())

    def with_audit(self, ask: Callable[[AuditStore], Awaitable[T]]) -> T:
        async def asking() -> T:
            opened = await self._opened_file()
            if opened is not None:
                rows = MemoryAuditStore()
                await rows.append([audit_row(each) for each in await opened.read()], ORIGIN)
                return await ask(rows)
            async with self.open_audit(self.settings) as store:
                return await ask(store)

        return run(asking())

    def api(self) -> tuple[str, str]:
        """URL and key of the plane: CAUSEWAY_URL and CAUSEWAY_API_KEY, else those of the local stack."""
        self.not_in_a_capsule("plane that could be told to do something")
        settings = self.settings
        url = settings.url or attach.attached(settings).origin
        key = settings.api_key or (kept_key(settings.folder("run")) if settings.url is None else None)
        if key is None:
            raise Failure(f"no API key for {url}", "set CAUSEWAY_API_KEY")
        return url, key

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        url, key = self.api()
        from ops import plane_client  # an HTTP client: only for commands that need it

        return run(plane_client.call(url, key, method, path, body))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)
