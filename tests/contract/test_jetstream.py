"""What only a real broker can do to the log: be set up wrongly, lose its store, tell others what is in it."""

import asyncio
import json
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from events.base import ORIGIN, Position
from events.codec import encode
from events.log import LogBroken, LogUnavailable
from events.log import jetstream_reader as reader
from events.log.jetstream import JetStreamLog
from events.log.jetstream_checks import check_version, stream_config
from events.log.jetstream_link import Reach, settled
from events.log.nats_wire import Login
from events.union import UnknownEvent
from tests.contract.brokers import connect, until
from tests.contract.decisions import GENEROUS_S, append, decision, flat, followed, node, words
from tests.nats import PATIENCE_S, NatsServer, plain_client

A = node("a")


async def _api(server: NatsServer, name: str, question: dict[str, Any]) -> Any:
    async with plain_client(server) as client:
        answer = await client.request(f"$JS.API.{name}.CAUSEWAY", json.dumps(question).encode(), timeout=PATIENCE_S)
    return json.loads(answer.data)


@pytest.fixture
def log(jetstream: JetStreamLog) -> JetStreamLog:
    return jetstream


# --- start-up -----------------------------------------------------------------------------------------------------


async def test_a_server_that_acknowledges_before_it_syncs_is_refused(tmp_path: Path) -> None:
    with NatsServer(tmp_path, sync_always=False) as server:
        with pytest.raises(LogBroken, match="sync_interval: always"):
            await connect(server)


async def test_a_server_without_atomic_batches_is_refused() -> None:
    check_version((2, 12))
    check_version((3, 0))
    with pytest.raises(LogBroken, match=r"2\.11; the log needs 2\.12"):
        check_version((2, 11))


async def test_a_missing_stream_is_made_on_the_first_start_only(server: NatsServer) -> None:
    with pytest.raises(LogBroken, match="missing"):
        await connect(server, create=False)
    with pytest.raises(LogBroken, match="missing"):
        await connect(server, create=True, at_least=Position(1))
    await (await connect(server, create=True)).close()
    await (await connect(server, create=False)).close()


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("subjects", ["evt.>", "sig.>"]),
        ("storage", "memory"),
        ("retention", "interest"),
        ("max_age", 3_600_000_000_000),
        ("max_bytes", 1_000_000),
        ("max_msgs", 1000),
        ("deny_delete", False),
        ("deny_purge", False),
        ("allow_atomic", False),
        ("duplicate_window", 1_000_000_000),
        ("allow_rollup_hdrs", True),
    ],
)
async def test_a_stream_with_other_settings_is_refused_by_name(server: NatsServer, setting: str, wrong: Any) -> None:
    config = stream_config(1) | {setting: wrong}
    if setting == "allow_rollup_hdrs":
        config["deny_purge"] = False
    assert "error" not in await _api(server, "STREAM.CREATE", config)
    with pytest.raises(LogBroken, match=f"{setting} is "):
        await connect(server)


async def test_a_stream_with_fewer_replicas_than_asked_for_is_refused(server: NatsServer, log: JetStreamLog) -> None:
    with pytest.raises(LogBroken, match="num_replicas is 1, must be 3"):
        await connect(server, replicas=3)


async def test_a_log_shorter_than_what_is_known_of_it_is_refused(server: NatsServer, log: JetStreamLog) -> None:
    await append(log, A, decision("one"), 0)
    await (await connect(server, at_least=Position(1))).close()
    with pytest.raises(LogBroken, match="ends at 1, but 2 was there"):
        await connect(server, at_least=Position(2))


async def test_nobody_listening_is_unavailable_not_broken(server: NatsServer) -> None:
    server.kill()
    with pytest.raises(LogUnavailable, match="no connection"):
        await connect(server, patience_s=0.5)


async def test_a_password_in_the_address_works_and_is_never_shown(tmp_path: Path) -> None:
    with NatsServer(tmp_path, more="authorization { user: causeway, password: secret }") as server:
        url = server.url.replace("//", "//causeway:secret@")
        log = await JetStreamLog.connect(url, create=True)
        await append(log, A, decision("one"), 0)
        assert len(flat(await followed(log, 0, 1))) == 1
        server.kill()
        await until(lambda: log.stale_since is not None)
        problems = await asyncio.gather(log.append(A, decision("two"), Position(1)), log.read(), return_exceptions=True)
        assert [type(problem) for problem in problems] == [LogUnavailable] * 2
        assert "secret" not in str(problems)
        await log.close()


async def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    with NatsServer(tmp_path, more="authorization { user: causeway, password: right }") as server:
        with pytest.raises(LogUnavailable, match=r"(?i)authorization"):
            await connect(server, user="causeway", password="wrong", patience_s=1)
        log = await connect(server, user="causeway", password="right")
        await append(log, A, decision("one"), 0)
        assert len(flat(await followed(log, 0, 1))) == 1
        await log.close()


# --- losses -------------------------------------------------------------------------------------------------------


async def test_a_stream_that_is_gone_after_a_restart_breaks_the_log(server: NatsServer, log: JetStreamLog) -> None:
    await append(log, A, decision("one"), 0)
    follower = asyncio.create_task(followed(log, after=0, until=2))
    server.stop()
    server.replace_store(None)
    server.start()
    with pytest.raises(LogBroken, match="missing"):
        await follower
    with pytest.raises(LogBroken, match="missing"):
        await log.head()


async def test_a_stream_that_has_shrunk_breaks_the_log(server: NatsServer, log: JetStreamLog, tmp_path: Path) -> None:
    await append(log, A, decision("one"), 0)
    server.stop()
    server.copy_store(tmp_path / "older")
    server.start()
    await append(log, A, decision("two", count=2), 1)
    follower = asyncio.create_task(followed(log, after=0, until=9))
    await asyncio.sleep(0.2)
    server.stop()
    server.replace_store(tmp_path / "older")
    server.start()
    with pytest.raises(LogBroken, match="ends at 1, but 3 was there before"):
        await follower
    with pytest.raises(LogBroken, match="ends at 1, but 3 was there before"):
        await log.head()


async def test_a_hole_breaks_the_log(server: NatsServer) -> None:
    assert "error" not in await _api(server, "STREAM.CREATE", stream_config(1) | {"deny_delete": False})
    log = JetStreamLog(Login(url=server.url))
    at = Position(0)
    for turn in range(3):
        at = await append(log, A, decision(str(turn)), at)
    open_reader = await reader.Reader.open(Login(url=server.url), ORIGIN, at_least=ORIGIN)
    assert (await _api(server, "STREAM.MSG.DELETE", {"seq": 2}))["success"]
    with pytest.raises(reader.Gap, match="after position 1 came 3"):
        while open_reader.last < 3:
            await open_reader.take()
    open_reader.close()
    for broken in (log.head(), log.read(), log.read(Position(1), Position(2)), followed(log, after=0, until=3)):
        with pytest.raises(LogBroken, match="holds 2 events up to position 3"):
            await broken
    await log.close()


async def test_bytes_that_no_version_can_have_written_break_the_log(server: NatsServer, log: JetStreamLog) -> None:
    async with plain_client(server) as client:
        await client.jetstream(timeout=PATIENCE_S).publish("evt.node.a.NodeLeft", b"{}")
    with pytest.raises(LogBroken, match="position 1 of the log"):
        await followed(log, after=0, until=1)


# --- what others see ----------------------------------------------------------------------------------------------


async def test_an_event_of_a_newer_version_is_passed_on_as_unknown(server: NatsServer, log: JetStreamLog) -> None:
    await append(log, A, decision("known"), 0)
    (event, meta) = decision("new")[0]
    message = json.loads(encode(event, meta))
    message["event"] = {"type": "NodeUpgraded.v2", "node_id": "a", "to": "7"}
    async with plain_client(server) as client:
        await client.jetstream(timeout=PATIENCE_S).publish("evt.node.a.NodeUpgraded", json.dumps(message).encode())
    await append(log, A, decision("known again"), 2)
    seen = flat(await followed(log, after=0, until=3))
    assert isinstance(seen[1].event, UnknownEvent)
    assert seen[1].event.type == "NodeUpgraded.v2"
    assert seen[1].stream == A
    assert words(seen) == ["known 0", "known again 0"]


async def test_a_plain_nats_client_can_follow_one_kind_of_event_and_reads_cloudevents_headers(
    server: NatsServer, log: JetStreamLog
) -> None:
    async with plain_client(server) as client:
        subscription = await client.subscribe("evt.node.*.NodeLeft")
        await settled(client, PATIENCE_S)
        await append(log, A, decision("seen"), 0)
        message = await subscription.next_msg(timeout=PATIENCE_S)
    event, meta = decision("seen")[0]
    assert message.subject == "evt.node.a.NodeLeft"
    assert message.data == encode(event, meta)
    headers = message.headers or {}
    assert {name: headers[name] for name in headers if name.startswith(("ce-", "content-"))} == {
        "ce-specversion": "1.0",
        "ce-id": meta.id,
        "ce-source": "causeway",
        "ce-type": "NodeLeft",
        "ce-subject": "node.a",
        "ce-time": "2026-11-21T12:00:00+00:00",
        "content-type": "application/json",
    }


async def test_a_follower_that_is_closed_leaves_nothing_behind(server: NatsServer, log: JetStreamLog) -> None:
    await append(log, A, decision("one"), 0)
    async with aclosing(reader.follow(Login(url=server.url), ORIGIN, lambda p: p, Reach(), 0.0)) as batches:  # type: ignore[type-var]
        assert len(await anext(batches)) == 1
        assert (await _api(server, "CONSUMER.NAMES", {}))["total"] == 1
    async with asyncio.timeout(GENEROUS_S):
        while (await _api(server, "CONSUMER.NAMES", {}))["total"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_an_event_larger_than_the_server_takes_is_refused_as_such(server: NatsServer, log: JetStreamLog) -> None:
    with pytest.raises(ValueError, match="max_payload"):
        await log.append(A, decision("x" * 1_100_000), ORIGIN)
    assert await log.head() == ORIGIN
