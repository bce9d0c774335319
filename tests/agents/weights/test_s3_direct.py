"""What is asked of a bucket past the client: signed as botocore signs, and the client's whenever it is not plain."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import quote

import pytest
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from agents.effects import s3_direct
from agents.effects.objects import open_objects
from agents.effects.s3_signing import Keys, signed
from agents.effects.weights_s3 import _failed
from agents.effects.weights_sources import Access, SourceFailed, open_source
from projections.stores.objects import ObjectMissing, Objects, StoreUnavailable

BODY = bytes(range(256)) * 5000
words = st.text("abc+/=09", min_size=1, max_size=40)


@given(
    st.sampled_from(["GET", "HEAD", "PUT"]),
    st.sampled_from(["127.0.0.1:9000", "bucket.s3.amazonaws.com", "[::1]:8080"]),
    st.text(min_size=1, max_size=30).map(lambda key: quote(key, safe="/~", errors="replace")),
    words, words, st.none() | words, st.datetimes(timezones=st.just(UTC)), st.binary(max_size=9),
)  # fmt: skip
def test_it_signs_as_botocore_does(
    method: str, host: str, path: str, access: str, secret: str, token: str | None, at: datetime, body: bytes
) -> None:
    request = AWSRequest(method, f"http://{host}/{path}", data=body)
    with patch("botocore.auth.get_current_datetime", lambda *_: at.replace(tzinfo=None)):
        S3SigV4Auth(Credentials(access, secret, token), "s3", "eu-1").add_auth(request)
    theirs = {name.lower(): value for name, value in request.headers.items()}
    keys, sha256 = Keys(access, secret, token), theirs["x-amz-content-sha256"]
    ours = signed(keys, "eu-1", method, host, f"/{path}", sha256, at)
    assert ours.pop("host") == host
    assert ours == theirs


# A store that answers as a test says.

Reply = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


class Store:
    """Keeps what it is given, unless `first` answers. `asked`: the method of each request, and who sent it."""

    def __init__(self) -> None:
        self.url = ""
        self.kept: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.first: Reply | None = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        who = "client" if "botocore" in request.headers["User-Agent"].lower() else "direct"
        self.asked.append((request.method, who))
        body = await request.read()
        if self.first is not None and (reply := await self.first(request)) is not None:
            return reply
        if request.method == "PUT":
            self.kept[request.path] = body
            return web.Response()
        if (found := self.kept.get(request.path)) is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        part = found[request.http_range]
        return web.Response(body=part, status=206 if "Range" in request.headers else 200)


@asynccontextmanager
async def opened(**more: str) -> AsyncIterator[tuple[Store, Objects]]:
    store = Store()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", store.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        store.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        keys = {"AWS_ENDPOINT_URL": store.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", **more}
        async with open_objects("s3://bucket/some prefix", keys) as objects:
            yield store, objects
    finally:
        await runner.cleanup()


async def test_what_is_plain_never_reaches_the_client() -> None:
    async with opened() as (store, objects):
        assert await objects.size("a/ä") is None
        await objects.put("a/ä", BODY)
        assert await objects.size("a/ä") == len(BODY)
        assert await objects.read("a/ä") == BODY
        assert await objects.read("a/ä", 3, 1000) == BODY[3:1003]
        assert store.asked == [("HEAD", "direct"), ("PUT", "direct"), ("HEAD", "direct")] + 2 * [("GET", "direct")]
        assert store.kept == {"/bucket/some prefix/a/ä": BODY}


async def test_what_is_not_there_is_the_clients_to_say_and_no_trouble() -> None:
    async with opened() as (store, objects):
        with pytest.raises(ObjectMissing, match="no object none"):
            await objects.read("none")
        await objects.put("some", b"1")
        assert store.asked == [("GET", "direct"), ("GET", "client"), ("PUT", "direct")]


async def cut(request: web.Request) -> web.StreamResponse | None:
    reply = web.StreamResponse(headers={"Content-Length": str(len(BODY))})
    await reply.prepare(request)
    await reply.write(BODY[:1000])
    assert request.transport is not None
    request.transport.close()
    return reply


async def busy(request: web.Request) -> web.StreamResponse | None:
    return web.Response(status=503, text="<Error><Code>SlowDown</Code></Error>")


async def elsewhere(request: web.Request) -> web.StreamResponse | None:
    return web.Response(status=307, headers={"Location": f"http://{request.host}/wrong"})


async def refused(request: web.Request) -> web.StreamResponse | None:
    return web.Response(status=403, text="<Error><Code>AccessDenied</Code><Message>not you</Message></Error>")


async def shorter(request: web.Request) -> web.StreamResponse | None:
    """Overlooks the range."""
    return web.Response(body=BODY)


@pytest.mark.parametrize("trouble", [cut, busy, elsewhere, refused])
async def test_trouble_is_the_clients_for_a_while(trouble: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    async def once(request: web.Request) -> web.StreamResponse | None:
        store.first = None
        return await trouble(request)

    async with opened() as (store, objects):
        store.first = once
        if trouble is not cut:
            await objects.put("a", BODY)
            assert store.asked == [("PUT", "direct"), ("PUT", "client")]
        else:
            store.kept["/bucket/some prefix/a"] = BODY
        assert await objects.read("a") == BODY
        assert store.asked[-1] == ("GET", "client")
        monkeypatch.setattr(s3_direct, "_CLIENT_ALONE_S", 0.0)
        store.first = once
        monkeypatch.setattr(objects._first, "_not_before_s", 0.0)  # type: ignore[attr-defined]
        assert await objects.read("a") == BODY
        assert await objects.read("a") == BODY
        assert store.asked[-3:] == [("GET", "direct"), ("GET", "client"), ("GET", "direct")]


async def test_a_range_that_is_overlooked_is_asked_of_the_client() -> None:
    async with opened() as (store, objects):
        store.kept["/bucket/some prefix/a"] = BODY
        store.first = shorter
        await objects.read("a", 10, 20)
        assert [who for _, who in store.asked] == ["direct", "client"]


async def test_who_is_refused_hears_why() -> None:
    async with opened() as (store, objects):
        store.first = refused
        for work in (objects.put("a", b"1"), objects.read("a"), objects.read("a", 1, 2)):
            with pytest.raises(StoreUnavailable, match=r"a: .*AccessDenied.*not you"):
                await work
        with pytest.raises(StoreUnavailable, match="403"):
            await objects.size("a")


async def test_what_cannot_be_opened_past_the_client_is_left_to_it() -> None:
    async with opened(AWS_CA_BUNDLE="/none") as (store, objects):
        await objects.put("a", b"1")
        assert store.asked == [("PUT", "client")]


# What a source says of its endpoint.


@pytest.mark.parametrize("endpoint", ["nonsense", "s3.example.com", "ftp://s3.example.com", "https://"])
async def test_an_endpoint_that_is_no_address_is_told_with_its_field(endpoint: str) -> None:
    secret = {"access_key_id": "a", "secret_access_key": "b", "endpoint_url": endpoint}
    with pytest.raises(SourceFailed, match="`endpoint_url` is no address: write one such as https://") as failed:
        async with open_source("s3://bucket/m", Access(json.dumps(secret), {})):
            pass
    assert failed.value.kind == "invalid"


def test_a_bucket_out_of_reach_may_answer_later() -> None:
    failed = _failed("s3://bucket", EndpointConnectionError(endpoint_url="http://127.0.0.1:9"))
    assert failed.kind == "unavailable" and "s3://bucket cannot be reached" in failed.reason


async def test_a_name_that_is_no_buckets_is_told_on_one_line() -> None:
    secret = {"access_key_id": "a", "secret_access_key": "b", "endpoint_url": "http://127.0.0.1:9"}
    with pytest.raises(SourceFailed, match=r"Invalid bucket name") as failed:
        async with open_source("s3://Bad_Bucket!/m", Access(json.dumps(secret), {})) as source:
            await source.pin(None)
    assert failed.value.kind == "invalid" and "\n" not in failed.value.reason
