"""The real app over the log in memory: real dispatch, real views fed by a real follower, real files."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import fastapi.dependencies.models
import httpx

from events.base import Actor, CommandId, CorrelationId, Event, EventId, KeyId, Metadata, Position, StreamName
from events.log.feed import Feed
from events.log.memory import MemoryLog
from events.signals.deliveries import MemoryDeliveries
from events.signals.load_history import LoadHistory, MemoryLoadHistory
from events.signals.refusals import MemoryRefusals
from gateway.control.app import create_control_app
from gateway.control.plane import ControlViews
from gateway.control.subscriptions import Subscriptions
from gateway.keys import hash_of
from gateway.secrets import SecretFiles
from gateway.webhooks.targets import Lookup, Targets
from handlers.base import Command
from handlers.clock import SystemClock
from handlers.deciders.access import IssueKey
from handlers.decisions import DECISIONS
from handlers.dispatch import Dispatch
from ops.config import load
from ops.wiring.weight_files import weight_files
from projections.access import ACCESS
from projections.base import Projection, fold
from projections.deployments import DEPLOYMENTS
from projections.environments import ENVIRONMENTS
from projections.fleet import FLEET
from projections.follow import Follower
from projections.stores.audit import MemoryAuditStore, follow_into, follow_refused_into
from projections.stores.blobs import FolderBlobs
from projections.view import View
from projections.webhooks import WEBHOOKS
from projections.weights import WEIGHTS

ROOT = Path(__file__).parents[3]
TOOLCHAIN = ROOT / ".venv-truss"
MANAGE = "abcd1234." + "5" * 40
INVOKE = "beef1234." + "6" * 40
CONFIG: dict[str, Any] = {"model_name": "iris", "resources": {"cpu": "500m", "memory": "512Mi"}}
ARCHIVE_MAX_BYTES = 4 << 20


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in (files or {"config.yaml": "model_name: iris"}).items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def _forget_endpoints() -> None:
    """FastAPI remembers of thousands of endpoints what kind of function each is; ours hold the plane of their test."""
    for each in vars(fastapi.dependencies.models).values():
        if hasattr(each, "cache_clear"):
            each.cache_clear()


class Stand:
    """One plane under test."""

    def __init__(self, state: Path, public_url: str = "http://plane", beside: "Stand | None" = None) -> None:
        """`beside`: another gateway of the same plane, whose log it shares."""
        self.log: MemoryLog = MemoryLog() if beside is None else beside.log
        self.state = state
        self.decisions = View(DECISIONS)
        self.views = ControlViews(View(DEPLOYMENTS), View(ENVIRONMENTS), View(ACCESS), View(FLEET), View(WEIGHTS))
        mine, self.webhooks = self.views, View(WEBHOOKS)
        self.follower = Follower(
            self.log,
            (self.decisions, mine.catalogue, mine.environments, mine.access, mine.fleet, mine.weights, self.webhooks),
        )
        self.audit = MemoryAuditStore()
        self.refusals = MemoryRefusals()
        self.dispatch = Dispatch(self.log, self.decisions, SystemClock(), self.refusals)
        self.blobs = FolderBlobs(state / "blobs")
        self.stale_since: float | None = None
        self.loads: LoadHistory = MemoryLoadHistory()
        self.ending = False
        self.subscriptions = Subscriptions(
            webhooks=self.webhooks,
            feed=Feed(self.log),
            deliveries=MemoryDeliveries(),
            secrets=SecretFiles(state / "secrets" / "webhooks"),
            targets=Targets(),
            lookup=Lookup(),
            ending=lambda: self.ending,
        )
        self.app = create_control_app(
            dispatch=self.dispatch,
            views=self.views,
            blobs=self.blobs,
            logs_root=state / "logs",
            secrets=state / "secrets",
            uploads=state / "uploads",
            check_config=[
                str(TOOLCHAIN / "bin/python"), str(ROOT / "ops/truss_tools/context.py"), "--check-config", "-",
            ],
            public_url=public_url,
            stale_since=lambda: self.stale_since,
            clock=SystemClock(),
            archive_max_bytes=ARCHIVE_MAX_BYTES,
            history=lambda stream, until: self.log.read(until=until, stream=stream),
            head=self.ask_head,
            audit=self.audit,
            subscriptions=self.subscriptions,
            past=self.past,
            loads=self.open_loads,
            weight_files=partial(weight_files, load({"CAUSEWAY_STATE": str(state), "PATH": "/usr/bin:/bin"})),
        )  # fmt: skip
        self.client = self.client_with(MANAGE)

    def client_with(self, key: str | None) -> httpx.AsyncClient:
        headers = {} if key is None else {"Authorization": f"Api-Key {key}"}
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://plane", headers=headers)

    async def past(self, projections: Sequence[Projection[Any]], position: Position) -> tuple[Any, ...]:
        history = await self.log.read(until=position)
        return tuple(fold(each, history) for each in projections)

    @asynccontextmanager
    async def open_loads(self) -> AsyncIterator[LoadHistory]:
        yield self.loads

    async def ask_head(self) -> Position:
        return await self.log.head()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stand"]:
        following = asyncio.gather(
            self.follower.run(), follow_into(self.log, self.audit), follow_refused_into(self.refusals, self.audit)
        )
        await self.command(IssueKey, key_id=KeyId("abcd1234"), name="ada", hash=hash_of(MANAGE), scopes=("manage",))
        await self.command(IssueKey, key_id=KeyId("beef1234"), name="bob", hash=hash_of(INVOKE), scopes=("invoke",))
        try:
            yield self
        finally:
            following.cancel()
            await self.subscriptions.feed.close()
            await self.subscriptions.lookup.close()
            await asyncio.gather(following, return_exceptions=True)
            await self.client.aclose()
            _forget_endpoints()

    async def command(self, kind: type[Command], **fields: Any) -> Position:
        self._count = getattr(self, "_count", 0) + 1
        ids: dict[str, Any] = {"id": CommandId(f"c{self._count}"), "correlation_id": CorrelationId("test")}
        outcome = await self.dispatch(kind(**ids, actor=Actor("test", "internal"), **fields))
        await self.views.reached(outcome.position, 10)
        return outcome.position

    async def happened(self, category: str, aggregate: str, *events: Event) -> None:
        """What agents would have reported."""
        stream = StreamName(category, aggregate)
        history = await self.log.read(stream=stream)
        expected = history[-1].position if history else Position(0)
        drafts = tuple(
            (event, self._meta(f"{expected}.{index}.{aggregate}", index, len(events)))
            for index, event in enumerate(events)
        )
        await self.views.reached(await self.log.append(stream, drafts, expected), 10)  # type: ignore[arg-type]

    def _meta(self, name: str, index: int, count: int) -> Metadata:
        now = SystemClock().now()
        ids = (EventId(name), CommandId(name), CorrelationId(name))
        return Metadata(
            id=ids[0], command_id=ids[1], correlation_id=ids[2], causation_id=None,
            actor=Actor("test", "internal"), at=now, index=index, count=count,
        )  # fmt: skip

    async def uploaded(self, body: bytes | None = None) -> str:
        """The s3_key of an archive that has arrived, as the S3 routes leave it."""
        key = (await self.graphql("{ model_s3_upload_credentials { s3_key } }"))["model_s3_upload_credentials"][
            "s3_key"
        ]
        folder = self.state / "uploads" / key.split("/")[1]
        folder.mkdir(parents=True)
        (folder / "object").write_bytes(archive() if body is None else body)
        return str(key)

    async def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = await self.client.post("/graphql/", json={"query": query, "variables": variables})
        assert answer.status_code == 200
        body = answer.json()
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    async def refused(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = await self.client.post("/graphql/", json={"query": query, "variables": variables})
        assert answer.status_code == 200
        error: dict[str, Any] = answer.json()["errors"][0]
        return error

    async def pushed(self, name: str = "iris", **payload: Any) -> dict[str, Any]:
        """A deployment of a model, pushed by REST: a new model or a further deployment."""
        source = {"s3_key": await self.uploaded(), "deployment": {"config": {**CONFIG, "model_name": name}, **payload}}
        known = self.views.catalogue.state.by_name(name)
        if known is None:
            answer = await self.client.post("/v1/models", json={"source": {**source, "name": name}})
        else:
            answer = await self.client.post(f"/v1/models/{known.model_id}/deployments", json={"source": source})
        assert answer.status_code == 200, answer.text
        deployment: dict[str, Any] = answer.json()["deployment"]
        return deployment

    async def recorded(self) -> list[Any]:
        return [each.event for each in await self.log.read()]
