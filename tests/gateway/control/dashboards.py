"""What tests of the dashboard share: HTML checked as it is read, a browser signed in, a plane with a life."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import httpx

from events.base import DeploymentId, ModelId, NodeId
from events.node import NodeJoined
from events.signals.load_history import SPAN_S, LoadRecord, LoadSpan
from events.signals.log_lines import LogFiles, LogLine
from tests.gateway.control.reported import built_and_ready, current
from tests.gateway.control.stand import MANAGE, Stand

VOID = {"input", "meta", "link", "br"}


class Checked(HTMLParser):
    """Every tag is closed by its own, and nothing comes from elsewhere or runs in the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on") and name != "style", (tag, name)
            if name in ("href", "src", "action"):
                assert (value or "").startswith("/dashboard") or value == "#content", (tag, value)
            if tag == "a" and name == "href" and value != "#content":
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """`<path/>`."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@asynccontextmanager
async def signed_in(stand: Stand) -> AsyncIterator[httpx.AsyncClient]:
    async with stand.client_with(None) as client:
        answer = await client.post("/dashboard/login", data={"key": MANAGE, "to": "/dashboard"})
        assert answer.status_code == 303 and answer.headers["location"] == "/dashboard"
        yield client


async def settled(stand: Stand) -> None:
    """Until the audit trail, which pages of events are made from, has seen all."""
    head = await stand.log.head()
    async with asyncio.timeout(60):
        while True:
            if await stand.audit.position() >= head:
                return
            await asyncio.sleep(0.01)


async def lived(stand: Stand) -> tuple[ModelId, DeploymentId, DeploymentId]:
    """A model with a current deployment and one that is being promoted, with load and log lines."""
    joined = NodeJoined(
        node_id=NodeId("n1"), boot_id="b", host="127.0.0.1", cpu_millicores=8000, memory_bytes=8 << 30, isolation="none"
    )
    await stand.happened("node", "n1", joined)
    first = await stand.pushed()
    path = f"/v1/models/{first['model_id']}/environments/production"
    await stand.client.post(f"{path}/promote", json={"deployment_id": first["id"]})
    await built_and_ready(stand, first, replicas=2)
    await current(stand, first)
    second = await stand.pushed()
    await stand.client.post(f"{path}/promote", json={"deployment_id": second["id"]})
    await built_and_ready(stand, second)
    weighed = await stand.client.post(f"{path}/set_canary_weight", json={"percent": 20})
    assert weighed.status_code == 200, weighed.text
    one, other = DeploymentId(first["id"]), DeploymentId(second["id"])
    await busy(stand, one)
    files = LogFiles(stand.state / "logs")
    now_ns = int(datetime.now(UTC).timestamp() * 1e9)
    files.write(one, LogLine(ts_ns=now_ns - 2000, message="step resolve <b>done</b>", source="build"))
    files.write(one, LogLine(ts_ns=now_ns - 1000, level="error", message="boom\nTraceback", source=f"r0-{one}"))
    await settled(stand)
    return ModelId(first["model_id"]), one, other


async def busy(stand: Stand, deployment_id: DeploymentId) -> None:
    """Five minutes of load that has just ended."""
    end = datetime.now(UTC)
    for number in range(30):
        record = LoadRecord(deployment_id, mean=4.0, peak=6, parked_peak=0, last=4)
        await stand.loads.keep(LoadSpan((end - timedelta(seconds=SPAN_S * number)).timestamp(), (record,)))
