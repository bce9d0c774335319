"""Capsules: what goes in folds to the same states, nothing secret goes in, and a damaged one is refused."""

import asyncio
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.access import KeyIssued
from events.base import ORIGIN, KeyId, Position, StreamName
from events.build import BuildFailed
from events.codec import Recorded
from events.replica import ReplicaReady
from events.union import UnknownEvent
from handlers.deciders.access import StoreSecret
from ops.blame import blame
from ops.capsule.export import TAKEN, export
from ops.capsule.file import CapsuleBroken, NotWritten, past_in, read
from ops.capsule.redaction import PATTERNS, REMOVED, Redactor
from ops.capsule.redecide import again
from ops.explain import Asked, explain
from ops.names import NAMES, UnknownName
from ops.past import NoSuchPosition
from ops.replay import VIEWS, difference, position_of, snapshot_at, state_at
from ops.whence import entity_of
from tests.histories import copied, history, random_history, two_versions_of_iris

NOW = datetime(2026, 5, 1, tzinfo=UTC)
choices = st.lists(st.integers(0, 63), max_size=25)


@settings(max_examples=20, deadline=None)
@given(choices, st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_comes_out_folds_equal_to_what_went_in(picks: list[int], first: int, second: int) -> None:
    async def check(folder: Path) -> None:
        events = await random_history(picks)
        log = await copied(events)
        a, b = sorted(Position(each % (len(events) + 1)) for each in (first, second))
        manifest = await export(log, a, b, folder / "c", NOW)
        assert manifest.begin <= a and (b <= manifest.end or b == ORIGIN)
        past = past_in(read(folder / "c"))
        assert await past.read() == events[manifest.begin : manifest.end]
        for position in {manifest.begin, (manifest.begin + manifest.end) // 2, manifest.end}:
            for projection in TAKEN:
                there = Position(position)
                assert await state_at(past, projection, there) == await state_at(log, projection, there)
        ours, theirs = [await difference(each, None, manifest.begin, manifest.end) for each in (past, log)]
        assert ours == theirs

    with TemporaryDirectory() as folder:
        asyncio.run(check(Path(folder)))


async def test_the_same_history_gives_the_same_bytes(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    head = await log.head()
    with pytest.raises(NotWritten, match="cannot be written: Is a directory"):
        await export(log, Position(5), head, tmp_path, NOW)
    await export(log, Position(5), head, tmp_path / "one", NOW)
    await export(log, Position(5), head, tmp_path / "two", NOW)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


async def test_a_capsule_knows_nothing_before_its_beginning_and_says_so(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    manifest = await export(log, Position(12), await log.head(), tmp_path / "c", NOW)
    past = past_in(read(tmp_path / "c"))
    with pytest.raises(NoSuchPosition, match=f"begins at position {manifest.begin}"):
        await snapshot_at(past, "routing", Position(3))
    assert (await state_at(past, NAMES)).models == (await state_at(log, NAMES)).models
    assert (await snapshot_at(past, "fleet", manifest.begin)).state == VIEWS["fleet"][1](
        await state_at(log, VIEWS["fleet"][0], manifest.begin)
    )


async def test_what_was_there_before_a_capsule_began_is_as_it_began(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    ready = next(each for each in await log.read() if isinstance(each.event, ReplicaReady))
    assert isinstance(ready.event, ReplicaReady)
    begin, replica = ready.position, ready.stream.id
    await export(log, begin, begin, tmp_path / "c", NOW)
    past = past_in(read(tmp_path / "c"))
    assert (await snapshot_at(past, "fleet", begin)).at == ready.meta.at
    assert await position_of(past, ready.meta.at) == begin
    with pytest.raises(NoSuchPosition, match=f"begins at position {begin}, at .*, after"):
        await position_of(past, ready.meta.at - timedelta(microseconds=1))
    for text, value in ((f"{replica}.phase", "ready"), (f"{ready.event.deployment_id}.status", "ACTIVE")):
        (found,) = await blame(past, text)
        assert (found.value, found.event) == (value, None)
    assert {each.field for each in await blame(past, "node-a")} >= {"cpu_used", "status"}
    told = await explain(past, Asked("r-1", begin, ready.event.deployment_id, replica))
    assert f"replica {replica} was there before this history began, at {begin}" in told.said
    await export(past, begin, begin, tmp_path / "again", NOW)
    assert read(tmp_path / "again").manifest.begin_at == ready.meta.at


async def test_who_is_there_when_a_capsule_begins_is_known_in_it(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    ready = next(each for each in await log.read() if isinstance(each.event, ReplicaReady))
    await export(log, ready.position, ready.position, tmp_path / "c", NOW)
    past = past_in(read(tmp_path / "c"))
    assert await entity_of(past, ready.stream.id) == ready.stream.id
    with pytest.raises(UnknownName):
        await entity_of(past, "nobody")


SECRETS = [
    ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
    ("pip install from https://user:hunter22@index.example/simple failed", "hunter22"),
    ("token eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl is expired", "eyJzdWIiOiIxMjM0"),
    ("cannot fetch with hf_abcdefghijklmnopqrst", "hf_abcdefghijklmnopqrst"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI"),
    ('{"db_password": "s3cretpw"}', "s3cretpw"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    ("-----BEGIN PRIVATE KEY-----\nMIIEowcut off", "MIIEow"),
    ("GET https://s3.example/b?X-Amz-Expires=60&X-Amz-Signature=0123abcdef failed", "0123abcdef"),
    ("GET https://blobs.example/b?sv=1&sig=ab%2Bcdef", "ab%2Bcdef"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
async def test_no_secret_goes_in_and_the_report_says_what_was_taken_out(text: str, secret: str, tmp_path: Path) -> None:
    async with history() as plane:
        await plane.issue_key("ada")
        await plane.join()
        deployment = await plane.push("iris")
        await plane.build(deployment, failure=f"step said: {text}")
        await plane.push("iris")
        head = await plane.head()
        for begin in (ORIGIN, Position(head - 1)):
            manifest = await export(plane.log, begin, head, tmp_path / "c", NOW)
            with zipfile.ZipFile(tmp_path / "c") as file:
                inside = b"".join(file.read(name) for name in file.namelist())
            assert secret.encode() not in inside and b"0" * 64 not in inside
            assert any("BuildFailed.reason" in each.what or "the state of" in each.what for each in manifest.redactions)
        whole = await export(plane.log, ORIGIN, head, tmp_path / "c", NOW)
        assert {each.what: each.count for each in whole.redactions}["KeyIssued.hash"] == 1
        kinds = {type(each.event) for each in await past_in(read(tmp_path / "c")).read()}
        assert {KeyIssued, BuildFailed} <= kinds


async def test_what_things_are_called_stays_so_that_it_is_decided_again(tmp_path: Path) -> None:
    """Also what begins as tokens do: the name by which truss knows the token of Hugging Face is one."""
    async with history() as plane:
        await plane.join()
        await plane.do(StoreSecret(**plane.asked(), name="hf_access_token", version="0123"))
        deployment = await plane.push("sk-learn-classifier-of-irises")
        head = await plane.head()
        for begin in (ORIGIN, Position(head - 1)):
            assert (await export(plane.log, begin, head, tmp_path / "c", NOW)).redactions == ()
            past = past_in(read(tmp_path / "c"))
            assert (await state_at(past, NAMES)).of[deployment] == "sk-learn-classifier-of-irises/deployment-1"
            found = again(read(tmp_path / "c"))
            assert found.differences == () and found.alike == found.decisions > 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example", "https://hooks.example"),
        ("https://hooks.example/", "https://hooks.example/"),
        ("https://hooks.example:8443/services/T1/xyz", f"https://hooks.example:8443/{REMOVED}"),
        ("http://hooks.example?key=1", f"http://hooks.example{REMOVED}"),
    ],
)
def test_of_a_webhooks_address_only_the_host_goes_in(url: str, shown: str) -> None:
    assert Redactor().tree({"webhook": {"url": url}}, "x") == {"webhook": {"url": shown}}


def test_text_without_secrets_stays_as_it_is() -> None:
    ordinary = "replica 2abc was put on node-a: most free memory; exit code 137, https://example.com/a?page=2"
    assert Redactor().tree({"a": [ordinary]}, "x") == {"a": [ordinary]}
    assert all(not pattern.search(ordinary) for pattern in PATTERNS.values())


async def test_an_event_of_a_newer_version_goes_in_and_comes_out(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    one = (await log.read())[-1]
    newer = UnknownEvent("Later.v9", '{"type":"Later.v9","note":"password=abcdef"}')
    cleaned = Redactor().event(msgspec.structs.replace(one, event=newer))
    assert isinstance(cleaned.event, UnknownEvent) and REMOVED in cleaned.event.body
    assert isinstance(one.event, ReplicaReady) and Redactor().event(one) == one
    issued = KeyIssued(key_id=KeyId("k"), name="n", hash="abc", scopes=("invoke",), models=(), environments=())
    clean = Redactor().event(Recorded(Position(1), StreamName("key", "k"), issued, one.meta)).event
    assert isinstance(clean, KeyIssued) and clean.hash == REMOVED


async def test_a_damaged_one_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    log = await two_versions_of_iris()
    good = tmp_path / "good"
    await export(log, Position(3), await log.head(), good, NOW)
    whole = good.read_bytes()
    bad = tmp_path / "bad"
    bad.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CapsuleBroken, match="no whole capsule"):
        read(bad)
    bad.write_bytes(b"not a zip")
    with pytest.raises(CapsuleBroken, match="no whole capsule"):
        read(bad)
    with pytest.raises(CapsuleBroken, match="there is no file"):
        read(tmp_path / "nowhere")
    for name, content, said in [
        ("events.ndjson", b"", "events.ndjson has another hash"),
        ("manifest.json", b'{"format": 9}', "upgrade to open it"),
        ("manifest.json", b'{"format": 1}', "no whole capsule"),
    ]:
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
            for each in old.namelist():
                new.writestr(each, content if each == name else old.read(each))
        with pytest.raises(CapsuleBroken, match=said):
            read(bad)
