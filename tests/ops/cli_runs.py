"""Runs `causeway` commands over a log and an audit store in memory, as a user would type them."""

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import structlog
from typer.testing import CliRunner

from events.base import ORIGIN
from events.codec import Recorded
from events.log import Log
from events.signals.load_history import LoadHistory, MemoryLoadHistory
from ops.cli import app
from ops.cli.session import Session
from ops.config import Settings, load
from ops.render import console
from projections.audit import audit_row
from projections.stores.audit import AuditStore, MemoryAuditStore
from tests.histories import START, copied


@dataclass
class Answer:
    out: str
    err: str
    code: int

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)

    @property
    def rows(self) -> list[Any]:
        """Of commands that print one object a line."""
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


class Shell:
    """`variables` are those of the environment that the command sees."""

    def __init__(self, state: Path, history: tuple[Recorded, ...] | None, **variables: str) -> None:
        self.settings = load({"CAUSEWAY_STATE": str(state), "PATH": "/usr/bin:/bin"} | variables)
        self.history = history
        self.loads = MemoryLoadHistory()
        self.now = START

    def run(self, line: str, typed: str | None = None, keys: str | None = None) -> Answer:
        """`keys`: what somebody at a terminal presses, one after the other; None: nobody sits there."""
        out, err = StringIO(), StringIO()
        pressed = None if keys is None else iter(keys)
        session = Session(given=self.settings, out=console(out), err=console(err))
        session.keys = None if pressed is None else lambda: next(pressed, "")
        if self.history is not None:
            session.open_log, session.open_audit, session.open_loads = self._log, self._audit, self._loads
            session.now = lambda: self.now
        result = CliRunner().invoke(app, shlex.split(line), obj=session, input=typed)
        structlog.reset_defaults()  # a command sets the logging of its process; this one has other tests to run
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(out.getvalue() + result.stdout, err.getvalue() + result.stderr, result.exit_code)

    @asynccontextmanager
    async def _log(self, settings: Settings) -> AsyncIterator[Log]:
        assert self.history is not None
        log = await copied(self.history)
        yield log
        self.history = await log.read()  # What one command has written, the next one reads.

    @asynccontextmanager
    async def _loads(self, settings: Settings) -> AsyncIterator[LoadHistory]:
        yield self.loads

    @asynccontextmanager
    async def _audit(self, settings: Settings) -> AsyncIterator[AuditStore]:
        assert self.history is not None
        store = MemoryAuditStore()
        await store.append([audit_row(each) for each in self.history], ORIGIN)
        yield store
