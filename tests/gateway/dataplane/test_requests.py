"""One request at a time: addressed, admitted, passed on, answered."""

import asyncio
import json

import pytest

from events.access import KeyRevoked
from events.base import KeyId
from gateway.dataplane.settings import DataPlaneSettings
from tests.gateway.dataplane.happened import KEY, ONE, TWO, issued, promoted, pushed, ready
from tests.gateway.dataplane.replicas import Seen, answer
from tests.gateway.dataplane.stage import QUICK, request, staged, until


async def test_a_request_reaches_the_replica_and_its_answer_the_caller() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        got = await stage.ask("/model-m1/production/predict?x=1", b'{"a": 1}', more="x-mine: 7\r\n")
        assert (got.status, got.body) == (200, b'{"a": 1}')
        assert got.headers["x-causeway-deployment"] == "d1"
        assert got.headers["x-causeway-replica"] == "r1"
        assert got.headers["x-causeway-attempts"] == "1"
        assert got.headers["x-causeway-parked-ms"] == "0"
        assert got.headers["x-causeway-position"] == str(stage.happenings.routing.position)
        (seen,) = replica.seen
        assert seen.line == "POST /v1/models/model:predict?x=1 HTTP/1.1"
        assert seen.headers["x-mine"] == "7"
        assert seen.headers["x-forwarded-for"] == "127.0.0.1"
        assert seen.headers["x-baseten-request-id"] == got.headers["x-request-id"]
        assert "authorization" not in seen.headers


async def test_the_callers_request_id_is_kept_and_a_bad_one_replaced() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        got = await stage.ask("/model-m1/predict", more="x-request-id: mine-1\r\n")
        assert got.headers["x-request-id"] == "mine-1" == replica.seen[0].headers["x-request-id"]
        got = await stage.ask("/model-m1/predict", more="x-request-id: no good\r\n")
        assert got.headers["x-request-id"] not in ("", "no good")


@pytest.mark.parametrize(
    ("path", "upstream"),
    [
        ("/model-m1/predict", "/v1/models/model:predict"),
        ("/model-m1/environments/production/predict", "/v1/models/model:predict"),
        ("/model-m1/deployment/d1/sync/any/path?q=2", "/any/path?q=2"),
        ("/model-m1/v1/chat/completions", "/v1/chat/completions"),
        ("/model-m1/production/v1/embeddings", "/v1/embeddings"),
    ],
)
async def test_every_address_has_its_path_on_the_model_server(path: str, upstream: str) -> None:
    async with staged() as stage:
        replica = await stage.serving()
        assert (await stage.ask(path)).status == 200
        assert replica.seen[0].line == f"POST {upstream} HTTP/1.1"


async def test_the_host_names_a_model_too() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        caller = await stage.caller()
        for host in ("model-m1.localhost:8000", "model-m1-production.localhost"):
            caller.send(request("/predict").replace(b"host: gateway", b"host: " + host.encode()))
            assert (await caller.got()).status == 200
        assert len(replica.seen) == 2


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [
        (None, 401, "Authorization: Bearer <key>"),
        ("k1.wrong", 401, "not valid"),
        ("k9.unknown", 401, "not valid"),
        ("nonsense", 401, "not valid"),
        ("k2.manager", 403, "invoke"),
    ],
)
async def test_a_request_needs_a_key_that_may_invoke(key: str | None, status: int, words: str) -> None:
    async with staged() as stage:
        replica = await stage.serving()
        stage.happenings.add(issued("k2.manager", ("manage",)))
        got = await stage.ask("/model-m1/predict", key=key)
        assert got.status == status
        assert words in got.error
        assert json.loads(got.body)["error_code"] == "unauthorized"
        assert not replica.seen


async def test_what_cannot_be_reached_is_named_with_what_can() -> None:
    async with staged() as stage:
        await stage.serving()
        stage.happenings.add(pushed(TWO))
        assert "models: m1 (iris)" in (await stage.ask("/model-nope/predict")).error
        got = await stage.ask("/model-m1/environments/staging/predict")
        assert (got.status, "environments: production" in got.error) == (404, True)
        assert "deployments: d1, d2" in (await stage.ask("/model-m1/deployment/d9/predict")).error
        assert "push with --watch" in (await stage.ask("/model-m1/development/predict")).error
        assert "/predict" in (await stage.ask("/model-m1/nothing")).error
        assert (await stage.ask("/model-m1/async_predict")).status == 501
        got = await stage.ask("/model-m1/predict", method="GET", body=b"")
        assert (got.status, got.headers["allow"]) == (405, "POST")


async def test_bodies_pass_by_length_by_chunks_and_empty() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        assert (await stage.ask("/model-m1/predict", b"")).status == 200
        assert replica.seen[0].headers["content-length"] == "0"
        caller = await stage.caller()
        head = f"POST /model-m1/predict HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n"
        caller.send(f"{head}transfer-encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n".encode())
        await asyncio.sleep(0.02)
        caller.send(b"6\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n")
        assert (await caller.got()).body == b"hello world"
        assert replica.seen[1].headers["transfer-encoding"] == "chunked"
        large = bytes(range(256)) * 20_000
        assert (await stage.ask("/model-m1/predict", large)).body == large


async def test_a_body_above_the_limit_is_refused_with_the_limit() -> None:
    settings = DataPlaneSettings(body_bytes_max=1000)
    async with staged(settings) as stage:
        replica = await stage.serving()
        got = await stage.ask("/model-m1/predict", b"x" * 1001)
        assert (got.status, "1000 bytes, this one has 1001 bytes" in got.error) == (413, True)
        assert not replica.seen
        caller = await stage.caller()
        head = f"POST /model-m1/predict HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\n"
        caller.send(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + b"3e9\r\n" + b"x" * 1001 + b"\r\n")
        got = await caller.got()
        assert (got.status, got.headers["connection"]) == (413, "close")


async def test_a_refused_caller_that_sends_a_large_body_gets_to_read_why() -> None:
    async with staged() as stage:
        got = await stage.ask("/model-m1/predict", b"x" * 20_000_000, key=None)
        assert got.status == 401


async def test_a_caller_that_waits_for_100_continue_gets_it_only_if_it_may_come_in() -> None:
    async with staged() as stage:
        await stage.serving()
        caller = await stage.caller()
        whole = request("/model-m1/predict", b"later", more="expect: 100-continue\r\n")
        caller.send(whole[:-5])
        assert (await caller.got()).status == 100
        caller.send(b"later")
        assert (await caller.got()).body == b"later"
        caller = await stage.caller()
        caller.send(request("/model-m1/predict", b"later", key=None, more="expect: 100-continue\r\n")[:-5])
        got = await caller.got()
        assert (got.status, got.headers["connection"]) == (401, "close")
        assert await caller.ended() == b""


async def test_connections_to_callers_and_to_replicas_are_used_again() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        caller = await stage.caller()
        for turn in range(20):
            caller.send(request("/model-m1/predict", b"%d" % turn))
            assert (await caller.got()).body == b"%d" % turn
        assert replica.connections == 1
        assert stage.plane.pool.idle == 1


async def test_pipelined_requests_are_answered_in_their_order_by_whoever_they_are_for() -> None:
    async with staged() as stage:
        await stage.serving()
        caller = await stage.caller()
        turns = [request("/model-m1/predict", b"%d" % turn) for turn in range(3)]
        caller.send(turns[0] + request("/v1/models", b"xyz") + turns[1] + request("/x", key=None) + turns[2])
        bodies = [(await caller.got()).body for _ in range(5)]
        assert bodies == [b"0", b"control POST /v1/models 3", b"1", b"control POST /x 2", b"2"]


async def test_an_upgrade_that_nobody_serves_is_ignored_and_the_connection_stays_shared() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        caller = await stage.caller()
        more = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        caller.send(request("/v1/models", b"abc", more=more))
        assert (await caller.got()).body == b"control POST /v1/models 3"
        caller.send(request("/model-m1/predict", b"model", more=more))
        assert (await caller.got()).body == b"model"
        assert not {"upgrade", "http2-settings"} & set(replica.seen[0].headers)
        caller.send(request("/v1/models", b"abcd"))
        assert (await caller.got()).body == b"control POST /v1/models 4"


async def test_many_pipelined_refusals_are_all_answered() -> None:
    async with staged() as stage:
        caller = await stage.caller()
        caller.send(request("/model-m1/predict", key=None) * 600)
        for _ in range(600):
            assert (await caller.got()).status == 401


async def test_a_body_that_the_control_app_did_not_read_is_not_taken_for_a_request() -> None:
    async with staged() as stage:
        replica = await stage.serving()
        caller = await stage.caller()
        hidden = request("/model-m1/predict", b"smuggled")
        whole = request("/early", hidden)
        caller.send(whole[: -len(hidden)])
        assert b"/early" in (await caller.got()).body
        caller.send(hidden)
        caller.send(request("/model-m1/predict", b"honest"))
        assert (await caller.got()).body == b"honest"
        assert [seen.body for seen in replica.seen] == [b"honest"]


async def test_an_answer_that_comes_before_the_body_has_ended_passes_and_the_connection_stays_in_step() -> None:
    async with staged() as stage:

        async def early(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(answer(b"done"))

        replica = await stage.serving(early)
        caller = await stage.caller()
        whole = request("/model-m1/predict", b"y" * 10)
        caller.send(whole)
        assert (await caller.got()).body == b"done"
        caller.send(request("/model-m1/predict", b"z"))
        assert (await caller.got()).body == b"done"
        assert len(replica.seen) == 2


async def test_head_requests_and_answers_without_a_body_keep_the_connection_in_step() -> None:
    async with staged() as stage:

        async def script(seen: Seen, out: asyncio.StreamWriter) -> None:
            if seen.line.startswith("HEAD"):
                out.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
            else:
                out.write(b"HTTP/1.1 204 No Content\r\n\r\n")

        await stage.serving(script)
        caller = await stage.caller()
        caller.send(request("/model-m1/sync/x", b"", method="HEAD"))
        got = await caller.got(head_only=True)
        assert got.headers["content-length"] == "99"
        caller.send(request("/model-m1/sync/x", b"", method="DELETE"))
        got = await caller.got()
        assert got.status == 204 and "transfer-encoding" not in got.headers


async def test_http_1_0_is_answered_without_chunks_and_closed() -> None:
    async with staged() as stage:

        async def chunks(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

        await stage.serving(chunks)
        caller = await stage.caller()
        caller.send(f"GET /model-m1/sync/ HTTP/1.0\r\nauthorization: Bearer {KEY}\r\n\r\n".encode())
        got = await caller.got()
        assert (got.body, got.headers["connection"]) == (b"abc", "close")


async def test_an_answer_that_ends_with_its_connection_is_passed_in_chunks() -> None:
    async with staged() as stage:

        async def until_close(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
            out.close()

        await stage.serving(until_close)
        got = await stage.ask("/model-m1/predict")
        assert (got.body, got.headers["transfer-encoding"]) == (b"all of it", "chunked")


async def test_hop_by_hop_headers_and_false_provenance_do_not_pass() -> None:
    async with staged() as stage:

        async def liar(seen: Seen, out: asyncio.StreamWriter) -> None:
            out.write(answer(b"ok", more="x-causeway-replica: other\r\nconnection: x-secret\r\nx-secret: 1\r\n"))

        replica = await stage.serving(liar)
        more = "connection: keep-alive, x-hop, host\r\nx-hop: 1\r\nkeep-alive: 5\r\nte: trailers\r\n"
        got = await stage.ask("/model-m1/predict", more=more)
        assert got.headers["x-causeway-replica"] == "r1"
        assert "x-secret" not in got.headers
        assert not {"x-hop", "keep-alive", "te", "connection"} & set(replica.seen[0].headers)
        assert replica.seen[0].headers["host"] == "gateway"


async def test_a_model_servers_own_error_passes_as_it_is() -> None:
    async with staged() as stage:

        async def refuses(seen: Seen, out: asyncio.StreamWriter) -> None:
            more = "x-baseten-error-source: 04\r\ncontent-type: application/json\r\n"
            out.write(answer(b'{"error":"not JSON"}', "400 Bad Request", more))

        await stage.serving(refuses)
        got = await stage.ask("/model-m1/predict", b"{")
        assert (got.status, got.error, got.headers["x-baseten-error-source"]) == (400, "not JSON", "04")


async def test_a_promotion_moves_new_requests_and_the_address_stays() -> None:
    async with staged() as stage:
        old = await stage.serving()
        new = await stage.replica()
        stage.happenings.add(pushed(TWO), ready("r2", new.address, TWO))
        assert (await stage.ask("/model-m1/predict")).headers["x-causeway-deployment"] == ONE
        stage.happenings.add(promoted(TWO))
        assert (await stage.ask("/model-m1/predict")).headers["x-causeway-deployment"] == TWO
        assert (len(old.seen), len(new.seen)) == (1, 1)


async def test_equal_replicas_take_turns_and_the_busy_one_is_spared() -> None:
    async with staged() as stage:
        hold = asyncio.Event()

        async def slow(seen: Seen, out: asyncio.StreamWriter) -> None:
            if seen.body == b"slow":
                await hold.wait()
            out.write(answer(b"ok"))

        one, two = await stage.serving(slow, "r1"), await stage.serving(slow, "r2")
        for _ in range(6):
            await stage.ask("/model-m1/predict")
        assert (len(one.seen), len(two.seen)) == (3, 3)
        waiting = asyncio.ensure_future(stage.ask("/model-m1/predict", b"slow"))
        await until(lambda: len(one.seen) + len(two.seen) == 7)
        busy, idle = (one, two) if len(one.seen) > len(two.seen) else (two, one)
        for _ in range(5):
            await stage.ask("/model-m1/predict")
        assert (len(busy.seen), len(idle.seen)) == (4, 8)
        hold.set()
        await waiting


async def test_answers_say_how_long_the_log_has_been_away() -> None:
    async with staged(QUICK, stale_since=lambda: 0.0) as stage:
        await stage.serving()
        got = await stage.ask("/model-m1/predict")
        assert got.status == 200
        assert float(got.headers["x-causeway-stale-s"]) > 0


async def test_wake_asks_for_a_replica_and_does_not_wait() -> None:
    async with staged() as stage:
        listening = stage.signals.listen()
        heard = asyncio.ensure_future(anext(listening))
        await asyncio.sleep(0)
        got = await stage.ask("/model-m1/production/wake", b"")
        assert (got.status, got.body) == (202, b"{}")
        signal = await heard
        assert type(signal).__name__ == "WakeAsked" and signal.deployment_id == ONE  # type: ignore[union-attr]
        await listening.aclose()  # type: ignore[attr-defined]
        assert (await stage.ask("/model-nope/wake", b"")).status == 404


async def test_a_key_that_is_revoked_is_refused_from_then_on() -> None:
    async with staged() as stage:
        await stage.serving()
        caller = await stage.caller()
        for status in (200, 200, 401):
            caller.send(request("/model-m1/predict"))
            assert (await caller.got()).status == status
            if status == 200 and stage.plane.counts.answered == 2:
                stage.happenings.add(KeyRevoked(key_id=KeyId(KEY.partition(".")[0])))


async def test_the_same_head_on_one_connection_means_what_the_table_says_now() -> None:
    async with staged() as stage:
        await stage.serving()
        new = await stage.replica()
        caller = await stage.caller()

        async def listed() -> list[str]:
            caller.send(request("/openai/v1/models", b"", method="GET"))
            return [each["id"] for each in json.loads((await caller.got()).body)["data"]]

        async def answered_by() -> str | int:
            caller.send(request("/model-m1/environments/staging/predict"))
            got = await caller.got()
            return got.headers.get("x-causeway-deployment", got.status)

        assert (await listed(), await answered_by()) == (["iris"], 404)
        stage.happenings.add(pushed(TWO), ready("r2", new.address, TWO), promoted(TWO, "staging"))
        assert (await listed(), await answered_by()) == (["iris", "iris/staging"], TWO)
        stage.happenings.add(promoted(ONE, "staging"))
        assert (await listed(), await answered_by()) == (["iris", "iris/staging"], ONE)


async def test_long_heads_are_read_as_short_ones_are() -> None:
    """Only the lines of short ones are remembered."""
    async with staged() as stage:
        replica = await stage.serving()
        for padding in (10, 10, 3000):
            got = await stage.ask(
                "/model-m1/predict", more=f"x-first: A\r\nX-Padding: {'p' * padding}\r\nx-last:  z \r\n"
            )
            assert got.status == 200
            seen = replica.seen[-1].headers
            assert (seen["x-first"], seen["x-last"], len(seen["x-padding"])) == ("A", "z", padding)
