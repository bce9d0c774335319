"""Subscribing from programs of their own: nats-py and msgspec alone; killed and begun again; the page's examples."""

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
from nats.js.errors import NotFoundError
from standardwebhooks.webhooks import Webhook as Signer

from events.base import Actor, CommandId, CorrelationId, EventId, Metadata, NodeId, Position, StreamName
from events.log.jetstream import JetStreamLog
from events.log.jetstream_link import settled
from events.log.subscribe import subscribe
from events.node import NodeDraining, NodeLeft
from gateway.webhooks.post import signed
from handlers.clock import SystemClock
from tests.nats import PATIENCE_S, NatsServer, plain_client

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "ops/docs/subscriptions.md").read_text()
PROGRAM = """
import asyncio, sys
from events.log.subscribe import subscribe

async def main():
    async for recorded in subscribe(sys.argv[1], "mine", types=("NodeDrain*",)):
        print(recorded.position, recorded.event.reason, flush=True)

asyncio.run(main())
"""


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[tuple[NatsServer, JetStreamLog]]:
    with NatsServer(tmp_path) as server:
        log = await JetStreamLog.connect(server.url, create=True)
        yield server, log
        await log.close()


async def happen(log: JetStreamLog, *reasons: str) -> None:
    """Each by a node of its own; between any two something else."""
    for reason in reasons:
        for kind in (NodeDraining, NodeLeft):
            name = f"{kind.__name__}-{reason}"
            meta = Metadata(
                id=EventId(name), command_id=CommandId(name), correlation_id=CorrelationId(name), causation_id=None,
                actor=Actor("test", "internal"), at=SystemClock().now(),
            )  # fmt: skip
            event = kind(node_id=NodeId(name), reason=reason)
            await log.append(StreamName("node", name), ((event, meta),), Position(0))


@asynccontextmanager
async def program(text: str, url: str, site: Path, *, bare: bool = True) -> AsyncIterator[asyncio.StreamReader]:
    """A process of its own. `bare`: the only foreign packages that it can import are nats-py and msgspec."""
    path = str(ROOT)
    if bare:
        for package in (Path(next(iter(nats.__path__))), Path(str(msgspec.__file__)).parent):
            with suppress(FileExistsError):
                (site / package.name).symlink_to(package)
        path = f"{site}:{ROOT}"
    command = [sys.executable, *(["-S"] if bare else []), "-c", text, url]
    async with child_of(command, {"PYTHONPATH": path, "CAUSEWAY_NATS_URL": url, "PATH": "/usr/bin:/bin"}) as out:
        yield out


@asynccontextmanager
async def child_of(command: list[str], env: dict[str, str], folder: Path = ROOT) -> AsyncIterator[asyncio.StreamReader]:
    child = await asyncio.create_subprocess_exec(*command, env=env, cwd=folder, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    try:
        yield child.stdout
    finally:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def lines(out: asyncio.StreamReader, count: int) -> list[str]:
    async with asyncio.timeout(60):
        return [(await out.readuntil(b"\n")).decode().strip() for _ in range(count)]


async def test_a_program_with_two_packages_gets_typed_events_and_goes_on_where_it_was_killed(
    log: tuple[NatsServer, JetStreamLog], tmp_path: Path
) -> None:
    server, events = log
    (tmp_path / "site").mkdir()
    await happen(events, "a", "b", "c")
    async with program(PROGRAM, server.url, tmp_path / "site") as out:
        assert await lines(out, 3) == ["1 a", "3 b", "5 c"]
        await happen(events, "d")
        assert await lines(out, 1) == ["7 d"]
        await kept(server, 8)
    await happen(events, "e", "f")
    async with program(PROGRAM, server.url, tmp_path / "site") as out:
        assert await lines(out, 2) == ["9 e", "11 f"]


async def kept(server: NatsServer, position: int) -> None:
    async with plain_client(server) as client, asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(NotFoundError):
                last = await client.jetstream(timeout=PATIENCE_S).get_last_msg("CAUSEWAY_CURSORS", "cursors.mine")
                if int(last.data or b"0") >= position:
                    break
            await asyncio.sleep(0.05)


async def test_an_event_whose_loop_was_left_comes_again(log: tuple[NatsServer, JetStreamLog]) -> None:
    server, events = log
    await happen(events, "a", "b")

    async def positions(until: int) -> list[int]:
        seen: list[int] = []
        subscription = subscribe(server.url, "mine")
        async for recorded in subscription:
            seen.append(recorded.position)
            if recorded.position == until:
                break
        await subscription.aclose()
        return seen

    assert await positions(2) == [1, 2]
    assert await positions(4) == [2, 3, 4]


async def test_a_server_that_restarts_is_waited_for_and_nothing_is_missed(
    log: tuple[NatsServer, JetStreamLog],
) -> None:
    server, events = log
    await happen(events, "a")
    subscription = subscribe(server.url, "mine", types=("NodeDraining",))
    assert (await anext(subscription)).position == 1
    server.kill()
    server.start()
    await happen(events, "b", "c")
    async with asyncio.timeout(60):
        assert [(await anext(subscription)).position for _ in range(2)] == [3, 5]
    await subscription.aclose()


async def test_a_place_is_kept_on_though_the_server_forgot_all_places(log: tuple[NatsServer, JetStreamLog]) -> None:
    """As one does that was brought back from the archive: it has the log and nothing else."""
    server, events = log
    await happen(events, "a")
    subscription = subscribe(server.url, "mine", types=("NodeDraining",))
    assert (await anext(subscription)).position == 1
    await happen(events, "b")
    async with asyncio.timeout(PATIENCE_S):
        assert (await anext(subscription)).position == 3
    async with plain_client(server) as client:
        await client.jetstream(timeout=PATIENCE_S).delete_stream("CAUSEWAY_CURSORS")
    await happen(events, "c")
    async with asyncio.timeout(PATIENCE_S):
        assert (await anext(subscription)).position == 5
    await happen(events, "d")
    async with asyncio.timeout(PATIENCE_S):
        assert (await anext(subscription)).position == 7
    await kept(server, 6)
    await subscription.aclose()


@pytest.mark.parametrize(
    ("url", "more", "told"),
    [
        ("", {}, "'' is no address"),
        ("nats://127.0.0.1:99999", {}, "127.0.0.1:99999' is no address"),
        ("nats://me:hidden@[::1", {}, r"'\[::1' is no address"),
        ("nats://127.0.0.1:1", {"types": "Node*"}, "types is a sequence"),
        ("nats://127.0.0.1:1", {"after": -1}, "after is a position"),
    ],
)
async def test_what_cannot_be_subscribed_to_is_said_at_once(url: str, more: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        await anext(subscribe(url, "mine", **more))
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "*", "x" * 65])
async def test_a_name_is_fit_for_a_subject(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        await anext(subscribe("nats://127.0.0.1:1", name))


def example(name: str, language: str = "python") -> str:
    found = re.search(rf"```{language} {name}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_pages_examples_for_nats_run(log: tuple[NatsServer, JetStreamLog], tmp_path: Path) -> None:
    server, events = log
    async with program(example("live"), server.url, tmp_path, bare=False) as out:
        assert await lines(out, 1) == ["listening"]
        await happen(events, "a")
        [said] = await lines(out, 1)
        assert said.startswith("evt.node.NodeDraining-a.NodeDraining a ")
    for expected in (["1 a", "3 b"], ["5 c"]):
        await happen(events, *(each[2:] for each in expected if each != "1 a"))
        async with program(example("durable"), server.url, tmp_path, bare=False) as out:
            assert await lines(out, len(expected)) == expected
            await acknowledged(server, int(expected[-1][0]))


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with the packages that the page's JavaScript names, by the lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no node with npm on PATH (Debian: apt-get install nodejs npm), so no JavaScript was run")
    folder = tmp_path / "javascript"
    shutil.copytree(Path(__file__).parent / "javascript", folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=3"]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode:
        assert not re.search("npm error code (EINTEGRITY|EUSAGE|EJSONPARSE)", done.stderr), done.stderr
        pytest.skip(f"npm got no packages, so no JavaScript was run: {done.stderr[:500]}")
    return folder


async def test_the_pages_examples_in_javascript_run(log: tuple[NatsServer, JetStreamLog], packages: Path) -> None:
    server, events = log
    env = {"CAUSEWAY_NATS_URL": server.url, "PATH": os.environ["PATH"]}
    for name in ("live", "durable"):
        (packages / f"{name}.mjs").write_text(example(name, "javascript"))
    async with child_of(["node", "live.mjs"], env, packages) as out:
        assert await lines(out, 1) == ["listening"]
        await happen(events, "a")
        [said] = await lines(out, 1)
        assert said.startswith("evt.node.NodeDraining-a.NodeDraining a ")
    for expected in (["1 a", "3 b"], ["5 c"]):
        await happen(events, *(each[2:] for each in expected if each != "1 a"))
        async with child_of(["node", "durable.mjs"], env, packages) as out:
            assert await lines(out, len(expected)) == expected
            await acknowledged(server, int(expected[-1][0]), "pager-js")


async def test_the_subject_of_the_pages_command_is_one(log: tuple[NatsServer, JetStreamLog]) -> None:
    """No package registry has the command `nats` itself."""
    server, events = log
    *_, verb, subject = shlex.split(example("command", "sh"))
    assert verb == "subscribe"
    async with plain_client(server) as client:
        reading = await client.subscribe(subject)
        await settled(client)
        await happen(events, "a")
        assert (await reading.next_msg(PATIENCE_S)).subject == "evt.node.NodeDraining-a.NodeDraining"


async def acknowledged(server: NatsServer, position: int, durable: str = "pager") -> None:
    async with plain_client(server) as client, asyncio.timeout(PATIENCE_S):
        while True:
            consumer = await client.jetstream(timeout=PATIENCE_S).consumer_info("CAUSEWAY", durable)
            if consumer.ack_floor is not None and consumer.ack_floor.stream_seq >= position:
                break
            await asyncio.sleep(0.05)


async def test_the_pages_typed_example_runs(log: tuple[NatsServer, JetStreamLog], tmp_path: Path) -> None:
    from events.base import DeploymentId, ReplicaId
    from events.replica import ReplicaReady

    server, events = log
    (tmp_path / "site").mkdir()
    await happen(events, "a")
    meta = Metadata(
        id=EventId("r"), command_id=CommandId("r"), correlation_id=CorrelationId("r"), causation_id=None,
        actor=Actor("test", "internal"), at=SystemClock().now(),
    )  # fmt: skip
    ready = ReplicaReady(replica_id=ReplicaId("r1"), deployment_id=DeploymentId("d"), address="h:1", seconds=2.5)
    await events.append(StreamName("replica", "r1"), ((ready, meta),), Position(0))
    async with program(example("typed"), server.url, tmp_path / "site") as out:
        assert await lines(out, 1) == ["3 r1 2.5"]


def test_the_pages_check_of_a_signature_takes_ours_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.gateway.webhooks.plant import SECRET
    from tests.gateway.webhooks.test_lanes import recorded

    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    scope: dict[str, object] = {}
    exec(example("verify"), scope)
    received, body = scope["received"], b'{"type":"NodeLeft"}'
    headers = signed(SECRET, recorded(1, 1), body)
    assert callable(received) and received(body, headers) == {"type": "NodeLeft"}
    with pytest.raises(Exception, match="No matching signature"):
        received(body + b" ", headers)
    with pytest.raises(Exception, match="No matching signature"):
        Signer("whsec_" + "A" * 32).verify(body, headers)
